# Among the `init.*` files of the modules, ours: those before it have set up access to clouds, those behind it may use
# ssh and git.
#
# shellcheck shell=bash

if [[ :${PYTHONPATH-}: != *":$__infraxys_root/core/python:"* ]]; then
    export PYTHONPATH=$__infraxys_root/core/python${PYTHONPATH:+:$PYTHONPATH}
fi
init_ssh
process_ssh_private_key_variables
generate_environment_ssh_config
process_ssh_config_variables
init_git
