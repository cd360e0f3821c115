# shellcheck shell=sh
# How an action starts in an image that its packet file names. Written for any POSIX shell, because the image may have no
# other; the standard bootstrap is left out. `file <name>` executes the packet file, `line <text>` a command line.

# shellcheck source=/dev/null
. /tmp/infraxys/system/environment.sh
PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}/tmp/infraxys/core/python # ours is the last to be searched
export PYTHONPATH
cd -- "$INSTANCE_DIR" || exit 126

if [ "$1" = line ]; then
    exec /bin/sh -c "$2"
fi

initial_script_name=$2
first_line=
IFS= read -r first_line <"$initial_script_name" || :
case $first_line in
    "#!"*) exec "./$initial_script_name" ;;
esac
case $initial_script_name in
    *.sh)
        if command -v bash >/dev/null; then
            exec bash "./$initial_script_name"
        fi
        exec /bin/sh "./$initial_script_name"
        ;;
esac
exec "./$initial_script_name"
