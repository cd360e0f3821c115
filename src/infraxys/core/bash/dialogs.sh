# Dialogs: what the user chose is then in LAST_DIALOG_RESULT. The arrays BUTTONS and BUTTON_LOCATIONS say which buttons
# there are.
#
# shellcheck shell=bash

# --message, --title, --width, --height, --default (button), --input_label, --style_name, --target_variable_name (gets
# the answer instead of LAST_DIALOG_RESULT), --async true (does not wait). The message may be HTML.
show_dialog() {
    local function_name=show_dialog default="" height=300 width=450 is_html=false message="" input_label=""
    local style_name="" title=Message target_variable_name="" async=false default_value="" translate=false
    local __lines=() __number
    import_args "$@"
    __lines+=("ui interaction" "type=BUTTON_DIALOG" "width=$width" "height=$height" "title=$title")
    [[ ! $default_value ]] || __lines+=("default_value=$default_value")
    [[ ! $input_label ]] || __lines+=("string_input_label=$input_label")
    [[ ! $default ]] || __lines+=("default_button=$default")
    [[ ! $style_name ]] || __lines+=("style_name=$style_name")
    __lines+=("is_html=true")
    for __number in "${!BUTTONS[@]}"; do
        if [[ ${BUTTONS[__number]} == *\"* ]]; then
            log_error "The caption of a button cannot have a double quote: ${BUTTONS[__number]}"
            exit 1
        fi
        __lines+=("button caption=\"${BUTTONS[__number]}\" location=${BUTTON_LOCATIONS[__number]:-MIDDLE}")
    done
    __infraxys_request "${__lines[@]}" "<p>$message</p>"
    if [[ $async != false ]]; then
        return 0
    fi
    wait_for_feedback
    if [[ $target_variable_name ]]; then
        printf -v "$target_variable_name" '%s' "$LAST_RESULTS"
    else
        LAST_DIALOG_RESULT=$LAST_RESULTS
    fi
}

show_dialog_v2() {
    show_dialog "$@"
}

# --message, --title, --width, --height, --style_name, --async
show_message_dialog() {
    local function_name=show_message_dialog height=200 width=400 is_html=false message="" style_name="" title=""
    local async=false
    import_args "$@"
    check_required_arguments "$function_name" message
    show_dialog --height "$height" --width "$width" --is_html "$is_html" --message "$message" \
        --style_name "$style_name" --title "$title" --async "$async"
}

# As show_dialog; --target_variable_name has to be given.
get_user_input() {
    local target_variable_name=""
    import_args "$@"
    check_required_arguments get_user_input target_variable_name
    local BUTTONS=("Ok" "Cancel")
    local BUTTON_LOCATIONS=("LEFT" "RIGHT")
    show_dialog "$@"
}

get_user_input_v1() {
    local BUTTONS=("Ok" "Cancel")
    local BUTTON_LOCATIONS=("LEFT" "RIGHT")
    show_dialog "$@"
}

ask_yes_no() {
    local BUTTONS=("Yes" "No")
    local BUTTON_LOCATIONS=("LEFT" "RIGHT")
    show_dialog "$@"
}

ask_yes_no_cancel() {
    local BUTTONS=("Yes" "No" "Cancel")
    local BUTTON_LOCATIONS=("LEFT" "MIDDLE" "RIGHT")
    show_dialog "$@"
}

ask_ok_cancel() {
    local BUTTONS=("OK" "Cancel")
    local BUTTON_LOCATIONS=("LEFT" "RIGHT")
    show_dialog "$@"
}

show_info() {
    show_dialog --style_name info "$@"
}

show_warning() {
    show_dialog --style_name warning "$@"
}

show_warn() {
    show_dialog --style_name warning "$@"
}

show_error() {
    show_dialog --style_name error "$@"
}

# A list to choose from. Takes letters (-t title …) or names (--title …):
# -t title, -w width, -h height, -s string_lines (the items), -l list_type (ENVIRONMENTS or PROJECTS instead of items),
# -i is_name_value_list, -m min_selected_items, -n max_selected_items, -v column_1_visible, -c column_1_title,
# -d column_2_title
show_selection_list() {
    local function_name=show_selection_list OPTIND=1 OPTARG letter title="Make your selection" width=700 height=450
    local string_lines="" list_type="" is_name_value_list=false min_selected_items=0 max_selected_items=0
    local column_1_visible=true column_1_title="" column_2_title="" items=()
    if [[ ${1-} == --* ]]; then
        import_args "$@"
        OPTIND=$(($# + 1))
    fi
    while getopts "c:d:h:i:l:m:n:s:t:v:w:" letter; do
        case $letter in
            c) column_1_title=$OPTARG ;;
            d) column_2_title=$OPTARG ;;
            h) height=$OPTARG ;;
            i) is_name_value_list=$OPTARG ;;
            l) list_type=$OPTARG ;;
            m) min_selected_items=$OPTARG ;;
            n) max_selected_items=$OPTARG ;;
            s) string_lines=$OPTARG ;;
            t) title=$OPTARG ;;
            v) column_1_visible=$OPTARG ;;
            w) width=$OPTARG ;;
            *)
                log_error "$function_name takes -c -d -h -i -l -m -n -s -t -v -w, each with a value."
                exit 1
                ;;
        esac
    done
    if [[ $string_lines ]]; then
        items=("$string_lines")
    elif [[ $list_type ]]; then
        items=("list_type=$list_type")
    fi
    __infraxys_request "ui interaction" "type=selection_list" "is_name_value_list=$is_name_value_list" \
        "title=$title" "width=$width" "height=$height" "min_selected_items_count=$min_selected_items" \
        "max_selected_items_count=$max_selected_items" "column_1_visible=$column_1_visible" \
        "column_1_title=$column_1_title" "column_2_title=$column_2_title" "" "${items[@]}"
    wait_for_feedback
    LAST_DIALOG_RESULT=$LAST_RESULTS
}
