# Questions to the server: a `<FEEDBACK>` block on the standard output, the answer line by line on the standard input.
#
# shellcheck shell=bash

# Prints a JSON string with its quotes. Argument: text.
__infraxys_json_string() {
    local text=${1-} code
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    text=${text//$'\r'/\\r}
    text=${text//$'\t'/\\t}
    while [[ $text =~ [[:cntrl:]] ]]; do
        printf -v code '\\u%04x' "'${BASH_REMATCH[0]}"
        text=${text//"${BASH_REMATCH[0]}"/"$code"}
    done
    printf '"%s"' "$text"
}

# Prints a request. Arguments: its lines. One write, so that nothing else comes between.
__infraxys_request() {
    local lines
    printf -v lines '%s\n' "$@"
    printf '<FEEDBACK>\n%s</FEEDBACK>\n' "$lines"
}

# Reads one line of an answer into `text_from_server`; fails at the end of the input.
__infraxys_read_answer() {
    text_from_server=
    IFS= read -r -u "${INFRAXYS_ANSWERS_FD:-0}" text_from_server || [[ $text_from_server ]] || return 1
    text_from_server=${text_from_server%$'\r'}
}

__infraxys_no_answer() {
    LAST_STATUS=${1:-FAILED}
    if [[ ${INTERACTIVE-} == true ]]; then
        log_error "The server gave no answer: the connection to it has ended."
    else
        log_error "The server gave no answer: this run is not interactive (INTERACTIVE is not true)."
    fi
}

# Waits for the answer to a request; its lines are then in LAST_RESULTS and its outcome in LAST_STATUS.
# --any_response true: one line, whatever it is, will do. --exit_on_error false: fails instead of ending the action.
wait_for_feedback() {
    local function_name=wait_for_feedback error_text=FAILED success_text=SUCCESS exit_on_error=true any_response=false
    local text_from_server word
    import_args "$@"
    LAST_RESULTS=""
    LAST_STATUS=""
    while __infraxys_read_answer; do
        word=${text_from_server#"${text_from_server%%[![:space:]]*}"}
        word=${word%"${word##*[![:space:]]}"}
        if [[ $any_response == true ]]; then
            [[ $word == "$success_text" ]] || LAST_RESULTS=$text_from_server
            LAST_STATUS=$success_text
            break
        elif [[ $word == "$success_text" ]]; then
            LAST_STATUS=$success_text
            break
        elif [[ $word == "$error_text" ]]; then
            LAST_STATUS=$error_text
            break
        fi
        LAST_RESULTS+=${LAST_RESULTS:+$'\n'}$text_from_server
    done
    [[ $LAST_STATUS ]] || __infraxys_no_answer "$error_text"
    [[ $LAST_STATUS != "$success_text" ]] || return 0
    [[ ! $LAST_RESULTS ]] || log_error "$LAST_RESULTS"
    [[ $exit_on_error != true ]] || exit 1
    return 1
}

# --environment_id, --name, --description, --container_type, --domain, --ssh_host, --private_ip
create_infraxys_container() {
    local function_name=create_infraxys_container environment_id="" container_type=SERVER name="" domain=""
    local description="" ssh_host="" private_ip=""
    import_args "$@"
    check_required_arguments "$function_name" environment_id container_type name description
    __infraxys_request "create container" "set container_type=$container_type" "set name=$name" \
        "set environment_id=$environment_id" "set domain=$domain" "set description=$description" \
        "set connect_name=$ssh_host" "set private_ip=$private_ip"
    wait_for_feedback
    echo "Container id: $LAST_RESULTS"
}

# --parent_instance_id, --guid (of the packet)
create_instance() {
    local function_name=create_instance parent_instance_id="" guid=""
    import_args "$@"
    check_required_arguments "$function_name" parent_instance_id guid
    __infraxys_request "create instance" "guid=$guid" "parentInstanceId=$parent_instance_id"
    wait_for_feedback
    echo "Instance id: $LAST_RESULTS"
}

# --parent_instance_id, --guid (of the packet); the user fills in the form, the id is then in `new_instance_id`.
show_create_instance() {
    local function_name=show_create_instance parent_instance_id="" guid=""
    import_args "$@"
    check_required_arguments "$function_name" parent_instance_id guid
    __infraxys_request "set instanceid=$parent_instance_id" "ui interaction" "type=CREATE INSTANCE" "guid=$guid"
    wait_for_feedback
    new_instance_id=$LAST_RESULTS
}

# --instance_id, --attribute_name, --attribute_value, --compile_instance, --compile_container, --compile_environment
update_instance_attribute() {
    local function_name=update_instance_attribute instance_id="" attribute_name="" attribute_value=""
    local compile_container=false compile_instance=false compile_environment=false
    import_args "$@"
    check_required_arguments "$function_name" instance_id attribute_name attribute_value
    __infraxys_request "{" '"requestType": "UPDATE INSTANCE",' "\"dbId\": $(__infraxys_json_string "$instance_id")," \
        "\"compileInstance\": $compile_instance," "\"compileContainer\": $compile_container," \
        "\"compileEnvironment\": $compile_environment," \
        "\"fields\": {$(__infraxys_json_string "$attribute_name"): $(__infraxys_json_string "$attribute_value")}" "}"
    wait_for_feedback --any_response true
    LAST_DIALOG_RESULT=$LAST_RESULTS
}

# --instance_id, --filename
execute_infraxys_action() {
    local function_name=execute_infraxys_action instance_id="" filename=""
    import_args "$@"
    check_required_arguments "$function_name" instance_id filename
    __infraxys_request "ui interaction" "type=EXECUTE_ACTION" "instance_id=$instance_id" "filename=$filename"
    wait_for_feedback
    LAST_DIALOG_RESULT=$LAST_RESULTS
}

# --message; the text that is shown beside the run.
update_status() {
    local function_name=update_status message=""
    import_args "$@"
    check_required_arguments "$function_name" message
    __infraxys_request "{" '"requestType": "SYSTEM",' '"subType": "STATUS",' \
        "\"message\": $(__infraxys_json_string "$message")" "}"
    wait_for_feedback
}

# --json (an object)
log_audit() {
    local function_name=log_audit json=""
    import_args "$@"
    check_required_arguments "$function_name" json
    __infraxys_request "{" '"requestType": "SYSTEM",' '"subType": "AUDIT",' "\"json\": $json" "}"
    wait_for_feedback
}

# --action, --details, --json (members of an object, without its braces)
audit_action() {
    local function_name=audit_action action="" details="" json=""
    import_args "$@"
    check_required_arguments "$function_name" action
    local entry
    entry="{\"audit_type\": \"action\", \"ticket\": $(__infraxys_json_string "${GLOBAL_TICKET-}"),"
    entry+=" \"action\": $(__infraxys_json_string "$action")"
    [[ ! $details ]] || entry+=", \"details\": $(__infraxys_json_string "$details")"
    [[ ! $json ]] || entry+=", $json"
    log_audit --json "$entry}"
}

audit_start_action() {
    local members
    members="\"project_name\": $(__infraxys_json_string "${project_name-}")"
    members+=", \"environment_name\": $(__infraxys_json_string "${environment_name-}")"
    members+=", \"container_name\": $(__infraxys_json_string "${container_name-}")"
    members+=", \"instance_label\": $(__infraxys_json_string "${instance_label-}")"
    audit_action --action "START ACTION" --json "$members"
}
