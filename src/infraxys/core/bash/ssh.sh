# The SSH and Git configuration of the action, in its home folder.
#
# shellcheck shell=bash

# Makes ~/.ssh with its parts; what is written to ~/.ssh/generated.d counts as configuration.
init_ssh() {
    [[ -d ~/.ssh/keys && -d ~/.ssh/generated.d ]] || mkdir -p -m 700 ~/.ssh ~/.ssh/keys ~/.ssh/generated.d
    # shellcheck disable=SC2088 # ssh knows ~
    echo 'Include ~/.ssh/generated.d/*' >>~/.ssh/config
}

# Copies variables of type SSH-PRIVATE-KEY to ~/.ssh/keys, readable for their owner only.
process_ssh_private_key_variables() {
    local file umask_before
    for file in "$INFRAXYS_ROOT"/variables/SSH-PRIVATE-KEY/*; do
        [[ -f $file ]] || continue
        umask_before=$(umask)
        umask 077
        cat "$file" >~/.ssh/keys/"${file##*/}"
        # Without the last line end, ssh does not take a key for one.
        [[ ! $(tail -c 1 "$file") ]] || echo >>~/.ssh/keys/"${file##*/}"
        umask "$umask_before"
        chmod 400 ~/.ssh/keys/"${file##*/}"
    done
}

# Executes every generated file of the environment whose name begins with configure_ssh; these write what they have to
# ~/.ssh/generated.d.
generate_environment_ssh_config() {
    local force=false file
    (($# == 0)) || import_args "$@"
    printf '%s\n' 'Host *' '    ServerAliveInterval 60' '    StrictHostKeyChecking no' \
        '    UserKnownHostsFile=/dev/null' '    LogLevel=ERROR' '    PreferredAuthentications=publickey' '' \
        >>~/.ssh/config
    for file in "$ENVIRONMENT_DIR"/configure_ssh* "$ENVIRONMENT_DIR"/*/configure_ssh* \
        "$ENVIRONMENT_DIR"/*/*/configure_ssh*; do
        [[ -f $file ]] || continue
        if [[ -x $file ]]; then
            (cd "$ENVIRONMENT_DIR" && "$file")
        else
            (cd "$ENVIRONMENT_DIR" && bash "$file")
        fi
    done
}

# Appends variables of type SSH-CONFIG to ~/.ssh/config.
process_ssh_config_variables() {
    local file
    for file in "$INFRAXYS_ROOT"/variables/SSH-CONFIG/*; do
        [[ -f $file ]] || continue
        printf '\n%s\n' "$(<"$file")" >>~/.ssh/config
    done
}

# Writes variables of type NETRC to ~/.netrc. Only called by what needs it.
process_netrc_variables() {
    local file umask_before found=()
    for file in "$INFRAXYS_ROOT"/variables/NETRC/*; do
        [[ ! -f $file ]] || found+=("$file")
    done
    ((${#found[@]})) || return 0
    rm -f ~/.netrc
    umask_before=$(umask)
    umask 077
    awk 1 "${found[@]}" >~/.netrc
    umask "$umask_before"
    chmod 400 ~/.netrc
}

# Git's user, from github_user_name and github_user_email; github_token, from the variable of type GITHUB-TOKEN that
# git_token_variable names.
init_git() {
    if [[ ! -e ~/.gitconfig ]]; then
        printf '[push]\n\tdefault = simple\n' >~/.gitconfig # as `git config` would, without starting it
    else
        git config --global push.default simple
    fi
    if [[ ${github_user_name-} ]]; then
        git config --global user.name "$github_user_name"
    fi
    if [[ ${github_user_email-} ]]; then
        git config --global user.email "$github_user_email"
    fi
    if [[ ${git_token_variable-} ]]; then
        github_token=$(<"$INFRAXYS_ROOT/variables/GITHUB-TOKEN/$git_token_variable")
        export github_token
    fi
}

# Takes over the SSH configuration that another action has left in the project's cache.
activate_cached_project_ssh_config() {
    local file
    mkdir -p -m 700 ~/.ssh ~/.ssh/keys ~/.ssh/generated.d
    for file in /cache/project/.ssh/keys/*; do
        [[ -f $file ]] || continue
        cp -- "$file" ~/.ssh/keys/
        chmod 400 ~/.ssh/keys/"${file##*/}"
    done
    for file in /cache/project/.ssh/config.d/*; do
        [[ ! -f $file ]] || cp -- "$file" ~/.ssh/generated.d/
    done
}
