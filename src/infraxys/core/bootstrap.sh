# How every action starts. Sourced by the shell of the sandbox with the action's file name as its only argument.
# `.sh` files are sourced in this shell, so that functions and variables reach them; everything else is executed by the
# program that its first line names. Says nothing itself: the output is the action's alone.

. /tmp/infraxys/system/environment.sh
initial_script_name=$1
set --
set -eo pipefail
cd -- "$INSTANCE_DIR"

# Nobody is there to answer: what reads its standard input shall find the end, and not wait for ever. An action with a
# terminal was made for somebody who types.
if [[ $INTERACTIVE != true && ! -t 0 ]]; then
    exec </dev/null
fi

if [[ $initial_script_name == *.sh ]]; then
    . "./$initial_script_name"
    exit
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
exec "./$initial_script_name"
