# Among the `init.*` files of the modules, ours: those before it have set up access to clouds, those behind it may use
# ssh and git.
#
# shellcheck shell=bash

init_ssh
process_ssh_private_key_variables
process_ssh_config_variables # first, as the first setting of a name is what ssh takes
generate_environment_ssh_config
init_git
