# Where no module prepares the action, functions are small until one of them is called: then all are read. What the
# action has defined itself under such a name stays.
#
# shellcheck shell=bash disable=SC1090

__infraxys_stubs=()

__infraxys_load() {
    local __name __file __own=() __kept=""
    if ((${#__infraxys_stubs[@]})); then
        while read -r __name _ __file; do
            [[ $__file == "$__infraxys_root/core/"* ]] || __own+=("$__name")
        done < <(shopt -s extdebug; declare -F "${__infraxys_stubs[@]}")
        ((${#__own[@]} == 0)) || __kept=$(declare -f "${__own[@]}")
        __infraxys_stubs=()
    fi
    local IFS=$' \t\n'
    for __file in arguments logging files feedback dialogs forms modules remote git; do
        . "$__infraxys_root/core/bash/$__file.sh"
    done
    [[ ! $__kept ]] || eval "$__kept"
}
