# Modules: where they are, what they depend on.
#
# shellcheck shell=bash

# The branch by which each module, by its URL, was enabled with `enable_module`.
declare -gA enabled_modules

# --git_url, --git_branch; checks that the module and all that it depends on are here.
enable_module() {
    local function_name=enable_module git_url="" git_branch="" module_directory
    import_args "$@"
    check_required_arguments "$function_name" git_url git_branch
    [[ ${enabled_modules["$git_url"]-} != "$git_branch" ]] || return 0
    module_directory=$(get_module_directory --git_url "$git_url" --git_branch "$git_branch")
    if [[ ${ON_PROVISIONING_SERVER-} == true && ! -d $module_directory ]]; then
        log_error "Module directory '$module_directory' does not exist: connect branch '$git_branch' of $git_url to \
this server, and name it in the dependencies of the module that needs it."
        exit 1
    fi
    enabled_modules["$git_url"]=$git_branch
    process_module_json --module_path "$module_directory"
}

# --module_path; enables what its module.json depends on.
process_module_json() {
    local function_name=process_module_json module_path="" __url __branch
    import_args "$@"
    check_required_arguments "$function_name" module_path
    [[ -f $module_path/module.json ]] || return 0
    while IFS=$'\t' read -r __url __branch; do
        if [[ $__url == null ]]; then
            log_error "'git_url' is required for dependencies. Processing $module_path/module.json."
            exit 1
        fi
        enable_module --git_url "$__url" --git_branch "$__branch"
    done < <(jq -r '.dependencies[]? | [.git_url // "null", .branch // "master"] | @tsv' "$module_path/module.json")
}

# The bootstrap has sourced what there is; kept for scripts that call it.
modules_enabled() {
    log_trace "All modules are enabled."
}

# --git_url, --git_branch; prints the folder of the module.
get_module_directory() {
    local function_name=get_module_directory git_url="" git_branch=""
    import_args "$@"
    check_required_arguments "$function_name" git_url git_branch
    printf '%s/%s\n' "$MODULES_ROOT" "$(get_module_relative_directory --git_url "$git_url" --git_branch "$git_branch")"
}

# --git_url, --git_branch; prints the folder of the module below $MODULES_ROOT.
get_module_relative_directory() {
    local function_name=get_module_relative_directory git_url="" git_branch=""
    import_args "$@"
    check_required_arguments "$function_name" git_url git_branch
    printf '%s/%s/%s/%s\n' "$(get_hostname_from_git_url "$git_url")" "$(get_user_or_org_from_git_url "$git_url")" \
        "$(get_repo_name_from_git_url "$git_url")" "$git_branch"
}

# Parts of a URL, which is `https://host/org/repo.git` or `git@host:org/repo.git`, into __host, __org and __repo.
__infraxys_split_url() {
    local url=$1
    if [[ $url == git@*:* ]]; then
        url=${url#git@}
        __host=${url%%:*} url=${url#*:}
    elif [[ $url == http://* || $url == https://* || $url == ssh://* ]]; then
        url=${url#*://}
        __host=${url%%/*} url=${url#*/}
        __host=${__host##*@}
    else
        log_fatal "Unsupported git url: $url. These start with git@ or https://"
    fi
    url=${url%/}
    __org=${url%/*} __repo=${url##*/}
    __org=${__org##*/}
    __repo=${__repo%.git}
}

get_hostname_from_git_url() {
    local __host __org __repo
    __infraxys_split_url "$1"
    printf '%s\n' "$__host"
}

get_user_or_org_from_git_url() {
    local __host __org __repo
    __infraxys_split_url "$1"
    printf '%s\n' "$__org"
}

get_repo_name_from_git_url() {
    local name=${1##*/}
    printf '%s\n' "${name%.git}"
}
