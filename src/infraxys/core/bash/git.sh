# Git repositories.
#
# shellcheck shell=bash

# --git_config_variable (of type GIT-CONFIG: JSON with hostname, token and config, a list of name and value); sets
# github_domain and github_token. --set_global_config true: takes over `config` as well.
load_git_config_variable() {
    local function_name=load_git_config_variable git_config_variable="" set_global_config=false
    local __file __name __value
    import_args "$@"
    check_required_arguments "$function_name" git_config_variable
    __file=$INFRAXYS_ROOT/variables/GIT-CONFIG/$git_config_variable
    check_required_file --filename "$__file"
    github_domain=$(jq -r '.hostname // ""' "$__file")
    github_token=$(jq -r '.token // ""' "$__file")
    [[ $set_global_config == true ]] || return 0
    while IFS= read -r -d '' __name && IFS= read -r -d '' __value; do
        [[ ! $__name ]] || git config --global "$__name" "$__value"
    done < <(jq -j '(.config // [])[] | .name // "", "\u0000", (.value // "" | tostring), "\u0000"' "$__file")
}

# Git with the token in its environment: neither on a command line nor in the repository's configuration.
__infraxys_git() {
    local - # whoever traces the script does not trace this
    set +x
    if [[ ! ${github_token-} ]]; then
        git "$@"
        return
    fi
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader \
        GIT_CONFIG_VALUE_0="Authorization: Basic $(printf '%s:x-oauth-basic' "$github_token" | base64 -w 0)" git "$@"
}

# --organization, --repository, --branch, --github_domain or --git_config_variable, --github_token, --target_directory
# (/tmp/<repository>_<branch> unless given), --sparse_path (then only that path, into the current folder).
git_clone_repository() {
    local function_name=git_clone_repository github_domain="" github_token="" organization="" repository="" branch=""
    local target_directory="" git_config_variable="" sparse_path="" url
    import_args "$@"
    check_required_argument "$function_name" github_domain git_config_variable
    check_required_arguments "$function_name" organization repository branch
    [[ ! $git_config_variable ]] || load_git_config_variable --git_config_variable "$git_config_variable"
    target_directory=${target_directory:-/tmp/${repository}_${branch//\//_}}
    url=https://$github_domain/$organization/$repository
    if [[ $sparse_path ]]; then
        log_info "Sparse checkout of path $sparse_path from $url, branch $branch."
        git init -q
        git config core.sparseCheckout true
        printf '%s\n' "$sparse_path" >>.git/info/sparse-checkout
        git remote add origin "$url"
        __infraxys_git pull -q --depth 1 origin "$branch"
    else
        log_info "Cloning branch $branch from $url to $target_directory"
        mkdir -p -- "$target_directory"
        __infraxys_git clone -q -b "$branch" -- "$url" "$target_directory"
    fi
}

# --organization, --team_name, --team_description, --github_domain or --git_config_variable, --github_token
create_github_team() {
    local function_name=create_github_team git_config_variable="" github_domain="" github_token="" organization=""
    local team_name="" team_description="" endpoint data
    import_args "$@"
    check_required_arguments "$function_name" organization team_name team_description
    check_required_argument "$function_name" github_domain git_config_variable
    [[ ! $git_config_variable ]] || load_git_config_variable --git_config_variable "$git_config_variable"
    endpoint=https://$github_domain/api/v3
    [[ $github_domain != github.com ]] || endpoint=https://api.github.com
    data="{\"name\": $(__infraxys_json_string "$team_name"), \"privacy\": \"closed\","
    data+=" \"description\": $(__infraxys_json_string "$team_description")}"
    log_info "Creating GitHub team '$team_name' in organization '$organization' of '$github_domain'."
    # The token comes from a file that is no file: it is on no command line.
    curl -n -sS --fail-with-body -H "Content-Type: application/json" \
        -H @<([[ ! $github_token ]] || printf 'Authorization: token %s\n' "$github_token") \
        -X POST --data "$data" "$endpoint/orgs/$organization/teams"
}
