# Named arguments and what goes with them: `fn --some-name "a value" …` sets `some_name` in the function that calls
# `import_args "$@"`, which has declared it with `local`.
#
# shellcheck shell=bash

BASH_EXPORTED_FUNCTION_NAMES="import_args replace_spaces function_exists update_line_in_file \
remove_lines_in_file_that_start_with block_in_file file_contains_pattern"
VALIDATE_EXPORTED_FUNCTION_NAMES="check_required_argument check_required_arguments check_required_variable \
check_required_variables check_required_file"

# Names are lower-cased and `-` becomes `_`. A value goes on to the next name, its words joined with one space; a name
# without a value leaves its variable as it is. `--name=value` is understood as well.
import_args() {
    local __file="" __name __value
    if [[ ${1-} == import_to_file && $# -ge 2 ]]; then
        __file=$2
        shift 2
    fi
    while (($# > 0)); do
        __name=$1
        shift
        if [[ $__name != --* ]]; then
            continue
        elif [[ $__name == *=* ]]; then
            __value=${__name#*=}
            __name=${__name%%=*}
        else
            [[ $# -gt 0 && $1 != --* ]] || continue
            __value=$1
            shift
            while [[ ${1-} && $1 != --* ]]; do
                __value+=" $1"
                shift
            done
        fi
        __name=${__name#--}
        __name=${__name//-/_}
        __name=${__name,,}
        if [[ ! $__name =~ ^[a-z_][a-z0-9_]*$ ]]; then
            log_error "Argument '--$__name' cannot be a variable: letters, digits, - and _ only."
            return 1
        fi
        if [[ $__file ]]; then
            printf '%s=%s\n' "$__name" "${__value//$'\n'/"{CARRIAGE_RETURN}"}" >>"$__file"
        else
            export "$__name=$__value"
        fi
    done
}

# Arguments: file, then named arguments, which are written as `name=value` lines.
import_args_into_file() {
    import_args import_to_file "$@"
}

# Arguments: name of the calling function, name of the argument, optionally the name of one that will do instead.
check_required_argument() {
    local __caller=$1 __first=$2 __second=${3-}
    if [[ ${!__first-} || ($__second && ${!__second-}) ]]; then
        return 0
    fi
    if [[ $__second ]]; then
        log_error "Argument '$__first' or '$__second' is required for '$__caller'."
    else
        log_error "Argument '$__first' is required for function '$__caller'."
    fi
    exit 1
}

# Arguments: name of the calling function, names of arguments that all must have a value.
check_required_arguments() {
    local __function=$1
    while shift && [[ ${1-} ]]; do
        check_required_argument "$__function" "$1"
    done
}

# --variable_name, and --or_variable_name or --default_value.
check_required_variable() {
    local __caller=${function_name-} variable_name="" default_value="" or_variable_name=""
    import_args "$@"
    check_required_arguments check_required_variable variable_name
    if [[ $or_variable_name && $default_value ]]; then
        log_error "Arguments 'or_variable_name' and 'default_value' cannot be given at the same time.${__caller:+ $__caller}"
        exit 1
    fi
    if [[ ${!variable_name-} || $default_value || ($or_variable_name && ${!or_variable_name-}) ]]; then
        return 0
    fi
    if [[ $or_variable_name ]]; then
        log_error "Variable '$variable_name' or variable '$or_variable_name' is required.${__caller:+ $__caller}"
    else
        log_error "Required variable '$variable_name' is not set and no default value is specified.${__caller:+ $__caller}"
    fi
    exit 1
}

# Arguments: names of variables.
check_required_variables() {
    local __name
    for __name; do
        [[ $__name ]] || break
        check_required_variable --variable_name "$__name"
    done
}

# --filename
check_required_file() {
    local function_name=check_required_file filename=""
    import_args "$@"
    check_required_arguments "$function_name" filename
    if [[ ! -f $filename ]]; then
        log_error "Required file is missing: '$filename'"
        exit 1
    fi
}

# --variable_name, --default_value; prints the value, or the default when it is empty.
get_variable_by_name() {
    local function_name=get_variable_by_name variable_name="" default_value=""
    import_args "$@"
    check_required_arguments "$function_name" variable_name
    printf '%s\n' "${!variable_name:-$default_value}"
}

# --source_variable_name, --source_value, --target_value, --default_value; prints the target value when they are equal.
get_value_for_var() {
    local source_variable_name="" source_value="" target_value="" default_value=""
    import_args "$@"
    if [[ ${!source_variable_name-} == "$source_value" ]]; then
        printf '%s\n' "$target_value"
    else
        printf '%s\n' "$default_value"
    fi
}

# --source_variable, --source_value, --target_variable, --target_value; sets the target when they are equal.
set_value_for_var() {
    local source_variable="" target_variable="" source_value="" target_value=""
    import_args "$@"
    if [[ ${!source_variable-} == "$source_value" ]]; then
        printf -v "$target_variable" '%s' "$target_value"
    fi
}

# --variable_name, --value_if_not_empty, --value_if_empty; prints one of the values.
nvl2() {
    local function_name=nvl2 variable_name="" value_if_not_empty="" value_if_empty=""
    import_args "$@"
    check_required_arguments "$function_name" variable_name
    if [[ ${!variable_name-} ]]; then
        printf '%s\n' "$value_if_not_empty"
    else
        printf '%s\n' "$value_if_empty"
    fi
}

# Prints its argument without spaces at both ends.
trim() {
    local text=${1-}
    text=${text#"${text%%[! ]*}"}
    printf '%s\n' "${text%"${text##*[! ]}"}"
}

# --text, --replace_with; prints the text with each run of white space replaced.
replace_spaces() {
    local function_name=replace_spaces text="" replace_with=""
    import_args "$@"
    check_required_arguments "$function_name" text replace_with
    while [[ $text =~ ^([^[:space:]]*)[[:space:]]+(.*)$ ]]; do
        printf '%s%s' "${BASH_REMATCH[1]}" "$replace_with"
        text=${BASH_REMATCH[2]}
    done
    printf '%s\n' "$text"
}

# --uri; prints "true" for one that begins with http.
is_url() {
    local function_name=is_url uri=""
    import_args "$@"
    check_required_arguments "$function_name" uri
    if [[ $uri == http* ]]; then echo true; else echo false; fi
}
