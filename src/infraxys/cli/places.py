"""Where findings on instances and attributes stand in the files of a working tree: line and column of the JSON."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from infraxys.spec.json_source import Location, Source, parse
from infraxys.spec.problem import Problem


class Places:
    """The JSON files of one working tree, each read when a finding on it is placed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sources: dict[str, Source | None] = {}

    def place(self, problem: Problem) -> Problem:
        """Give the finding with the line and column of the instance or attribute that it is about.

        What an attribute's value lacks stands in the instance, else in the packet that has the default: the finding
        is then on that file. The message keeps the place inside the value.
        """
        if not problem.attribute and (problem.line is not None or not problem.instance_id):
            return problem
        source = self._source(problem.file)
        if source is None:
            return replace(problem, line=None, column=None)
        file, location = problem.file, self._location(source, problem)
        if location is None and problem.instance_id:
            found = self._default(source, problem)
            if found is not None:
                file, source, location = found
        if location is None:
            return replace(problem, line=None, column=None)
        line, column = source.position(location)
        return replace(problem, file=file, line=line, column=column)

    def _source(self, file: str) -> Source | None:
        if file not in self._sources:
            try:
                data = (self._folder / file).read_bytes() if file.endswith(".json") else b""
            except OSError:
                data = b""
            self._sources[file] = parse(data, file)[0]
        return self._sources[file]

    def _location(self, source: Source, problem: Problem) -> Location | None:
        if not problem.instance_id:
            return attribute_of(source.value, problem.attribute, ())
        found = instance_of(source.value, problem.instance_id)
        if found is None:
            return None
        location, instance = found
        return attribute_of(instance, problem.attribute, location, "value") if problem.attribute else location

    def _default(self, source: Source, problem: Problem) -> tuple[str, Source, Location] | None:
        """Find the attribute's default in the packet of the instance, or in any packet that has the attribute."""
        found = instance_of(source.value, problem.instance_id)
        names = {found[1].get("packetId"), found[1].get("packetName")} if found else set()
        others = []
        for path in sorted(self._folder.glob("packets/*/packet.json")):
            file = path.relative_to(self._folder).as_posix()
            packet = self._source(file)
            location = attribute_of(packet.value, problem.attribute, (), "defaultValue") if packet else None
            if packet is None or location is None:
                continue
            if {path.parent.name, packet.value.get("id")} & names:
                return file, packet, location
            others.append((file, packet, location))
        return others[0] if len(others) == 1 else None


def instance_of(value: object, wanted: str) -> tuple[Location, dict[str, Any]] | None:
    """Find an instance by its id, with where it stands."""
    for location, item in objects_in(value):
        if wanted in (item.get("id"), item.get("guid")) and ("packetId" in item or "packetName" in item):
            return location, item
    return None


def objects_in(value: object) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Give every object of a JSON value with where it stands, in the order of the text."""
    waiting: list[tuple[Location, object]] = [((), value)]
    while waiting:
        location, current = waiting.pop()
        if isinstance(current, dict):
            yield location, current
            waiting += [((*location, key), item) for key, item in reversed(current.items())]
        elif isinstance(current, list):
            waiting += [((*location, number), item) for number, item in reversed(list(enumerate(current)))]


def attribute_of(holder: object, name: str, location: Location, key: str | None = None) -> Location | None:
    """Find an attribute by its name in an instance or packet; with a key, the member of it."""
    listed = holder.get("attributes") if isinstance(holder, dict) else None
    for number, item in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(item, dict) and item.get("name") == name and (key is None or key in item):
            return (*location, "attributes", number, *([key] if key else []))
    return None
