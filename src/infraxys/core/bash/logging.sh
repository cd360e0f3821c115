# Log lines: `[dd-mm-YYYY HH:MM:SS,ffff] [host] [LEVEL] [user] message`. Everything goes to the standard output except
# errors, which go to the standard error. Trace lines appear when LOG_TRACE or LOG_TRACE_MESSAGES is "true".
#
# shellcheck shell=bash

LOGGING_EXPORTED_FUNCTION_NAMES="confirm_or_abort log_trace log_debug log_info log_info_no_cr log_warn log_error \
log_fatal log_text"

# Arguments: level, message, "-n" for no line end.
log_text() {
    local now="${EPOCHREALTIME:-}" user=${USER:-} end='\n'
    [[ ${3-} != -n ]] || end=
    [[ $user ]] || user=$(whoami)
    [[ $now ]] || now=000000
    # shellcheck disable=SC2059 # the end is one of two
    printf "[%(%d-%m-%Y %H:%M:%S)T,%s] [%s] [%s] [%s] %s$end" -1 "${now: -6:4}" "${HOSTNAME-}" "$1" "$user" "${2-}"
}

log_trace() {
    if [[ ${LOG_TRACE-} == true || ${LOG_TRACE_MESSAGES-} == true ]]; then
        log_text TRACE "${1-}"
    fi
}

log_debug() {
    log_text DEBUG "${1-}"
}

log_info() {
    log_text "INFO " "${1-}"
}

log_warn() {
    log_text "WARN " "${1-}"
}

log_error() {
    log_text ERROR "${1-}" >&2
}

# Ends the action with status 1.
log_fatal() {
    log_text FATAL "${1-}" >&2
    exit 1
}

log_info_to_std_err() {
    log_info "$@" >&2
}

log_trace_no_cr() {
    if [[ ${LOG_TRACE-} == true || ${LOG_TRACE_MESSAGES-} == true ]]; then
        log_text TRACE "${1-}" -n
    fi
}

log_debug_no_cr() {
    log_text DEBUG "${1-}" -n
}

log_info_no_cr() {
    log_text "INFO " "${1-}" -n
}

log_warn_no_cr() {
    log_text "WARN " "${1-}" -n
}

log_error_no_cr() {
    log_text ERROR "${1-}" -n >&2
}

log_fatal_no_cr() {
    log_text FATAL "${1-}" -n >&2
    exit 1
}

# --message, --expected_answer; asks in the console and ends the action unless that is the answer. Where nobody can
# answer, it goes on.
confirm_or_abort() {
    local function_name=confirm_or_abort message="" expected_answer=y answer=""
    import_args "$@"
    check_required_arguments "$function_name" message
    if [[ ${INTERACTIVE-} != true ]]; then
        log_info "Confirmed without asking, because this run is not interactive. Message: $message"
        return 0
    fi
    echo "--------------------"
    log_text QUESTION "$message" -n
    read -r answer || :
    if [[ $answer != "$expected_answer" ]]; then
        log_warn "The answer was not '$expected_answer'. Aborting."
        exit 1
    fi
}
