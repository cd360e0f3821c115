# Files, processes and shell options.
#
# shellcheck shell=bash

# Exports the `name=value` lines of a file. `{CARRIAGE_RETURN}` in a value stands for a new line, a backslash is taken
# with the character behind it; lines without a name and comments are left out. Argument: file.
export_file() {
    local __line __name __number=0
    # shellcheck disable=SC2162 # backslashes have always been taken this way in these files
    while IFS=$' \t' read __line || [[ $__line ]]; do
        __number=$((__number + 1))
        __line=${__line%$'\r'}
        [[ $__line && $__line != "#"* ]] || continue
        __name=${__line%%=*}
        __name=${__name%"${__name##*[! ]}"}
        if [[ ! $__name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then
            log_error "$1: line $__number: '$__name' cannot be the name of a variable"
            return 1
        fi
        __line=${__line#*=}
        export "$__name=${__line//"{CARRIAGE_RETURN}"/$'\n'}"
    done <"$1"
}

# --directory, --filename_pattern; prints "true" or "false".
files_exist() {
    local function_name=files_exist directory="" filename_pattern=""
    import_args "$@"
    check_required_arguments "$function_name" directory filename_pattern
    files_exist_with_pattern --directory "$directory" --filename_pattern "$filename_pattern"
}

# --directory, --filename_pattern; prints "true" or "false".
files_exist_with_pattern() {
    local function_name=files_exist_with_pattern directory="" filename_pattern="" file
    import_args "$@"
    check_required_arguments "$function_name" directory filename_pattern
    local IFS=
    for file in "$directory"/$filename_pattern; do
        if [[ -f $file && ! -L $file ]]; then
            echo true
            return 0
        fi
    done
    echo false
}

# --directory, --filename_pattern or --filename_extension, --run_function_name; runs each file in the directory, then
# the function. Sets `run_or_source_files_found`.
run_or_source_files() {
    local function_name=run_or_source_files directory="" filename_pattern="" filename_extension="" run_function_name=""
    local __file __files
    import_args "$@"
    check_required_arguments "$function_name" directory
    check_required_argument "$function_name" filename_pattern filename_extension
    cd "$directory" || return
    [[ ! $filename_extension ]] || filename_pattern="*.$filename_extension"
    run_or_source_files_found=false
    mapfile -t __files < <(compgen -G "./$filename_pattern")
    for __file in "${__files[@]}"; do
        [[ -f $__file && ! -L $__file ]] || continue
        run_or_source_files_found=true
        run_or_source_file --filename "$__file"
    done
    if [[ $run_function_name ]]; then
        "$run_function_name" "$@"
    fi
}

# --filename; sources what ends in sh, executes everything else. Does nothing when it is not there.
run_or_source_file() {
    local function_name=run_or_source_file filename=""
    import_args "$@"
    check_required_arguments "$function_name" filename
    [[ -e $filename ]] || return 0
    [[ $filename == */* ]] || filename=./$filename
    if [[ $filename == *sh ]]; then
        # shellcheck disable=SC1090
        . "$filename"
    else
        "$filename"
    fi
}

# --filename; prints the mode in octal.
get_file_mode() {
    local function_name=get_file_mode filename=""
    import_args "$@"
    check_required_arguments "$function_name" filename
    stat -c %a -- "$filename"
}

# --filename, --pattern (a basic regular expression); prints "true" or "false".
file_contains_pattern() {
    local function_name=file_contains_pattern filename="" pattern=""
    import_args "$@"
    check_required_arguments "$function_name" filename pattern
    if grep -q -e "$pattern" -- "$filename" 2>/dev/null; then echo true; else echo false; fi
}

# --filename, --text, --new_text; replaces lines that begin with the text. --starts_only false: that have it anywhere;
# --replace_line false: adds behind it instead; --add_line_if_not_found false: leaves a file without such a line alone.
update_line_in_file() {
    local function_name=update_line_in_file filename="" text="" new_text="" add_line_if_not_found=true
    local replace_line=true starts_only=true pattern replacement
    import_args "$@"
    check_required_arguments "$function_name" filename text new_text
    if [[ $starts_only == false && $replace_line == false ]]; then
        log_error "$function_name cannot add to a line with --starts_only false, only replace it."
        exit 1
    fi
    pattern=${text//\//\\/}
    pattern=${pattern//./\\.}
    replacement=${new_text//\\/\\\\}
    replacement=${replacement//\//\\/}
    replacement=${replacement//&/"\\&"}
    replacement=${replacement//$'\n'/\\$'\n'}
    if [[ $starts_only == true ]]; then pattern="^$pattern.*"; else pattern=".*$pattern.*"; fi
    [[ $replace_line == true ]] || replacement="&$replacement"
    if grep -q -e "$pattern" -- "$filename" 2>/dev/null; then
        sed -i -e "s/$pattern/$replacement/" -- "$filename"
    elif [[ $add_line_if_not_found == true ]]; then
        printf '%s\n' "$new_text" >>"$filename"
    fi
}

# --filename, --start_text (a basic regular expression)
remove_lines_in_file_that_start_with() {
    local function_name=remove_lines_in_file_that_start_with filename="" start_text=""
    import_args "$@"
    check_required_arguments "$function_name" filename start_text
    if [[ -f $filename ]]; then
        sed -i -e "/^${start_text//\//\\/}/d" -- "$filename"
    fi
}

# --filename, --block_text, --line_comment, --marker_text; puts the text between two comments, in place of what was
# between them, at the end of the file. Without a text the block is removed.
block_in_file() {
    local function_name=block_in_file filename="" block_text="" line_comment="#" marker_text="Infraxys block"
    local line inside="" lines=()
    import_args "$@"
    check_required_arguments "$function_name" filename
    local start="$line_comment $marker_text - start" end="$line_comment $marker_text - end"
    if [[ -f $filename ]]; then
        while IFS= read -r line || [[ $line ]]; do
            [[ $line != *"$start"* ]] || inside=true
            [[ $inside ]] || lines+=("$line")
            [[ $line != *"$end"* ]] || inside=
        done <"$filename"
    fi
    [[ ! $block_text ]] || lines+=("$start" "$block_text" "$end")
    if ((${#lines[@]})); then
        printf '%s\n' "${lines[@]}" >"$filename"
    elif [[ -f $filename ]]; then
        : >"$filename"
    fi
}

# --directory, --target_file, --add_new_line; nothing happens when the directory is not there.
append_all_files_in_dir() {
    local function_name=append_all_files_in_dir directory="" target_file="" add_new_line=false file
    import_args "$@"
    check_required_arguments "$function_name" directory target_file
    for file in "$directory"/*; do
        [[ -f $file ]] || continue
        cat -- "$file" >>"$target_file"
        [[ $add_new_line != true ]] || echo >>"$target_file"
    done
}

# Ends the action with status 1 when one of them failed.
wait_for_background_jobs() {
    local job jobs failed=0
    mapfile -t jobs < <(jobs -p)
    log_info "Waiting for ${#jobs[@]} background jobs."
    for job in "${jobs[@]}"; do
        wait "$job" || failed=$((failed + 1))
    done
    if ((failed > 0)); then
        log_error "Failed background jobs: $failed"
        exit 1
    fi
    log_info "All background jobs have finished."
}

# Prints "true" and succeeds, or prints nothing and fails. Argument: name of a function.
function_exists() {
    declare -F "$1" >/dev/null && echo true
}

unset_pipefail() {
    if [[ $SHELLOPTS == *pipefail* ]]; then last_pipefail=on; else last_pipefail=off; fi
    set +o pipefail
}

restore_pipefail() {
    case ${last_pipefail-} in
        on) set -o pipefail ;;
        off) set +o pipefail ;;
        *)
            log_error "restore_pipefail needs unset_pipefail before it."
            exit 1
            ;;
    esac
}

# Prints the first address of this machine that is not loopback.
get_ip_address() {
    ip -o -4 address show | awk '$4 !~ /^127\./ { sub("/.*", "", $4); print $4; exit }'
}

# Arguments: user, command line.
run_as() {
    if [[ $(id -un) == "$1" ]]; then
        # shellcheck disable=SC2086 # a command line
        $2
    else
        su "$1" -p -c "$2"
    fi
}
