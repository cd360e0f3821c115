# How every action starts. Sourced by the shell of the sandbox with the action's file name as its only argument.
#
# The order: variables, search path, functions, overrides, properties, attributes, the instance's own preparation, the
# modules' preparation, the action. `.sh` files are sourced in this shell, at its top level, so that functions and
# variables reach the action; everything else is executed by the program that its first line names. It says nothing
# itself, as the output is the action's alone, unless something fails: then it says where.
#
# This is part of the time that every action takes: no program is started, and functions are read when they are needed.
#
# shellcheck shell=bash disable=SC1090,SC1091

__infraxys_root=${BASH_SOURCE[0]%/core/bootstrap.sh}
readonly __infraxys_root
__infraxys_is_prepared= # "true" except for quick runners, for which nothing is prepared
__infraxys_modules=() __infraxys_files=() __infraxys_folders=() __infraxys_properties=() __infraxys_arguments=()
__infraxys_python=         # the folders of modules for Python, each with a colon behind it
__infraxys_original=       # the folder of the original's core module, if that is enabled
__infraxys_now=            # the file that is being sourced
__infraxys_is_action=      # "true" once the action runs
__infraxys_was_reported=   # "true" when nothing more is to be said about a failure
__infraxys_last_failure=   # the last command that failed, for an action without `set -e`
. "$__infraxys_root/system/environment.sh"
initial_script_name=$1
PYTHONPATH=$__infraxys_python${PYTHONPATH:+$PYTHONPATH:}$__infraxys_root/core/python # ours is the last to be searched
PATH=$PATH:$__infraxys_root/core/bin
export INITIAL_PID=$$ PATH PYTHONPATH initial_script_name
set -- "${__infraxys_arguments[@]}"

# -- Failures: the rest of it is read when there is one --

# Arguments: function of failures.sh, its arguments.
__infraxys_failed() {
    declare -F __infraxys_find_place >/dev/null || . "$__infraxys_root/core/bash/failures.sh"
    "$@"
}

# The shell has forgotten the line by the time its trap runs. Otherwise as the shell's own.
exit() {
    local status=${1-$?}
    if ((BASH_SUBSHELL == 0)) && [[ ! $__infraxys_was_reported ]]; then
        if [[ ! $__infraxys_is_action || ($status != 0 && ${BASH_SOURCE[1]} != "./$initial_script_name") ]]; then
            __infraxys_failed __infraxys_report_exit "$status"
        fi
        __infraxys_was_reported=true
    fi
    builtin exit "$status"
}

# 254: the shell may start no more processes, which it has said. It would not read a file before those it has are gone.
__infraxys_arm() {
    trap '__infraxys_failed __infraxys_on_failure "$?" "$LINENO" "$BASH_COMMAND"' ERR
    trap 'case $? in 0 | 254) ;; *) __infraxys_failed __infraxys_on_exit "$?" ;; esac' EXIT
}

set -eE -o pipefail
__infraxys_arm
cd -- "$INSTANCE_DIR"
if [[ $INTERACTIVE == true && ! -t 0 ]]; then
    . "$__infraxys_root/core/bash/prompts.sh"
fi

if [[ $__infraxys_is_prepared ]]; then
    export ORIG_ARGUMENTS=$*
    if [[ -d /cache ]]; then
        . "$__infraxys_root/core/bash/path.sh"
    fi
    printf -v target_directory '/tmp/infraxys_%(%Y%m%d-%H%M%S)T_%s' -1 "$$"
    : "${LOG_TRACE:=false}" "${GIT_SSH_COMMAND=ssh -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no}"
    TARGET_INSTANCE_DIR=$target_directory/environments/$environment_directory/$container_directory/$instance_directory
    TARGET_MODULES_ROOT=$target_directory/modules target_provisioning_root=$target_directory
    target_files_root=$target_directory/files local_file_directory=$target_directory/files
    export LOG_TRACE GIT_SSH_COMMAND TARGET_INSTANCE_DIR TARGET_MODULES_ROOT target_directory target_files_root \
        target_provisioning_root local_file_directory default_module_dir
