# What the bootstrap does between the variables and the action. The functions with `__infraxys_find_` each give the
# files of one phase in `__infraxys_files` and where each is sourced in `__infraxys_folders`.
#
# shellcheck shell=bash

# Programs in the project's cache come first, then those of shared caches, then the system's.
__infraxys_set_path() {
    local folder shared=
    [[ -d /cache ]] || return 0
    for folder in /cache/projects/*/bin; do
        [[ ! -d $folder ]] || shared+=:$folder
    done
    if [[ -d /cache/project ]]; then
        [[ -d /cache/project/bin || ! -w /cache/project ]] || mkdir -p /cache/project/bin
        shared=:/cache/project/bin$shared
    fi
    [[ ! $shared ]] || PATH=${shared#:}:$PATH
}

# Names that the remote functions and older scripts use.
__infraxys_legacy_variables() {
    local stamp
    printf -v stamp '%(%Y%m%d-%H%M%S)T' -1
    : "${LOG_TRACE:=false}" "${GIT_SSH_COMMAND=ssh -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no}"
    export LOG_TRACE GIT_SSH_COMMAND
    export target_provisioning_root=/tmp/infraxys_${stamp}_$INITIAL_PID
    export TARGET_INSTANCE_DIR=$target_provisioning_root/environments/$environment_directory/$container_directory
    TARGET_INSTANCE_DIR+=/$instance_directory
    export TARGET_MODULES_ROOT=$target_provisioning_root/modules
    export target_files_root=$target_provisioning_root/files local_file_directory=$target_provisioning_root/files
    export target_directory=$target_provisioning_root
    if [[ ${__infraxys_modules[0]-} ]]; then
        export default_module_dir=$MODULES_ROOT/${__infraxys_modules[0]}
    fi
}

# Environment, container, instance, overrides: the later wins.
__infraxys_export_properties() {
    local file
    for file in "$ENVIRONMENT_DIR"/environment.auto/*.auto_properties "$CONTAINER_DIR"/container.auto/*.auto_properties \
        "$INSTANCE_DIR"/*.auto_properties "$INSTANCE_DIR"/run_overrides/*.auto_properties \
        "$__infraxys_root"/run_overrides/*.auto_properties; do
        if [[ -f $file ]]; then
            __infraxys_now=$file
            export_file "$file"
        fi
    done
}

__infraxys_check_modules() {
    local module
    for module in "${__infraxys_modules[@]}"; do
        if [[ ! -d $MODULES_ROOT/$module ]]; then
            echo "module $module is enabled for this action but is not here" >&2
            __infraxys_was_reported=true
            builtin exit 1
        fi
    done
}

# Adds files, ordered by file name and then by folder. Arguments: subfolder with `/` or nothing, pattern, folders.
__infraxys_collect() {
    local - IFS=$' \t\n' subfolder=$1 pattern=$2 folder file place
    set +f
    shift 2
    for folder; do
        for file in "$folder/$subfolder"$pattern; do
            [[ -f $file ]] || continue
            for ((place = ${#__infraxys_files[@]}; place > 0; place--)); do
                [[ ${file##*/}/$folder < ${__infraxys_files[place - 1]##*/}/${__infraxys_folders[place - 1]} ]] || break
                __infraxys_files[place]=${__infraxys_files[place - 1]}
                __infraxys_folders[place]=${__infraxys_folders[place - 1]}
            done
            __infraxys_files[place]=$file __infraxys_folders[place]=$folder
        done
    done
}

# Before modules: scripts of environment and container, then the instance's `init_instance*`. The original does the
# first in a packet file of its own, so not twice where that is.
__infraxys_find_instance() {
    local more=() file
    cd -- "$INSTANCE_DIR" || builtin exit
    __infraxys_files=() __infraxys_folders=()
    if [[ ! -f $INSTANCE_DIR/init_instance0_runs_first_infraxys_system.sh ]]; then
        for file in "$ENVIRONMENT_DIR"/environment.auto/*.sh "$CONTAINER_DIR"/container.auto/*.sh; do
            [[ ! -f $file ]] || more+=("$file")
        done
    fi
    __infraxys_collect "" 'init_instance*' .
    __infraxys_files=("${more[@]}" "${__infraxys_files[@]}")
    __infraxys_folders=()
    for file in "${__infraxys_files[@]}"; do
        __infraxys_folders+=("$INSTANCE_DIR")
    done
}

# `init.*` of all modules; what the original's core module has there is ours when that module is not.
__infraxys_find_init() {
    __infraxys_files=() __infraxys_folders=()
    __infraxys_collect "" 'init.*' "${__infraxys_modules[@]/#/"$MODULES_ROOT/"}"
    [[ $__infraxys_original ]] || __infraxys_collect "bash/" 'init.010.sh' "$__infraxys_root/core"
}

__infraxys_find_source() {
    __infraxys_files=() __infraxys_folders=()
    __infraxys_collect "auto-source/" '*' "${__infraxys_modules[@]/#/"$MODULES_ROOT/"}"
}

__infraxys_find_after() {
    __infraxys_files=() __infraxys_folders=()
    __infraxys_collect "" 'after_modules_enabled.*' "${__infraxys_modules[@]/#/"$MODULES_ROOT/"}"
}

__infraxys_find_last() {
    __infraxys_files=() __infraxys_folders=()
    cd -- "$INSTANCE_DIR" || builtin exit
    __infraxys_collect "" 'after_modules_enabled.*' .
}

# Whether a file is sourced: by its name, or because it names no program or a shell.
__infraxys_is_for_this_shell() {
    local first_line=
    [[ $1 != *.sh ]] || return 0
    IFS= read -r -n 256 first_line 2>/dev/null <"$1" || :
    [[ $first_line != "#!"* || $first_line =~ ^'#!'[[:blank:]]*[^[:blank:]]*(/|/env[[:blank:]]+)(ba)?sh([[:blank:]]|$) ]]
}

# Executes a file by its first line, whether it is marked executable or not.
__infraxys_execute() {
    local words
    if [[ -x $1 ]]; then
        "$1"
    else
        read -r -a words <"$1"
        "${words[@]/#"#!"/}" "$1"
    fi
}

# The modules' code is through: what it has taken from the bootstrap is put back, what only the bootstrap needs goes.
__infraxys_finish() {
    local traps
    if [[ $__infraxys_others ]]; then
        traps=$(trap -p ERR EXIT)
        [[ $traps == *" ERR"* ]] || trap '__infraxys_on_failure "$?" "$LINENO" "$BASH_COMMAND"' ERR
        [[ $traps == *" EXIT"* ]] || trap '__infraxys_on_exit "$?"' EXIT
    fi
    unset -f __infraxys_set_path __infraxys_legacy_variables __infraxys_export_properties __infraxys_check_modules \
        __infraxys_collect __infraxys_find_instance __infraxys_find_init __infraxys_find_source \
        __infraxys_find_after __infraxys_find_last __infraxys_is_for_this_shell __infraxys_execute __infraxys_finish
}
