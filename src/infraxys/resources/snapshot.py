"""Reading a module at a commit straight from the object database: no checkout, nothing followed, nothing executed."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from cachetools import LRUCache

from infraxys.resources.errors import ResourceError
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
from infraxys.spec.models import Model, ModuleFile
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

M = TypeVar("M", bound=Model)
T = TypeVar("T")
FILE_WEIGHT = 300  # estimated bytes of memory of an entry
MODEL_FACTOR = 6  # a parsed file weighs about this many times its text


@dataclass(frozen=True, slots=True)
class Part:
    """What one directory of a module gave: a definition (or None) and the problems found in it."""

    value: Any
    problems: tuple[Problem, ...]
    weight: int


class PartCache:
    """Parsed directories by path and tree id, shared by all snapshots: a new commit costs what it changed."""

    def __init__(self, max_bytes: int = 256 * 1024 * 1024) -> None:
        self._parts: LRUCache[tuple[str, str], Part] = LRUCache(max_bytes, getsizeof=lambda part: part.weight)
        self._lock = threading.Lock()

    def get_or_read(self, path: str, tree: str, read: Callable[[], Part]) -> Part:
        """Give the part of a directory, reading it only when its tree was not seen before."""
        key = (path, tree)
        with self._lock:
            part = self._parts.get(key)
        if part is None:
            part = read()
            with self._lock:
                if part.weight <= self._parts.maxsize:
                    self._parts[key] = part
        return part


def build_snapshot(mirror: Mirror, module: ModuleId, commit: str, cache: PartCache) -> Snapshot:
    """Read a module at a commit. Raises ResourceError when the commit is not there or is beyond all limits."""
    return _Builder(mirror, module, commit, cache).build()


class _Builder:
    def __init__(self, mirror: Mirror, module: ModuleId, commit: str, cache: PartCache) -> None:
        self.mirror, self.module, self.commit, self.cache = mirror, module, commit, cache
        self.problems: list[Problem] = []
        self.weight = 10_000

    def build(self) -> Snapshot:
        root = {item.name: item for item in self.mirror.list_tree(self.mirror.root_tree(self.commit))}
        packets = self._collect(root.get("packets"), "packets", self._read_packet)
        roles = self._collect(root.get("roles"), "roles", self._read_role)
        environments = self._collect(root.get("environments"), "environments", self._read_environment)
        module_file = self._module_file(root.get("module.json"))
        return Snapshot(
            module=self.module,
            commit=self.commit,
            packets=self._by_id(packets, "packet", "packet.json"),
            packets_by_name={packet.name.lower(): packet for packet in packets},
            roles=self._by_id(roles, "role", "role.json"),
            roles_by_name={role.name.lower(): role for role in roles},
            environments=self._by_id(environments, "environment", "environment.json"),
            dependencies=tuple(Dependency(item.git_url, item.branch) for item in module_file.dependencies),
            root_files=self._root_files(root),
            settings=module_file.model_extra or {},
            problems=tuple(self.problems),
            read=self.mirror.read,
            weight=self.weight,
        )

    def _collect(
        self, folder: TreeItem | None, path: str, read: Callable[[str, TreeItem], Part]
    ) -> list[Any]:
        """Read every directory of a folder such as `packets`."""
        if folder is None:
            return []
        if folder.kind != "tree":
            self._problem(path, "not_a_directory", f"'{path}' is a {folder.kind}; it has to be a directory")
            return []
        found = []
        lower: dict[str, str] = {}
        for item in self.mirror.list_tree(folder.oid):
            place = f"{path}/{item.name}"
            if item.kind != "tree":
                if item.kind != "file":
                    self._problem(place, "not_a_directory", f"a {item.kind} is not followed; it is ignored")
                continue
            if not names.is_safe_file_name(item.name):
                self._problem(place, "unsafe_file_name", "the directory's name cannot be used as a name here")
                continue
            other = lower.setdefault(item.name.lower(), item.name)
            if other != item.name:
                self._problem(place, "colliding_name", f"the name differs from '{other}' in upper and lower case only")
                continue
            part = self.cache.get_or_read(place, item.oid, lambda place=place, item=item: read(place, item))  # type: ignore[misc]
            self.problems += part.problems
            self.weight += part.weight
            if part.value is not None:
                found.append(part.value)
        return found

    def _read_packet(self, path: str, item: TreeItem) -> Part:
        entries = {entry.name: entry for entry in self.mirror.list_tree(item.oid)}
        loaded, problems, weight = self._load(entries.get("packet.json"), f"{path}/packet.json", load_packet)
        files: dict[str, FileEntry] = {}
        folder = entries.get("files")
        if folder is not None and folder.kind == "tree":
            for entry in self.mirror.walk(folder.oid):
                files[entry.path] = FileEntry(
                    f"{path}/files/{entry.path}", entry.oid, entry.size, entry.executable, entry.kind
                )
        weight += FILE_WEIGHT * len(files)
        if loaded is None:
            return Part(None, tuple(problems), weight)
        usable = {}
        for index, file in enumerate(loaded.files):
            found = files.get(file.filename)
            where = f"{path}/packet.json"
            if found is None:
                message = f"file '{file.filename}' is declared (files[{index}]) but is not in '{path}/files'"
                problems.append(Problem(where, None, None, "missing_file", message))
            elif found.kind != "file":
                message = f"'{found.path}' is a {found.kind}, which is not followed"
                problems.append(Problem(where, None, None, "not_a_file", message))
            else:
                usable[file.filename] = found
        declared = {file.filename for file in loaded.files}
        for name in sorted(set(files) - declared):
            message = f"'{name}' is in the packet's files but is not declared in packet.json; it is ignored"
            problems.append(Problem(f"{path}/files/{name}", None, None, "undeclared_file", message, "warning"))
        model = loaded if loaded.id else loaded.model_copy(update={"id": f"{self.module}\\{path}".lower()})
        name = path.rpartition("/")[2]
        return Part(PacketDefinition(name, path, model, usable), tuple(problems), weight)

    def _read_role(self, path: str, item: TreeItem) -> Part:
        entries = {entry.name: entry for entry in self.mirror.list_tree(item.oid)}
        loaded, problems, weight = self._load(entries.get("role.json"), f"{path}/role.json", load_role)
        if loaded is None:
            return Part(None, tuple(problems), weight)
        model = loaded if loaded.id else loaded.model_copy(update={"id": f"{self.module}\\{path}".lower()})
        return Part(RoleDefinition(path.rpartition("/")[2], path, model), tuple(problems), weight)

    def _read_environment(self, path: str, item: TreeItem) -> Part:
        entries = {entry.name: entry for entry in self.mirror.list_tree(item.oid)}
        file = f"{path}/environment.json"
        loaded, problems, weight = self._load(entries.get("environment.json"), file, load_environment)
        containers: list[ContainerDefinition] = []
        for name in sorted(entries):
            entry = entries[name]
            if entry.kind != "tree":
                continue
            part = self._read_container(f"{path}/{name}", entry)
            problems += part.problems
            weight += part.weight
            if part.value is not None:
                containers.append(part.value)
        if loaded is None:
            return Part(None, tuple(problems), weight)
        seen: dict[str, ContainerDefinition] = {}
        for container in containers:
            other = seen.setdefault(container.model.id, container)
            if other is not container:
                message = f"container id '{container.model.id}' is also that of '{other.directory}'; this one is ignored"
                problems.append(Problem(f"{container.directory}/container.json", None, None, "duplicate_id", message))
        model = loaded if loaded.id else loaded.model_copy(update={"id": f"{self.module}\\{path}".lower()})
        name = path.rpartition("/")[2]
        definition = EnvironmentDefinition(name, path, model, tuple(sorted(seen.values(), key=lambda item: item.name)))
        return Part(definition, tuple(problems), weight)

    def _read_container(self, path: str, item: TreeItem) -> Part:
        def read() -> Part:
            entries = {entry.name: entry for entry in self.mirror.list_tree(item.oid)}
            if "container.json" not in entries:
                return Part(None, (), 0)  # environments may hold other directories
            file = f"{path}/container.json"
            loaded, problems, weight = self._load(entries["container.json"], file, load_container)
            if loaded is None:
                return Part(None, tuple(problems), weight)
            model = loaded if loaded.id else loaded.model_copy(update={"id": f"{self.module}\\{path}".lower()})
            name = names.container_name(path.rpartition("/")[2])
            return Part(ContainerDefinition(name, path, model), tuple(problems), weight)

        return self.cache.get_or_read(path, item.oid, read)

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
        files = {item.name: self._entry(item.name, item) for item in root.values() if item.kind == "file"}
        auto = root.get("auto-source")
        if auto is not None and auto.kind == "tree":
            for item in self.mirror.list_tree(auto.oid):
                if item.kind == "file":
                    files[f"auto-source/{item.name}"] = self._entry(f"auto-source/{item.name}", item)
        return files

    def _entry(self, path: str, item: TreeItem) -> FileEntry:
        return FileEntry(path, item.oid, self.mirror.size(item.oid), item.executable)

    def _by_id(self, items: Iterable[T], noun: str, file: str) -> dict[str, T]:
        found: dict[str, T] = {}
        for item in items:
            other = found.setdefault(item.model.id, item)  # type: ignore[attr-defined]
            if other is not item:
                message = (
                    f"{noun} id '{item.model.id}' is also that of '{other.directory}'; "  # type: ignore[attr-defined]
                    "this one is found by its name only"
                )
                self._problem(f"{item.directory}/{file}", "duplicate_id", message)  # type: ignore[attr-defined]
        return found

    def _problem(self, file: str, code: str, message: str) -> None:
        self.problems.append(Problem(file, None, None, code, message))