fi

# For a list of values only what the action itself prints counts.
if [[ ${INFRAXYS_QUIET_PREPARATION-} ]]; then
    exec {__infraxys_output}>&1 1>&2
fi

if [[ $__infraxys_is_prepared ]]; then
    # -- Functions and overrides --
    . "$__infraxys_root/core/bash/ssh.sh"
    for __infraxys_now in "${__infraxys_modules[@]}"; do
        if [[ ! -d $__infraxys_now ]]; then
            __infraxys_was_reported=true
            echo "module ${__infraxys_now#"$MODULES_ROOT/"} is enabled for this action but is not here" >&2
            builtin exit 1
        fi
    done
    if ((${#__infraxys_files[@]} + ${#__infraxys_properties[@]} + $# > 1)) || [[ $__infraxys_original ]]; then
        . "$__infraxys_root/core/bash/prepare.sh"
        . "$__infraxys_root/core/bash/grants.sh"
        __infraxys_load
    elif [[ $initial_script_name == *.sh ]]; then
        . "$__infraxys_root/core/bash/load.sh"
        . "$__infraxys_root/core/bash/grants.sh"
        . "$__infraxys_root/core/bash/stubs.sh"
    fi
    if [[ $__infraxys_original ]]; then
        __infraxys_now=$__infraxys_original/bash/bootstrap/setup_environment.sh
        . "$__infraxys_now"
    elif (($# > 0)); then
        import_args "$@"
    fi

    # -- Properties, attributes, the instance's own preparation, the modules' preparation --
    for __infraxys_now in "${__infraxys_properties[@]}" "$INSTANCE_DIR"/run_overrides/*.auto_properties; do
        [[ ! -f $__infraxys_now ]] || __infraxys_read_properties "$__infraxys_now"
    done
    __infraxys_attributes
    unset -f __infraxys_attributes
    if ((${#__infraxys_arguments[@]})); then
        import_args "${__infraxys_arguments[@]}"
    fi
    for ((__infraxys_item = 0; __infraxys_item < ${#__infraxys_files[@]}; __infraxys_item++)); do
        __infraxys_now=${__infraxys_files[__infraxys_item]}
        cd -- "${__infraxys_folders[__infraxys_item]}"
        if [[ $__infraxys_now == *.sh ]] || __infraxys_is_for_this_shell "$__infraxys_now"; then
            . "$__infraxys_now"
        else
            __infraxys_execute "$__infraxys_now"
        fi
    done
    if ((__infraxys_item > 1)); then
        __infraxys_rearm
    fi
    set -- "${__infraxys_arguments[@]}"
fi

if [[ ${INFRAXYS_QUIET_PREPARATION-} ]]; then
    exec 1>&"$__infraxys_output" {__infraxys_output}>&-
fi

# -- The action --
cd -- "$INSTANCE_DIR"
__infraxys_now=./$initial_script_name
__infraxys_is_action=true
if [[ $initial_script_name == *.sh ]]; then
    . "./$initial_script_name"
    __infraxys_status=$?
    if [[ $__infraxys_status != 0 ]]; then
        __infraxys_failed __infraxys_returned "$__infraxys_status"
    fi
    builtin exit "$__infraxys_status"
fi

first_line=
IFS= read -r -n 256 first_line 2>/dev/null <"$initial_script_name" || :
case $first_line in
    "#!"*$'\r')
        echo "$initial_script_name: the first line ends as on Windows (CR LF); save the file with LF line ends" >&2
        builtin exit 126
        ;;
    "#!"*)
        read -r interpreter _ <<<"${first_line#"#!"}"
        if [[ ! -x $interpreter ]]; then
            echo "$initial_script_name: its first line names '$interpreter', which is not here" >&2
            builtin exit 127
        fi
        ;;
    $'\x7f'ELF*) ;;
    *)
        echo "$initial_script_name: the first line does not name a program to execute it with, as in" \
            "#!/usr/bin/env python3; a bash script needs a name that ends in .sh" >&2
        builtin exit 126
        ;;
esac
exec "./$initial_script_name" "$@"
