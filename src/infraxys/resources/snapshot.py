"""Reading a module at a commit straight from the object database: no checkout, nothing followed, nothing executed.

One directory (a packet, a role, an environment, a container) is one part. Parts are kept by the id of their tree, so
that a new commit of a module costs what it changed.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cachetools import LRUCache

from infraxys.resources.errors import ResourceError, TooLarge
from infraxys.resources.mirror import Mirror, TreeItem
from infraxys.spec import names
from infraxys.spec.identity import ModuleId
from infraxys.spec.load import (
    Loaded,
    load_container,
    load_environment,
    load_module,
    load_packet,
    load_role,
)
from infraxys.spec.models import Container, Environment, Model, ModuleFile, Packet, Role
from infraxys.spec.problem import Problem
from infraxys.spec.snapshot import (
    ContainerDefinition,
    Dependency,
    EnvironmentDefinition,
    FileEntry,
    PacketDefinition,
    RoleDefinition,
    Snapshot,
)

Key = tuple[ModuleId, str, str]
M = TypeVar("M", bound=Model)
N = TypeVar("N", Packet, Role, Environment, Container)
D = TypeVar("D", PacketDefinition, RoleDefinition, EnvironmentDefinition)
MAX_REPORTED = 50  # problems of one kind in one directory
FILE_WEIGHT = 300  # estimated bytes of memory of an entry
MODEL_FACTOR = 6  # a parsed file weighs about this many times its text
MAX_WEIGHT = 256 * 1024 * 1024  # of one snapshot
MAX_PROBLEMS = 2000  # of one snapshot
MAX_REPORTED = 50  # problems of one kind in one directory
_PICTURE = re.compile(r"[^.].*\.(?:png|jpe?g|gif|svg|webp|ico)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """What one directory of a module gave: a definition (or None) and the problems found in it.

    `weight` is in estimated bytes of memory, `entries` the number of directory entries that were looked at.
    """

    value: Any
    problems: tuple[Problem, ...]
    weight: int
    entries: int = 0


class PartCache:
    """Parsed directories by module, path and tree id, shared by all snapshots and threads."""

    def __init__(self, max_bytes: int = MAX_WEIGHT) -> None:
        self._parts: LRUCache[Key, Part] = LRUCache(max_bytes, getsizeof=lambda part: part.weight)
        self._lock = threading.Lock()

    def find(self, key: Key) -> Part | None:
        """Give what a directory gave when it was read last, if that is still known."""
        with self._lock:
            return self._parts.get(key)

    def keep(self, key: Key, part: Part) -> None:
        """Remember what a directory gave."""
        with self._lock:
            if part.weight <= self._parts.maxsize:
                self._parts[key] = part


def build_snapshot(mirror: Mirror, module: ModuleId, commit: str, cache: PartCache) -> Snapshot:
    """Read a module at a commit. Raises ResourceError when the commit is not there or is beyond all limits."""
    return _Builder(mirror, module, commit, cache).build()


class _Builder:
    def __init__(self, mirror: Mirror, module: ModuleId, commit: str, cache: PartCache) -> None:
        self.mirror, self.module, self.commit, self.cache = mirror, module, commit, cache
        self.problems: list[Problem] = []
        self.weight = 10_000
        self.entries = 0

    def build(self) -> Snapshot:
        root = self._list(self.mirror.root_tree(self.commit))
        packets = self._collect(root.get("packets"), "packets", self._read_packet)
        roles = self._collect(root.get("roles"), "roles", self._read_role)
        environments = self._collect(root.get("environments"), "environments", self._read_environment)
        module_file = self._module_file(root.get("module.json"))
        root_files = self._root_files(root)
        return Snapshot(
            module=self.module,
            commit=self.commit,
            packets=self._by_id(packets, "packet", "packet.json"),
            packets_by_name={packet.name.lower(): packet for packet in packets},
            roles=self._by_id(roles, "role", "role.json"),
            roles_by_name={role.name.lower(): role for role in roles},
            environments=self._by_id(environments, "environment", "environment.json"),
            dependencies=tuple(Dependency(item.git_url, item.branch) for item in module_file.dependencies),
            root_files=root_files,
            settings=module_file.settings,
            problems=self._all_problems(),
            read=self.mirror.read,
            weight=self.weight,
        )

    def _list(self, tree: str) -> dict[str, TreeItem]:
        """Give the entries of a directory by name; of two of one name, which only a damaged tree has, the first."""
        items = self.mirror.list_tree(tree)
        self._count(len(items))
        return {item.name: item for item in reversed(items)}

    def _count(self, entries: int) -> None:
        """Count entries that are looked at, so that a small repository cannot pretend to be a huge one."""
        self.entries += entries
        if self.entries > self.mirror.limits.entries:
            raise TooLarge(f"{self.mirror.what} has more than {self.mirror.limits.entries} files")

    def _collect(self, folder: TreeItem | None, path: str, read: Callable[[str, TreeItem], Part]) -> list[Any]:
        """Read every directory of a folder such as `packets`."""
        if folder is None:
            return []
        if folder.kind != "tree":
            self._problem(path, "not_a_directory", f"'{path}' is a {folder.kind}; it has to be a directory")
            return []
        found = []
        for place, item in self._directories(self._list(folder.oid), path, self.problems):
            part = self._part(place, item, read)
            self.problems += part.problems
            self.weight += part.weight
            if self.weight > MAX_WEIGHT:
                raise TooLarge(f"{self.mirror.what} is too large: reading it takes more than {MAX_WEIGHT // 2**20} MiB")
            if part.value is not None:
                found.append(part.value)
        return found

    def _part(self, place: str, item: TreeItem, read: Callable[[str, TreeItem], Part]) -> Part:
        key = (self.module, place, item.oid)
        part = self.cache.find(key)
        if part is not None:
            self._count(part.entries)
            return part
        before = self.entries
        try:
            part = read(place, item)
        except ResourceError as error:
            if self.entries > self.mirror.limits.entries:
                raise
            part = Part(None, (Problem(place, None, None, error.code, str(error)),), FILE_WEIGHT)
        part = replace(part, entries=self.entries - before)
        self.cache.keep(key, part)
        return part

    def _directories(
        self,
        entries: dict[str, TreeItem],
        path: str,
        problems: list[Problem],
        meaning: Callable[[str], str] = str.lower,
    ) -> Iterator[tuple[str, TreeItem]]:
        """Give the directories that can be read, with their paths; report what only looks like one.

        Two names of one `meaning` cannot both be used.
        """
        used: dict[str, str] = {}
        for name in sorted(entries):
            item, place = entries[name], f"{path}/{name}"
            if item.kind in {"symlink", "submodule"}:
                message = f"{name!a} is a {item.kind}, which is not followed"
                _report(problems, Problem(place, None, None, "not_a_directory", message))
            elif item.kind == "tree" and not names.is_safe_file_name(name):
                message = f"{name[:100]!a} cannot be the name of a directory here; rename it"
                _report(problems, Problem(place, None, None, "unsafe_file_name", message))
            elif item.kind == "tree":
                other = used.setdefault(meaning(name), name)
                if other == name:
                    yield place, item
                else:
                    message = f"'{name}' means the same as '{other}', which is used; rename one of them"
                    _report(problems, Problem(place, None, None, "colliding_name", message))

    def _read_packet(self, path: str, item: TreeItem) -> Part:
        entries = self._list(item.oid)
        where = f"{path}/packet.json"
        loaded, problems, weight = self._load(entries.get("packet.json"), where, load_packet)
        files = self._packet_files(entries.get("files"), path, problems)
        weight += FILE_WEIGHT * len(files)
        if loaded is None:
            return Part(None, tuple(problems), weight)
        usable = {}
        for index, file in enumerate(loaded.files):
            found = files.get(file.filename)
            if found is None:
                message = f"file '{file.filename}' is declared (files[{index}]) but is not in '{path}/files'"
                problems.append(Problem(where, None, None, "missing_file", message))
            elif found.kind != "file":
                message = f"'{found.path}' is a {found.kind}, which is not followed"
                problems.append(Problem(where, None, None, "not_a_file", message))
            else:
                usable[file.filename] = found
        declared = {file.filename for file in loaded.files}
        for name in sorted(set(files) - declared)[:MAX_REPORTED]:
            message = f"{name!r} is in the packet's files but is not declared in packet.json; it is ignored"
            _report(problems, Problem(f"{path}/files/{name}", None, None, "undeclared_file", message, "warning"))
        picture = self._picture(path, entries)
        name = path.rpartition("/")[2]
        return Part(PacketDefinition(name, path, self._with_id(loaded, path), usable, picture), tuple(problems), weight)

    def _packet_files(self, folder: TreeItem | None, path: str, problems: list[Problem]) -> dict[str, FileEntry]:
        """Give the files of a packet by their path below its `files`."""
        if folder is None:
            return {}
        if folder.kind != "tree":
            message = f"'{path}/files' is a {folder.kind}; it has to be a directory"
            problems.append(Problem(f"{path}/files", None, None, "not_a_directory", message))
            return {}
        files: dict[str, FileEntry] = {}
        lower: dict[str, str] = {}
        for entry in self.mirror.walk(folder.oid, self._count):
            place = f"{path}/files/{entry.path}"
            other = lower.setdefault(entry.path.lower(), entry.path)
            if other != entry.path and len(problems) < MAX_REPORTED:
                message = f"the name differs from {other!r} in upper and lower case only"
                problems.append(Problem(place, None, None, "colliding_name", message, "warning"))
            files[entry.path] = FileEntry(place, entry.oid, entry.size, entry.executable, entry.kind)
        return files

    def _read_role(self, path: str, item: TreeItem) -> Part:
        entries = self._list(item.oid)
        loaded, problems, weight = self._load(entries.get("role.json"), f"{path}/role.json", load_role)
        if loaded is None:
            return Part(None, tuple(problems), weight)
        name = path.rpartition("/")[2]
        definition = RoleDefinition(name, path, self._with_id(loaded, path), self._picture(path, entries))
        return Part(definition, tuple(problems), weight)

    def _read_environment(self, path: str, item: TreeItem) -> Part:
        entries = self._list(item.oid)
        file = f"{path}/environment.json"
        loaded, problems, weight = self._load(entries.get("environment.json"), file, load_environment)
        containers: dict[str, ContainerDefinition] = {}
        for place, entry in self._directories(entries, path, problems, _container_meaning):
            part = self._part(place, entry, self._read_container)
            problems += part.problems
            weight += part.weight
            if part.value is None:
                continue
            container: ContainerDefinition = part.value
            other = containers.setdefault(container.model.id, container)
            if other is not container:
                message = f"container id '{container.model.id}' is also that of '{other.directory}', which is used"
                problems.append(Problem(f"{place}/container.json", None, None, "duplicate_id", message))
        if loaded is None:
            return Part(None, tuple(problems), weight)
        name = path.rpartition("/")[2]
        ordered = tuple(sorted(containers.values(), key=lambda container: container.name))
        definition = EnvironmentDefinition(name, path, self._with_id(loaded, path), ordered)
        return Part(definition, tuple(problems), weight)

    def _read_container(self, path: str, item: TreeItem) -> Part:
        entries = self._list(item.oid)
        if "container.json" not in entries:
            return Part(None, (), FILE_WEIGHT)  # environments may hold other directories
        file = f"{path}/container.json"
        loaded, problems, weight = self._load(entries["container.json"], file, load_container)
        if loaded is None:
            return Part(None, tuple(problems), weight)
        name = names.container_name(path.rpartition("/")[2])
        return Part(ContainerDefinition(name, path, self._with_id(loaded, path)), tuple(problems), weight)

    def _with_id(self, model: N, path: str) -> N:
        """Give files of old versions, which have no id, one that stays the same."""
        return model if model.id else model.model_copy(update={"id": f"{self.module}\\{path}".lower()})

    def _picture(self, path: str, entries: dict[str, TreeItem]) -> FileEntry | None:
        """Find the picture that may stand beside a packet.json or role.json."""
        for name in sorted(entries):
            if entries[name].kind == "file" and _PICTURE.match(name) and names.is_safe_file_name(name):
                return self._entry(f"{path}/{name}", entries[name])
        return None

    def _load(
        self, item: TreeItem | None, file: str, load: Callable[[bytes, str], Loaded[M]]
    ) -> tuple[M | None, list[Problem], int]:
        if item is None:
            return None, [Problem(file, None, None, "missing_file", f"'{file}' does not exist")], FILE_WEIGHT
        if item.kind != "file":
            message = f"'{file}' is a {item.kind}, which is not followed; it has to be a file"
            return None, [Problem(file, None, None, "not_a_file", message)], FILE_WEIGHT
        try:
            data = self.mirror.read(item.oid)
        except ResourceError as error:
            return None, [Problem(file, None, None, error.code, str(error))], FILE_WEIGHT
        loaded = load(data, file)
        return loaded.model, list(loaded.problems), FILE_WEIGHT + MODEL_FACTOR * len(data)

    def _module_file(self, item: TreeItem | None) -> ModuleFile:
        if item is None:
            return ModuleFile()
        loaded, problems, _ = self._load(item, "module.json", load_module)
        self.problems += problems
        return loaded or ModuleFile()

    def _root_files(self, root: dict[str, TreeItem]) -> dict[str, FileEntry]:
        found = dict(root)
        auto = root.get("auto-source")
        if auto is not None and auto.kind == "tree":
            found |= {f"auto-source/{name}": item for name, item in self._list(auto.oid).items()}
        files = {}
        for path in sorted(found):
            if found[path].kind != "file":
                continue
            if names.is_safe_file_name(path.removeprefix("auto-source/")):
                files[path] = self._entry(path, found[path])
            else:
                message = f"{path[:100]!a} is no name that a file can have here; it is ignored"
                _report(self.problems, Problem(path, None, None, "unsafe_file_name", message, "warning"))
        return files

    def _entry(self, path: str, item: TreeItem) -> FileEntry:
        return FileEntry(path, item.oid, self.mirror.size(item.oid), item.executable)

    def _by_id(self, items: Iterable[D], noun: str, file: str) -> dict[str, D]:
        """Index by id; of two with one id, the first by path is found by it and the other by its name only."""
        found: dict[str, D] = {}
        for item in items:
            other = found.setdefault(item.model.id, item)
            if other is not item:
                message = (
                    f"{noun} id '{item.model.id}' is also that of '{other.directory}'; "
                    "this one is found by its name only; give it an id of its own"
                )
                self._problem(f"{item.directory}/{file}", "duplicate_id", message)
        return found

    def _problem(self, file: str, code: str, message: str) -> None:
        _report(self.problems, Problem(file, None, None, code, message))

    def _all_problems(self) -> tuple[Problem, ...]:
        """Give the problems, shortened when a module is nothing but problems."""
        if len(self.problems) <= MAX_PROBLEMS:
            return tuple(self.problems)
        message = f"there are {len(self.problems) - MAX_PROBLEMS} problems more; repair the others first"
        return (*self.problems[:MAX_PROBLEMS], Problem("", None, None, "too_many_problems", message))


def _report(problems: list[Problem], problem: Problem) -> None:
    """Add a problem, unless so many are known that nobody reads it."""
    if len(problems) <= MAX_PROBLEMS:
        problems.append(problem)


def _container_meaning(directory: str) -> str:
    return names.container_name(directory).lower()
