# Says, for every end with a failure, in which file and line: a command that failed under `set -e`, an `exit` in a file
# that was sourced, a file that cannot be read by the shell. An `exit` that stands in the action's own file is the
# author's own word and gets no comment. Status and output of the action stay its own.
#
# shellcheck shell=bash

# A path as people know it: without the folders in front that are the same for all.
__infraxys_name_file() {
    __infraxys_named=${1#"${MODULES_ROOT-}/"}
    __infraxys_named=${__infraxys_named#"${INSTANCE_DIR-}/"}
    __infraxys_named=${__infraxys_named#"${ENVIRONMENTS_ROOT-}/"}
    __infraxys_named=${__infraxys_named#./}
}

# Finds the innermost place outside of this library; fails when there is none but the file that is being sourced.
# Arguments: number of the frame to begin with, the line in it.
__infraxys_find_place() {
    local frame line=$2
    for ((frame = $1; frame < ${#BASH_SOURCE[@]}; frame++)); do
        if [[ ${BASH_SOURCE[frame]} != "$__infraxys_root/core/"* && ${FUNCNAME[frame]} != main ]]; then
            __infraxys_name_file "${BASH_SOURCE[frame]}"
            __infraxys_place=$__infraxys_named
            ((line < 1)) || __infraxys_place+=": line $line"
            if [[ ${FUNCNAME[frame]} != source ]]; then
                __infraxys_name_file "${BASH_SOURCE[frame + 1]-}"
                __infraxys_place+=" (in ${FUNCNAME[frame]}, called from $__infraxys_named: line ${BASH_LINENO[frame]})"
            fi
            return 0
        fi
        line=${BASH_LINENO[frame]}
    done
    __infraxys_name_file "$__infraxys_now"
    __infraxys_place=$__infraxys_named
    return 1
}

__infraxys_report() {
    local first_line=
    __infraxys_was_reported=true
    builtin printf '%s\n' "$1" >&2
    IFS= builtin read -r first_line 2>/dev/null <"${__infraxys_now/#.\//"$INSTANCE_DIR/"}" || :
    if [[ $first_line == *$'\r' ]]; then
        __infraxys_name_file "$__infraxys_now"
        builtin printf '%s: its lines end as on Windows (CR LF); save the file with LF line ends\n' "$__infraxys_named" >&2
    fi
}

# Called for every command that fails where `set -e` would end the shell. Arguments: status, line, command.
__infraxys_on_failure() {
    local status=$1 line=$2 command=${3%%$'\n'*}
    ((BASH_SUBSHELL == 0)) && [[ ! $__infraxys_was_reported ]] || return 0
    if ! __infraxys_find_place 3 "$line"; then
        # `return` in a sourced file, or one that is no shell script, of which the shell has said file and line.
        if [[ ! $__infraxys_is_action ]]; then
            __infraxys_report "$__infraxys_place: ended with status $status, so $initial_script_name was not started"
        elif [[ $- == *e* ]]; then
            __infraxys_was_reported=true
        fi
        return 0
    fi
    ((${#command} <= 200)) || command=${command:0:200}…
    __infraxys_last_failure="$__infraxys_place: '$command' failed with exit status $status"
    [[ $- != *e* ]] || __infraxys_report "$__infraxys_last_failure"
}

# Called at the very end. Arguments: status.
__infraxys_on_exit() {
    ((BASH_SUBSHELL == 0)) && [[ $1 != 0 && ! $__infraxys_was_reported ]] || return 0
    __infraxys_find_place 3 0 || :
    if [[ $__infraxys_is_action ]]; then
        __infraxys_report "$__infraxys_place: ended with exit status $1"
    else
        __infraxys_report "$__infraxys_place: ended with status $1, so $initial_script_name was not started"
    fi
}

# The action has come to its end without `exit`. Arguments: status.
__infraxys_returned() {
    if [[ ! $__infraxys_was_reported && $__infraxys_last_failure == *" $1" ]]; then
        builtin printf '%s\n' "$__infraxys_last_failure" >&2
    fi
    __infraxys_was_reported=true
}

# Called by `exit`. Arguments: status.
__infraxys_report_exit() {
    __infraxys_find_place 3 0 || :
    if [[ $__infraxys_is_action ]]; then
        __infraxys_report "$__infraxys_place: ended the action with exit status $1"
    else
        __infraxys_report "$__infraxys_place: exit status $1, so $initial_script_name was not started"
    fi
}
