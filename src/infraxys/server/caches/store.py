"""Which caches there are, and where: made when first asked for, measured in the background, cleaned while in use.

`<root>/<level>/<id>/` is what actions see. `<id>.json` beside it says what it belongs to; the time of that file is
when the cache was used last. Sizes are kept in memory and counted again after a start. One server has the folder.
"""

import hashlib
import json
import logging
import os
import queue
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args
from uuid import uuid4

from infraxys.kit import trees
from infraxys.kit.clock import utc_now
from infraxys.kit.trees import Size

Level = Literal["instance", "container", "environment", "project"]
LEVELS: tuple[Level, ...] = get_args(Level)
OWN_PREFIX = "environment-"  # of the id of the project cache of an environment that is in no project
BIN = "bin"
SWEEP_SECONDS = 300.0
UNUSED = timedelta(hours=1)  # after which an empty cache goes; most instances never put anything into theirs
# A cache is measured after use when it has not been for this long, and for so many times what measuring took.
REST_SECONDS, REST_FACTOR = 2.0, 50.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheName:
    """What a cache belongs to. One of level "project" has a `project_id`, or none for an environment without one."""

    level: Level
    project_id: str = ""
    module: str = ""
    branch: str = ""
    environment_id: str = ""
    container_id: str = ""
    instance_id: str = ""

    @property
    def id(self) -> str:
        """A plain folder name: the project's id, else a hash of everything."""
        return _id_of(self)


@lru_cache(16_384)
def _id_of(name: CacheName) -> str:
    if name.level == "project" and name.project_id:
        return name.project_id
    digest = hashlib.sha256(json.dumps(asdict(name)).encode()).hexdigest()[:32]
    return f"{OWN_PREFIX}{digest}" if name.level == "project" else digest


@dataclass(slots=True, eq=False)
class Cache:
    """A cache. `users`: how many steps have it just now."""

    name: CacheName
    id: str
    folder: Path
    created_at: datetime
    last_used_at: datetime | None = None
    size: Size = field(default_factory=Size)
    measured_at: datetime | None = None
    users: int = 0
    due: float = 0.0  # when it may be measured again, monotonic
    has_changed: bool = True
    is_queued: bool = False  # to be measured when it is due

    @property
    def path(self) -> str:
        """The folder, for what is done for every step."""
        return os.fspath(self.folder)

    @property
    def sidecar(self) -> Path:
        """The file that says what it belongs to."""
        return self.folder.with_name(f"{self.id}.json")


