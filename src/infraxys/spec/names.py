"""Names that come from files: which are safe as file names and shell variables, and how directories are named."""

import hashlib
import re
from urllib.parse import quote

MAX_NAME = 200  # bytes; file systems allow 255
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Variables that steer the shell, the dynamic linker or an interpreter, or that the bootstrap itself sets.
NEVER_EXPORTED = frozenset(
    {
        "PATH", "IFS", "ENV", "BASH_ENV", "BASHOPTS", "SHELLOPTS", "PS1", "PS2", "PS4", "PROMPT_COMMAND", "HOME",
        "PWD", "OLDPWD", "SHELL", "UID", "EUID", "GID", "PPID", "CDPATH", "GLOBIGNORE", "HISTFILE", "HOSTNAME",
        "LANG", "TERM", "TMPDIR", "USER", "LOGNAME", "INPUTRC", "TERMINFO", "LOCPATH", "NLSPATH", "GCONV_PATH",
        "GETCONF_DIR", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "MALLOC_TRACE", "NIS_PATH", "RESOLV_HOST_CONF",
        "TZDIR", "EXECIGNORE", "PERL5LIB", "PERL5OPT", "PERLLIB", "RUBYLIB", "RUBYOPT", "NODE_OPTIONS", "NODE_PATH",
        "CLASSPATH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "RUN_GUID", "INFRAXYS_ROOT",
        "MODULES_ROOT", "ENVIRONMENTS_ROOT", "ENVIRONMENT_DIR", "INSTANCE_DIR", "APPLICATION_USER", "INTERACTIVE",
        "STEP_IDEMPOTENCY_KEY", "FUNCNAME", "GROUPS", "DIRSTACK", "RANDOM", "SECONDS", "LINENO", "OPTARG", "OPTIND",
        "OPTERR", "PIPESTATUS", "REPLY", "BASH", "BASHPID", "TMOUT", "POSIXLY_CORRECT", "LESSOPEN", "LESSCLOSE",
        "FPATH", "ZDOTDIR", "SRANDOM", "EPOCHSECONDS", "EPOCHREALTIME", "HISTCMD", "PERL5DB", "MAKEFLAGS", "AWKPATH",
        "AWKLIBPATH", "LUA_INIT", "PHPRC", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES", "PS0", "PS3",
    }
)  # fmt: skip
ENVIRONMENT_AUTO, CONTAINER_AUTO = "environment.auto", "container.auto"
RESERVED_DIRECTORIES = frozenset({ENVIRONMENT_AUTO, CONTAINER_AUTO})  # hold files of the generation itself
_NEVER_PREFIXES = ("__infraxys_", "LD_", "DYLD_", "BASH_", "PYTHON", "GIT_", "SSH_", "LC_")


def is_exportable(name: str) -> bool:
    """Whether an attribute or variable of this name may become an environment variable of an action."""
    return (
        _IDENTIFIER.match(name) is not None
        and len(name) <= MAX_NAME
        and name not in NEVER_EXPORTED
        and not name.startswith(_NEVER_PREFIXES)
    )


def is_safe_file_name(name: str) -> bool:
    """Whether a text can be one file's name: no path, nothing hidden in it, not an option."""
    return (
        0 < len(name.encode(errors="replace")) <= MAX_NAME
        and name not in {".", ".."}
        and not name.startswith("-")
        and "/" not in name
        and "\\" not in name
        and all(character.isprintable() for character in name)
    )


def container_name(directory: str) -> str:
    """Give the name of a container from its directory, where `+` stands for a space."""
    return directory.replace("+", " ")


def environment_directory(name: str, environment_id: str) -> str:
    """Name the directory of a generated environment: escaped name, `_`, id."""
    return _with_id(name, environment_id)


def container_directory(name: str) -> str:
    """Name the directory of a container: `+` for a space. It is never that of an environment's own files."""
    directory = _bounded(_escape(name).replace("%20", "+"))
    return directory.replace(".", "%2E") if directory in RESERVED_DIRECTORIES else directory


def instance_directory(label: str, instance_id: str) -> str:
    """Name the directory of an instance: escaped label, `_`, id."""
    return _with_id(label[:80], instance_id)


def _with_id(name: str, unique: str) -> str:
    """Join an escaped name (`_` for a space) and an id. Of two ids, no name makes one directory."""
    return _bounded(f"{_escape(name).replace('%20', '_')}_{_escape(unique).replace('_', '%5F')}")


def _escape(text: str) -> str:
    """Percent-encode everything that is special in a path or a shell; distinct texts stay distinct."""
    escaped = quote(text, safe="@,=", errors="replace").replace("~", "%7E")
    return f"%{ord(escaped[0]):02X}{escaped[1:]}" if escaped.startswith((".", "-")) else escaped


def _bounded(name: str) -> str:
    """Shorten a name that a file system would refuse, keeping it distinct: `~` is in no other name."""
    if len(name) <= MAX_NAME:
        return name or "%00"
    return f"{name[: MAX_NAME - 33]}~{hashlib.sha256(name.encode()).hexdigest()[:32]}"
