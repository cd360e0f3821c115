# Forms that an action describes in JSON and the server shows. Needs `jq`.
#
# shellcheck shell=bash

# --json or --json_file; --callback_function is called with `--json_from_server <event>` for each event until the form
# is closed or the function sets STOP_WAITING to "true". Without one, the events are in LAST_RESULTS. The values of the
# last event are in `jsonResult_<id>`, its kind in last_json_event_type, last_json_event_details, last_json_object_id.
show_json_form() {
    local function_name=show_json_form json="" json_file="" exit_code_on_cancel="" callback_function=""
    local text_from_server
    import_args "$@"
    check_required_argument "$function_name" json json_file
    [[ $json ]] || json=$(<"$json_file")
    LAST_RESULTS=""
    LAST_STATUS=""
    __infraxys_request "{" '"requestType": "UI",' '"subType": "FORM",' "\"json\": $json" "}"
    while __infraxys_read_answer; do
        if [[ $text_from_server == SUCCESS || $text_from_server == FAILED ]]; then
            LAST_STATUS=$text_from_server
            return 0
        elif [[ $text_from_server == "{"*"}" ]]; then
            __infraxys_take_event "$text_from_server"
            if [[ $exit_code_on_cancel && $last_json_event_type == BUTTON_CLICK &&
                $last_json_event_details == CANCEL ]]; then
                exit "$exit_code_on_cancel"
            elif [[ $callback_function ]]; then
                "$callback_function" --json_from_server "$text_from_server"
                LAST_RESULTS=""
                [[ ${STOP_WAITING-} != true ]] || return 0
                continue
            fi
        fi
        LAST_RESULTS+=${LAST_RESULTS:+$'\n'}$text_from_server
    done
    __infraxys_no_answer
    exit 1
}

# Takes an event of a form apart. Argument: the event, JSON.
__infraxys_take_event() {
    local fields number
    mapfile -t fields < <(jq -r '(.eventType, .eventDetails, .objectId | tostring | @json),
        ((.results // [])[] | (.id | tostring | @json), tojson)' <<<"$1")
    last_json_event_type=$(jq -r . <<<"${fields[0]-null}")
    last_json_event_details=$(jq -r . <<<"${fields[1]-null}")
    last_json_object_id=$(jq -r . <<<"${fields[2]-null}")
    export last_json_event_type last_json_event_details last_json_object_id
    for ((number = 3; number + 1 < ${#fields[@]}; number += 2)); do
        if [[ ${fields[number]} =~ ^\"[A-Za-z0-9_]+\"$ ]]; then
            export "jsonResult_${fields[number]//\"/}=${fields[number + 1]}"
        fi
    done
}

# --object_id, --json (LAST_RESULTS unless given), --property; prints the result of one field, or that property of each
# selected item.
get_json_result() {
    local function_name=get_json_result json="" object_id="" property=""
    import_args "$@"
    check_required_arguments "$function_name" object_id
    json=${json:-${LAST_RESULTS-}}
    check_required_argument "$function_name" json LAST_RESULTS
    jq -r --arg id "$object_id" ".results[] | select(.id == \$id)${property:+ | .selectedItemList[] | .$property}" \
        <<<"$json"
}

# --object_id, --json (LAST_RESULTS unless given), --property; prints the first selected item, or that property of it.
get_first_json_result() {
    local function_name=get_first_json_result json="" object_id="" property=""
    import_args "$@"
    check_required_arguments "$function_name" object_id
    json=${json:-${LAST_RESULTS-}}
    check_required_argument "$function_name" json LAST_RESULTS
    jq -r --arg id "$object_id" ".results[] | select(.id == \$id) | .selectedItemList[0]${property:+ | .$property}" \
        <<<"$json"
}

# --json; sends it as a request of its own and does not wait.
answer_form_interaction() {
    local json=""
    import_args "$@"
    __infraxys_request "$json"
}

# --full_json, --data_part_id, --data_json; prints the form with one more data part.
add_data_part() {
    local function_name=add_data_part full_json="" data_part_id="" data_json=""
    import_args "$@"
    check_required_arguments "$function_name" full_json data_part_id data_json
    jq --arg id "$data_part_id" --slurpfile data <(printf '%s' "$data_json") \
        '.dataParts += [{id: $id, data: $data[0]}]' <<<"$full_json"
}

# --full_json, --data_part_id, --data_json (an array); the same, with the array as the items of the data part.
add_and_wrap_data_part() {
    local function_name=add_and_wrap_data_part full_json="" data_part_id="" data_json=""
    import_args "$@"
    check_required_arguments "$function_name" full_json data_part_id data_json
    add_data_part --full_json "$full_json" --data_part_id "$data_part_id" --data_json "{\"items\": $data_json}"
}

# --json, --columns_json; prints the form with one more column on its canvas.
add_canvas_columns() {
    local function_name=add_canvas_columns json="" columns_json=""
    import_args "$@"
    check_required_arguments "$function_name" json columns_json
    jq --slurpfile columns <(printf '%s' "$columns_json") '.form.canvas.columns += $columns' <<<"$json"
}

# --json (an object); exports each of its members as a variable.
export_json_attributes() {
    local function_name=export_json_attributes json="" __name __value
    import_args "$@"
    check_required_arguments "$function_name" json
    while IFS= read -r -d '' __name && IFS= read -r -d '' __value; do
        export "$__name=$__value"
    done < <(jq -j 'to_entries[] | .key, "\u0000", (.value | if type == "string" then . else tojson end), "\u0000"' \
        <<<"$json")
}
