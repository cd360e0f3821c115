# Other machines, over ssh. A function that is executed there takes with it the functions and variables that
# `function_<name>_function_dependencies`, `function_<name>_variable_dependencies` and CUSTOM_EXPORTED_VARIABLE_NAMES
# name, and those for arguments, logging and files.
#
# shellcheck shell=bash

_default_ssh_options="-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ServerAliveInterval=60 \
-o LogLevel=ERROR -o PreferredAuthentications=publickey"
default_ssh_options=$_default_ssh_options
ssh_config_file=~/.ssh/config

# -- What goes along --

# Prints the names of the functions that go along with every function.
get_export_function_names() {
    echo "${LOGGING_EXPORTED_FUNCTION_NAMES-} ${LINUX_EXPORTED_FUNCTION_NAMES-} ${FILE_EXPORTED_FUNCTION_NAMES-}" \
        "${VALIDATE_EXPORTED_FUNCTION_NAMES-} ${BASH_EXPORTED_FUNCTION_NAMES-}" \
        "${CUSTOM_EXPORTED_FUNCTION_NAMES-} ${dependencies-}"
}

get_export_variables() {
    printf 'export os_flavor=%q;\n' "${os_flavor-}"
}

export_shared_functions() {
    local name
    for name in $(get_export_function_names); do
        # shellcheck disable=SC2163 # the function that the variable names
        ! declare -F "$name" >/dev/null || export -f "$name"
    done
}

# Prints what every remote command starts with.
get_default_ssh_variables() {
    printf 'export INITIAL_PID=%q ON_PROVISIONING_SERVER=false APPLICATION_USER=%q INTERACTIVE=%q' \
        "${INITIAL_PID-}" "${APPLICATION_USER-}" "${INTERACTIVE-}"
    printf ' EXECUTING_PIPELINE=%q THREAD_NUMBER=%q INSTANCE_DIR=%q MODULES_ROOT=%q\n' "${EXECUTING_PIPELINE-}" \
        "${THREAD_NUMBER-}" "${TARGET_INSTANCE_DIR-}" "${TARGET_MODULES_ROOT-}"
}

get_remote_ssh_args() {
    get_default_ssh_variables
}

