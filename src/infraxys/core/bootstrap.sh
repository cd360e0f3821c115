# How every action starts. Sourced by the shell of the sandbox with the action's file name as its only argument.
# `.sh` files are sourced in this shell, so that functions and variables reach them; everything else is executed.

. /tmp/infraxys/system/environment.sh
initial_script_name=$1
set --
cd -- "$INSTANCE_DIR"
set -eo pipefail

case $initial_script_name in
    *.sh)
        . "./$initial_script_name"
        ;;
    *)
        exec "./$initial_script_name"
        ;;
esac
