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
        "OPTERR", "PIPESTATUS", "REPLY",
    }
)  # fmt: skip
_NEVER_PREFIXES = ("LD_", "DYLD_", "BASH_", "PYTHON", "GIT_", "SSH_", "LC_")


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
    return _bounded(f"{_escape(name, space='_')}_{_escape(environment_id, space='_')}")


def container_directory(name: str) -> str:
    """Name the directory of a container: `+` for a space."""
    return _bounded(_escape(name.replace("+", "%2B"), space="+", keep="%") if "+" in name else _escape(name, space="+"))


def instance_directory(label: str, instance_id: str) -> str:
    """Name the directory of an instance: escaped label, `_`, id."""
    return _bounded(f"{_escape(label[:80], space='_')}_{_escape(instance_id, space='_')}")


def _escape(text: str, *, space: str, keep: str = "") -> str:
    """Percent-encode everything that is special in a path or a shell; distinct texts stay distinct but for spaces."""
    escaped = quote(text, safe=f" @:,={keep}", errors="replace").replace(" ", space)
    return escaped if not escaped.startswith((".", "-")) else f"%{ord(escaped[0]):02X}{escaped[1:]}"


def _bounded(name: str) -> str:
    """Shorten a name that a file system would refuse, keeping it distinct."""
    if len(name) <= MAX_NAME:
        return name or "_"
    return f"{name[: MAX_NAME - 17]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