# Prints a script: functions, variables, the call. Arguments: function, names of further functions, its arguments.
__infraxys_remote_script() {
    local __main=$1 __more=$2 __name __names=() __wanted
    shift 2
    __wanted="function_${__main}_function_dependencies"
    for __name in $__main $__more ${!__wanted-}; do
        if declare -F "$__name" >/dev/null && [[ " ${__names[*]} " != *" $__name "* ]]; then
            __names+=("$__name")
        fi
    done
    declare -f "${__names[@]}"
    printf 'export -f'
    printf ' %q' "${__names[@]}"
    printf '\n%s\n%s\n' "$(get_default_ssh_variables)" "$(get_export_variables)"
    __wanted="function_${__main}_variable_dependencies"
    for __name in ${!__wanted-} ${CUSTOM_EXPORTED_VARIABLE_NAMES-}; do
        printf 'export %s=%q\n' "$__name" "${!__name-}"
    done
    printf '%q' "$__main"
    (($# == 0)) || printf ' %q' "$@"
    printf '\n'
}

# Starts a program with a script for the other side's bash. Arguments: script, program with arguments. In the background
# when in_background is "true".
__infraxys_send() {
    local script=$1
    shift
    # The login shell of the other side may be another one.
    printf -v script 'bash -c %q' "$script"
    if [[ ${in_background-} == true ]]; then
        "$@" "$script" &
    else
        "$@" "$script"
    fi
}

# Ends the action with the status unless exit_on_error is "false". Argument: status.
__infraxys_settle() {
    export LAST_SSH_EXIT_CODE=$1
    [[ $1 == 0 || ${exit_on_error-} != true ]] || exit "$1"
}

# -- By host name; users, keys and hops come from the SSH configuration --

# --function_name, --hostname, --in_background, --exit_on_error, --export_standard_functions, --override_ssh_user,
# --transfer_file [--transfer_file_remote_path] [--create_directory], --retrieve_file [--retrieve_file_local_path].
# The function gets all of these and every further argument. Sets LAST_SSH_EXIT_CODE.
execute_function_over_ssh() {
    local function_name="" hostname="" in_background=false exit_on_error=true export_standard_functions=true
    local retrieve_file="" retrieve_file_local_path="" transfer_file="" transfer_file_remote_path=""
    local create_directory=false override_ssh_user="" url_encode_variables=false __functions="" __status=0
    import_args "$@"
    check_required_arguments execute_function_over_ssh function_name hostname
    [[ $export_standard_functions != true ]] || __functions=$(get_export_function_names)
    if [[ $transfer_file ]]; then
        copy_file_to_host --hostname "$hostname" --source_path "$transfer_file" \
            --target_path "${transfer_file_remote_path:-$transfer_file}" --create_directory "$create_directory"
    fi
    __infraxys_send "$(__infraxys_remote_script "$function_name" "$__functions" "$@")" \
        ssh -k "${override_ssh_user:+$override_ssh_user@}$hostname" || __status=$?
    if [[ $retrieve_file && $in_background != true ]]; then
        copy_file_from_host --hostname "$hostname" --source_path "$retrieve_file" \
            --target_path "${retrieve_file_local_path:-$retrieve_file}" --delete_source true || __status=$?
    fi
    __infraxys_settle "$__status"
}

# --hostname, --command, --in_background, --exit_on_error; fails as the command does.
execute_command_over_ssh() {
    local function_name=execute_command_over_ssh hostname="" command="" in_background=false exit_on_error=true
    local __status=0
    import_args "$@"
    check_required_arguments "$function_name" hostname command
    __infraxys_send "$(get_default_ssh_variables)"$'\n'"$command" ssh -k "$hostname" || __status=$?
    __infraxys_settle "$__status"
    return "$__status"
}

# --hostname, --source_directory, --target_directory
rsync_directory() {
    local function_name=rsync_directory hostname="" source_directory="" target_directory=""
    import_args "$@"
    check_required_arguments "$function_name" hostname source_directory target_directory
    log_info "Synchronizing directory $source_directory to $hostname:$target_directory"
    rsync -ah -e "ssh -k" -- "$source_directory" "$hostname:$target_directory"
}

# --hostname, --source_path, --target_path, --delete_source
copy_file_from_host() {
    local function_name=copy_file_from_host hostname="" source_path="" target_path="" delete_source=false
    import_args "$@"
    check_required_arguments "$function_name" hostname source_path target_path
    log_info "Copying $hostname:$source_path to $target_path"
    scp -q -- "$hostname:$source_path" "$target_path"
    if [[ $delete_source == true ]]; then
        execute_command_over_ssh --hostname "$hostname" --command "rm -rf -- $(printf %q "$source_path")"
    fi
}

# --hostname, --source_path, --target_path, --create_directory
copy_file_to_host() {
    local function_name=copy_file_to_host hostname="" source_path="" target_path="" create_directory=true
    import_args "$@"
    check_required_arguments "$function_name" hostname source_path target_path create_directory
    if [[ $create_directory == true ]]; then
        execute_command_over_ssh --hostname "$hostname" --command "mkdir -p -- $(printf %q "${target_path%/*}")"
    fi
    log_info "Copying $source_path to $hostname:$target_path"
    scp -q -- "$source_path" "$hostname:$target_path"
}

copy_file_over_ssh() {
    copy_file_to_host "$@"
}

# --hostname, --max_wait (seconds), --exit_on_failure
wait_for_ssh() {
    local function_name=wait_for_ssh hostname="" max_wait=600 exit_on_failure=true timeout=5
    import_args "$@"
    check_required_arguments "$function_name" hostname
    __infraxys_wait_for "$hostname" ssh -k -o BatchMode=yes -o ConnectTimeout="$timeout" "$hostname" true
}

# Repeats a command until it succeeds or max_wait seconds are over. Arguments: what is waited for, command.
__infraxys_wait_for() {
    local what=$1 until=$((SECONDS + max_wait))
    shift
    log_info_no_cr "Waiting for ssh at $what ."
    until "$@" </dev/null >/dev/null 2>&1; do
        if ((SECONDS >= until)); then
            echo
            log_error "No ssh at $what after $max_wait seconds."
            [[ $exit_on_failure != true ]] || exit 1
            return 1
        fi
        sleep "${SSH_RETRY_SECONDS:-5}"
        printf .
    done
    echo
}

# --ssh_host; prints "true" when these are several.
should_run_parallel() {
    local function_name=should_run_parallel ssh_host=""
    import_args "$@"
    check_required_arguments "$function_name" ssh_host
    if [[ $ssh_host == *" "* ]]; then echo true; else echo false; fi
}

# -- The older way: hosts, users and a hop server come from variables --

# The options for a host into __options. Argument: host.
__infraxys_legacy_options() {
    read -r -a __options <<<"-k $_default_ssh_options ${ssh_key_options-}"
    if [[ ${hop_server_ssh_host-} && $hop_server_ssh_host != "$1" ]]; then
        __options+=(-o "ProxyCommand=ssh -k $_default_ssh_options root@$hop_server_ssh_host -W $1:22")
    elif [[ ${container_ssh_key_file-} && -f $container_ssh_key_file ]]; then
        __options+=(-i "$container_ssh_key_file")
    fi
}

set_default_ssh_options() {
    local __options
    __infraxys_legacy_options "${container_ssh_host-}"
    default_ssh_options=${__options[*]}
}

# --ssh_host (one or, separated by spaces, several at once), --ssh_user, --command, --message, --exit_on_error
execute_command_remote() {
    local function_name=execute_command_remote ssh_host=${container_ssh_host-} ssh_user=root command="" message=""
    local exit_on_error=true in_background=false __status=0 __host __options __jobs=()
    import_args "$@"
    check_required_arguments "$function_name" ssh_host ssh_user command
    [[ ! $message ]] || log_info "$message"
    [[ $ssh_host != *" "* ]] || in_background=true
    for __host in $ssh_host; do
        __infraxys_legacy_options "$__host"
        __infraxys_send "$(get_default_ssh_variables)"$'\n'"$command" ssh -t "${__options[@]}" "$ssh_user@$__host" ||
            __status=$?
        [[ $in_background != true ]] || __jobs+=("$!")
    done
    for __host in "${__jobs[@]}"; do
        wait "$__host" || __status=$?
    done
    __infraxys_settle "$__status"
    return "$__status"
}

# --function_name (comes first), --ssh_host, --ssh_user, --message, --in_background, --exit_on_error,
# --extra_functions_to_export. The function gets every argument behind the first.
execute_function_remote() {
    local function_name="" ssh_host="" ssh_user="" message="" in_background=false exit_on_error=true
    local extra_functions_to_export="" extra_arguments="" __status=0 __options
    import_args "$@"
    ssh_host=${ssh_host:-${connect_host:-${container_ssh_host-}}}
    ssh_user=${ssh_user:-${connect_username:-root}}
    check_required_arguments execute_function_remote ssh_host ssh_user function_name
    shift 2
    [[ ! $message ]] || log_info "$message"
    __infraxys_legacy_options "$ssh_host"
    __infraxys_send \
        "$(__infraxys_remote_script "$function_name" "$(get_export_function_names) $extra_functions_to_export" "$@")" \
        ssh -t "${__options[@]}" "$ssh_user@$ssh_host" || __status=$?
    __infraxys_settle "$__status"
    return "$__status"
}

# --ssh_host, --max_wait (seconds), --exit_on_failure
wait_for_ssh_connection() {
    local function_name=wait_for_ssh_connection ssh_host="" ssh_user=root max_wait=6000 exit_on_failure=true __options
    import_args "$@"
    check_required_arguments "$function_name" ssh_host
    __infraxys_legacy_options "$ssh_host"
    __infraxys_wait_for "$ssh_host" ssh "${__options[@]}" -o BatchMode=yes -o ConnectTimeout=10 \
        "$ssh_user@$ssh_host" true
}

# --ssh_host; prints user and host as ssh takes them.
get_ssh_part_for_connect() {
    local function_name=get_ssh_part_for_connect ssh_host="" ssh_user=${ssh_user-}
    import_args "$@"
    printf '%s\n' "${ssh_host:+${ssh_user:+$ssh_user@}}$ssh_host"
}

is_localhost() {
    if [[ $1 == localhost || $1 == 127.0.0.1 ]]; then echo true; else echo false; fi
}

# Executes its arguments, or, when this is not the target yet, `command_line` there.
execute_on_target() {
    if [[ ${ON_PROVISIONING_SERVER-} == true ]]; then
        run_this_on_target --execute_command_line "${command_line:-$*}"
    else
        "$@"
    fi
}

# --execute_command_line; copies the files of this run to the container's host and executes it in the instance's
# folder there.
run_this_on_target() {
    local function_name=run_this_on_target execute_command_line="" __host __options __target __folders
    import_args "$@"
    check_required_arguments "$function_name" execute_command_line
    if [[ ${ON_PROVISIONING_SERVER-} == false || ${target_is_localhost-} == true ]]; then
        (
            export ON_PROVISIONING_SERVER=false INSTANCE_DIR=${TARGET_INSTANCE_DIR:-$INSTANCE_DIR}
            cd "$INSTANCE_DIR" && eval "$execute_command_line ${ORIG_ARGUMENTS-}"
        )
        return
    fi
    check_required_variables container_ssh_host target_provisioning_root
    printf -v __target %q "$target_provisioning_root"
    __folders=(environments)
    [[ ! -d $INFRAXYS_ROOT/modules ]] || __folders+=(modules)
    for __host in $container_ssh_host; do
        __infraxys_legacy_options "$__host"
        # Secrets, caches and this library stay here.
        # shellcheck disable=SC2029 # it is quoted for the other side
        tar -C "$INFRAXYS_ROOT" -cz "${__folders[@]}" |
            ssh "${__options[@]}" "${container_ssh_user:-root}@$__host" "mkdir -p $__target && tar -C $__target -xz"
    done
    execute_command_remote --ssh_host "$container_ssh_host" --ssh_user "${container_ssh_user:-root}" \
        --command "cd $(printf %q "$TARGET_INSTANCE_DIR") && $execute_command_line"
}

# --filename; adds each key file that it names to the agent, which is started when there is none.
add_ssh_keys_from_file() {
    local function_name=add_ssh_keys_from_file filename="" __line
    import_args "$@"
    check_required_file --filename "$filename"
    if [[ ! ${SSH_AUTH_SOCK-} ]]; then
        eval "$(ssh-agent -s)" >/dev/null
    fi
    while IFS=$' \t' read -r __line || [[ $__line ]]; do
        [[ $__line ]] || continue
        [[ $(get_file_mode --filename "$__line") == [46]00 ]] || chmod 600 "$__line"
        ssh-add "$__line" </dev/null
    done <"$filename"
}

# --key_filename, --key_username, --append_to_authorized_keys_of_user; makes a key pair in the user's ~/.ssh unless it is
# there.
create_key_file() {
    local function_name=create_key_file key_filename="" key_username="" append_to_authorized_keys_of_user=""
    local __home __key
    import_args "$@"
    check_required_arguments "$function_name" key_filename key_username
    __home=$(__infraxys_home "$key_username")
    __key=$__home/.ssh/$key_filename
    if [[ -f $__key ]]; then
        log_warn "File $__key already exists."
    elif [[ $key_username == "$(id -un)" ]]; then
        mkdir -p -m 700 "$__home/.ssh"
        ssh-keygen -q -N "" -f "$__key"
    else
        install -d -m 700 -o "$key_username" "$__home/.ssh"
        su "$key_username" -c "ssh-keygen -q -N '' -f $(printf %q "$__key")"
    fi
    if [[ $append_to_authorized_keys_of_user ]]; then
        __home=$(__infraxys_home "$append_to_authorized_keys_of_user")
        mkdir -p -m 700 "$__home/.ssh"
        cat "$__key.pub" >>"$__home/.ssh/authorized_keys"
    fi
}

# Prints the home folder of a user.
__infraxys_home() {
    local home
    if [[ $1 == "$(id -un)" ]]; then
        echo ~
        return
    fi
    home=$(getent passwd "$1" | cut -d: -f6)
    if [[ ! $home ]]; then
        log_fatal "There is no user '$1'."
    fi
    echo "$home"
}

# --ssh_user, --ssh_host, --remove_other_user true; lets root sign in with the keys of that user.
enable_root_login() {
    local function_name=enable_root_login ssh_host=${container_ssh_host-} ssh_user="" remove_other_user=false
    import_args "$@"
    check_required_arguments "$function_name" ssh_host ssh_user
    if [[ $remove_other_user == true && $ssh_user == root ]]; then
        log_error "root cannot be removed."
        exit 1
    fi
    execute_command_remote --message "Copying the authorized keys of $ssh_user to root on $ssh_host." \
        --exit_on_error false --ssh_host "$ssh_host" --ssh_user "$ssh_user" \
        --command "if [ -f ~/.ssh/authorized_keys ]; then sudo cp ~/.ssh/authorized_keys /root/.ssh/; fi" || :
    if [[ $remove_other_user == true ]]; then
        execute_command_remote --message "Removing user $ssh_user." --exit_on_error false --ssh_host "$ssh_host" \
            --ssh_user root --command "userdel $ssh_user" || :
    fi
}

function_configure_ssh_function_dependencies="restart_ssh_service"
function_configure_ssh_variable_dependencies="os_flavor"
# Turns GSSAPI off in the ssh server of this machine. Meant to be executed on another one.
configure_ssh() {
    local setting
    for setting in GSSAPIAuthentication GSSAPICleanupCredentials; do
        update_line_in_file --filename "${SSHD_CONFIG_FILE:-/etc/ssh/sshd_config}" --starts_only false \
            --text "$setting" --new_text "$setting no # set by Infraxys"
    done
    restart_ssh_service
}

restart_ssh_service() {
    if [[ ${os_flavor-} == ubuntu || ${os_flavor-} == debian ]]; then
        service ssh restart
    else
        service sshd restart
    fi
}
