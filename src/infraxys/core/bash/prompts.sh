# For actions that people sit in front of and that have no terminal: the shell shows the prompt of `read -p` on a
# terminal only, but whoever is to type has to know what.
#
# shellcheck shell=bash

# Otherwise as the shell's own.
read() {
    local __infraxys_word __infraxys_is_prompt=
    for __infraxys_word; do
        if [[ $__infraxys_is_prompt ]]; then
            builtin printf '%s' "$__infraxys_word" >&2
            break
        fi
        case $__infraxys_word in
            -p?*) builtin printf '%s' "${__infraxys_word#-p}" >&2 && break ;;
            -*[adinNtu]) ;;
            -*p) __infraxys_is_prompt=true ;;
        esac
    done
    # shellcheck disable=SC2162 # as it was called
    builtin read "$@"
}
