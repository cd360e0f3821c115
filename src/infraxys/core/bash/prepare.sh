# What the bootstrap needs where there is something to prepare.
#
# shellcheck shell=bash disable=SC1091

. "$__infraxys_root/core/bash/load.sh"

# Whether a file is sourced: because it names no program, or a shell.
__infraxys_is_for_this_shell() {
    local first_line=
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

# Reads a file of properties: lines `name=value`, or a shell script that sets variables. Argument: file.
__infraxys_read_properties() {
    local __infraxys_text
    __infraxys_text=$'\n'$(<"$1")
    if [[ $__infraxys_text == *$'\n'"export "* || $__infraxys_text == *"=\"\$("* ]]; then
        set -a
        # shellcheck disable=SC1090
        . "$1"
        set +a
    elif [[ $__infraxys_original ]]; then
        export_file "$1" || : # it says what it could not read, and goes on
    else
        export_file "$1"
    fi
}

# Puts back what the modules' code has taken away.
__infraxys_rearm() {
    local traps
    traps=$(trap -p ERR EXIT)
    [[ $traps == *" ERR"* && $traps == *" EXIT"* ]] || __infraxys_arm_without "$traps"
}

# Arms what is not there. Argument: what is.
__infraxys_arm_without() {
    __infraxys_arm
    eval "$1"
}
