# What the user may do. Read-only, so that a module cannot take their place by accident.
#
# shellcheck shell=bash

# --grant_name, --grant_guid: one or both; prints "true" when the user has the grant, "false" otherwise.
has_grant() {
    local function_name=has_grant grant_name="" grant_guid=""
    import_args "$@"
    check_required_argument "$function_name" grant_guid grant_name
    if [[ $grant_guid && $("$__infraxys_root/system/has_grant" "$grant_guid") == true ]] ||
        [[ $grant_name && $("$__infraxys_root/system/has_grant" "$grant_name") == true ]]; then
        echo true
    else
        echo false
    fi
}

# --grant_name, --grant_guid: one or both; ends the action when the user has not the grant.
check_grant() {
    local function_name=check_grant grant_name="" grant_guid=""
    import_args "$@"
    check_required_argument "$function_name" grant_guid grant_name
    if [[ $(has_grant --grant_name "$grant_name" --grant_guid "$grant_guid") != true ]]; then
        log_error "User lacks required grant '${grant_name:-$grant_guid}' (guid '$grant_guid')."
        exit 1
    fi
}

[[ $__infraxys_original ]] || readonly -f has_grant check_grant