class CacheStore:
    """The caches of a server. `gid` is the group of the accounts that actions run as, None where they have ours.

    `quota` is in bytes, for each cache. Threads may share it.
    """

    def __init__(self, root: Path, gid: int | None, quota: int) -> None:
        self.root, self.quota = root, quota
        self._gid = gid
        self._trash, self._staging = root / "trash", root / "staging"
        self._caches: dict[tuple[str, str], Cache] = {}
        self._lock = threading.Lock()
        self._used: deque[Cache] = deque()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None

    # -- life --

    def prepare(self) -> None:
        """Make the folders and find what is there. Blocks. Raises OSError."""
        for folder in (self.root, *(self.root / level for level in LEVELS)):
            folder.mkdir(parents=True, exist_ok=True)
            if self._gid is not None:
                os.chown(folder, -1, self._gid)
            folder.chmod(0o700 if self._gid is None else 0o710)
        for folder in (self._trash, self._staging):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
        trees.clear(self._staging)
        for level in LEVELS:
            for sidecar in (self.root / level).glob("*.json"):
                cache = _load(level, sidecar)
                if cache is not None:
                    self._caches[level, cache.id] = cache

    def start(self, gone: Callable[[str], bool]) -> None:
        """Begin to look after the caches, in a thread. `gone` tells of a project's id whether there is no such one."""
        self._worker = threading.Thread(target=self._keep, args=(gone,), name="caches", daemon=True)
        self._worker.start()

    def stop(self) -> None:
        """End the thread. Blocks for what it is just doing."""
        if self._worker is not None:
            self._work.put(None)
            self._worker.join()
            self._worker = None

    def _keep(self, gone: Callable[[str], bool]) -> None:
        sweep_at = 0.0
        while True:
            try:
                work = self._work.get(timeout=REST_SECONDS)
            except queue.Empty:
                work = self._measure_used
            if work is None:
                return
            try:
                work()
                if time.monotonic() >= sweep_at:
                    sweep_at = time.monotonic() + SWEEP_SECONDS
                    self.sweep(gone)
            except Exception:
                log.exception("caches_not_looked_after")

    def _measure_used(self) -> None:
        """Measure what was used, each as often as it may be, and note when it was."""
        for _ in range(len(self._used)):
            cache = self._used.popleft()
            if time.monotonic() < cache.due:
                self._used.append(cache)
                continue
            with suppress(OSError):
                os.utime(cache.sidecar)
            self._measure(cache)

    def sweep(self, gone: Callable[[str], bool]) -> None:
        """Remove what nobody can use any more, and measure what was used. Blocks."""
        self._clear_trash()
        for cache in self.all():
            if cache.name.project_id and cache.users == 0 and gone(cache.name.project_id):
                self.clean(cache)
            elif cache.users or cache.has_changed:
                self._measure(cache)
            elif utc_now() - (cache.last_used_at or cache.created_at) > UNUSED and trees.is_empty(cache.folder):
                self._drop(cache)

    # -- use --

    def hold(self, name: CacheName) -> Cache:
        """Give a cache, made if it is not there, that stays until it is released. Raises OSError."""
        with self._lock:
            cache = self._caches.get((name.level, name.id)) or self._add(name)
            cache.users += 1
        try:
            self._ensure(cache)
        except OSError:
            with self._lock:
                cache.users -= 1
            raise
        return cache

    def make(self, name: CacheName) -> Cache:
        """Give a cache, made if it is not there. Raises OSError."""
        cache = self.hold(name)
        self.release([cache])
        return cache

    def release(self, caches: Iterable[Cache]) -> None:
        """Say that a step does not have the caches any more."""
        now, moment = utc_now(), time.monotonic()
        with self._lock:
            for cache in caches:
                cache.users -= 1
                cache.last_used_at, cache.has_changed = now, True
                if not cache.is_queued:
                    cache.is_queued = True
                    self._used.append(cache)
                    if moment >= cache.due:
                        self._work.put(self._measure_used)

    def _add(self, name: CacheName) -> Cache:
        cache_id = name.id
        cache = Cache(name, cache_id, self.root / name.level / cache_id, utc_now())
        cache.sidecar.write_text(json.dumps({**asdict(name), "created_at": cache.created_at.isoformat()}))
        self._caches[name.level, cache_id] = cache
        return cache

    def _ensure(self, cache: Cache) -> None:
        """Make the folder, and what belongs into it, if it is not there or an action has closed it."""
        wanted = 0o700 if self._gid is None else 0o750  # the group's are actions of the projects below
        try:
            mode = stat.S_IMODE(os.lstat(cache.path).st_mode)
        except FileNotFoundError:
            cache.folder.mkdir(exist_ok=True)
            if self._gid is not None:
                os.chown(cache.folder, -1, self._gid)
            mode = -1
        if mode != wanted:
            cache.folder.chmod(wanted)
        if cache.name.level == "project":
            with suppress(FileExistsError):  # as most often; whatever it is that is there
                os.mkdir(f"{cache.path}/{BIN}")  # noqa: PTH102 - done for every step
                with trees.opened(cache.folder) as top:
                    trees.give(top, BIN)

    # -- knowledge --

    def all(self) -> list[Cache]:
        """Give every cache."""
        with self._lock:
            return list(self._caches.values())

    def find(self, level: str, cache_id: str) -> Cache | None:
        """Give a cache."""
        return self._caches.get((level, cache_id))

    def is_over(self, cache: Cache) -> bool:
        """Whether a cache had more in it than it may, when it was measured last."""
        return cache.size.bytes > self.quota or not cache.size.is_whole

    def _measure(self, cache: Cache) -> None:
        began = time.monotonic()
        cache.has_changed = cache.is_queued = False
        size = trees.measure(cache.folder)
        now = time.monotonic()
        cache.due = now + max(REST_SECONDS, REST_FACTOR * (now - began))
        was_over = self.is_over(cache)
        self._measured(cache, size)
        if self.is_over(cache) and not was_over:
            log.warning("cache_over_quota level=%s id=%s bytes=%s", cache.name.level, cache.id, size.bytes)

    def _measured(self, cache: Cache, size: Size) -> None:
        cache.size, cache.measured_at = size, utc_now()

    # -- change --

    def clean(self, cache: Cache, names: tuple[str, ...] = ()) -> None:
        """Remove a file or folder, or all that is in a cache. Blocks. Raises FileNotFoundError, NotPlain, OSError.

        It is out of the cache at once and removed later; actions that have the cache go on with what is left. A cache
        that nobody has goes altogether.
        """
        if names:
            with trees.opened(cache.folder) as top:
                trees.move_out(top, names, self._trash)
            self._measure(cache)
        else:
            with suppress(FileNotFoundError), trees.opened(cache.folder) as top:
                trees.move_contents_out(top, self._trash)
            self._measured(cache, Size())
            self._drop(cache)
        self._work.put(self._clear_trash)

    def _drop(self, cache: Cache) -> None:
        with self._lock:
            if cache.users == 0:
                with suppress(OSError):
                    cache.folder.rmdir()
                if not cache.folder.exists():
                    cache.sidecar.unlink(missing_ok=True)
                    self._caches.pop((cache.name.level, cache.id), None)
                    return
        self._ensure(cache)

    def _clear_trash(self) -> None:
        if not trees.clear(self._trash):
            log.warning("cache_trash_not_removed")

    def stage(self) -> Path:
        """Give the name of a file, not made yet, that can be moved into any cache."""
        return self._staging / uuid4().hex

    def put(self, cache: Cache, names: tuple[str, ...], source: Path, *, executable: bool, replace: bool) -> bool:
        """Move a staged file to its place; gives whether it replaced one. Blocks.

        Raises FileExistsError, NotPlain and OSError.
        """
        with trees.opened(cache.folder) as top:
            was_there = trees.put_file(top, names, source, executable=executable, replace=replace)
        self._measure(cache)
        return was_there


def _load(level: Level, sidecar: Path) -> Cache | None:
    """Read what a cache belongs to; None for what is none of ours."""
    try:
        known = json.loads(sidecar.read_text())
        created_at = datetime.fromisoformat(known.pop("created_at"))
        name = CacheName(**known)
        used = datetime.fromtimestamp(sidecar.stat().st_mtime, UTC)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if name.level != level or name.id != sidecar.stem:
        return None
    return Cache(name, name.id, sidecar.with_suffix(""), created_at, used)
