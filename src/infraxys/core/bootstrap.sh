# How every action starts. Sourced by the shell of the sandbox with the action's file name as its only argument.
#
# The order: variables, search path, functions, overrides, properties, attributes, the instance's own preparation, the
# modules' preparation, the action. `.sh` files are sourced in this shell, at its top level, so that functions and
# variables reach the action; everything else is executed by the program that its first line names. It says nothing
# itself, as the output is the action's alone, unless something fails: then it says where.
#
# shellcheck shell=bash disable=SC1090,SC1091

__infraxys_root=${BASH_SOURCE[0]%/core/bootstrap.sh}
readonly __infraxys_root
. "$__infraxys_root/system/environment.sh"
initial_script_name=$1
export INITIAL_PID=$$ initial_script_name
set --
if [[ -f $__infraxys_root/system/overrides.sh ]]; then
    . "$__infraxys_root/system/overrides.sh" # sets $@ to `--name value …`
fi
export ORIG_ARGUMENTS=$*
set -eE -o pipefail
. "$__infraxys_root/core/bash/failures.sh"
cd -- "$INSTANCE_DIR"

# Nobody is there to answer: what reads its standard input shall find the end, and not wait for ever. What the server
# answers by itself is read from another descriptor, by those who asked; the original's own functions know only one.
__infraxys_modules=()
__infraxys_original=
if [[ -f $__infraxys_root/system/modules ]]; then
    mapfile -t __infraxys_modules <"$__infraxys_root/system/modules"
    for __infraxys_item in "${__infraxys_modules[@]}"; do
        if [[ $__infraxys_item == */infraxys-modules/infraxys-core/* &&
            -f $MODULES_ROOT/$__infraxys_item/bash/bootstrap/setup_environment.sh ]]; then
            __infraxys_original=$MODULES_ROOT/$__infraxys_item
        fi
    done
fi
if [[ $INTERACTIVE != true && ! $__infraxys_original ]]; then
    exec {INFRAXYS_ANSWERS_FD}<&0 </dev/null
    export INFRAXYS_ANSWERS_FD
fi

if [[ -f $__infraxys_root/system/modules ]]; then # quick runners have none and skip all of this
    . "$__infraxys_root/core/bash/prepare.sh"
    # -- Search path, functions, overrides --
    __infraxys_set_path
    for __infraxys_item in arguments logging files feedback dialogs forms modules ssh remote git; do
        . "$__infraxys_root/core/bash/$__infraxys_item.sh"
    done
    __infraxys_arguments=("$@")
    if [[ $__infraxys_original ]]; then
        __infraxys_now=$__infraxys_original/bash/bootstrap/setup_environment.sh
        . "$__infraxys_now"
    else
        readonly -f has_grant check_grant
        import_args "$@"
    fi
    __infraxys_legacy_variables

    # -- Properties, attributes, the instance's own preparation, the modules' preparation --
    __infraxys_export_properties
    . "$__infraxys_root/system/attributes.sh"
    import_args "${__infraxys_arguments[@]}"
    __infraxys_check_modules
    __infraxys_others= # "true" when code that is not this library's was sourced
    for __infraxys_phase in instance init source after last; do
        "__infraxys_find_$__infraxys_phase"
        for ((__infraxys_item = 0; __infraxys_item < ${#__infraxys_files[@]}; __infraxys_item++)); do
            __infraxys_now=${__infraxys_files[__infraxys_item]}
            cd -- "${__infraxys_folders[__infraxys_item]}"
            if __infraxys_is_for_this_shell "$__infraxys_now"; then
                [[ $__infraxys_now == "$__infraxys_root/core/"* ]] || __infraxys_others=true
                . "$__infraxys_now"
            else
                __infraxys_execute "$__infraxys_now"
            fi
        done
    done
    __infraxys_finish
    set -- "${__infraxys_arguments[@]}"
fi

# -- The action --
cd -- "$INSTANCE_DIR"
__infraxys_now=./$initial_script_name
__infraxys_is_action=true
if [[ $initial_script_name == *.sh ]]; then
    . "./$initial_script_name"
    __infraxys_returned "$?"
fi

first_line=
IFS= read -r -n 256 first_line 2>/dev/null <"$initial_script_name" || :
case $first_line in
    "#!"*$'\r')
        echo "$initial_script_name: the first line ends as on Windows (CR LF); save the file with LF line ends" >&2
        exit 126
        ;;
    "#!"*)
        read -r interpreter _ <<<"${first_line#"#!"}"
        if [[ ! -x $interpreter ]]; then
            echo "$initial_script_name: its first line names '$interpreter', which is not here" >&2
            exit 127
        fi
        ;;
    $'\x7f'ELF*) ;;
    *)
        echo "$initial_script_name: the first line does not name a program to execute it with, as in" \
            "#!/usr/bin/env python3; a bash script needs a name that ends in .sh" >&2
        exit 126
        ;;
esac
exec "./$initial_script_name" "$@"
