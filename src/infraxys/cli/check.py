"""`infraxys check`: what is wrong with a module's working tree, for authors, editors and CI."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from infraxys import __version__
from infraxys.cli.places import Places
from infraxys.engine.lint import lint
from infraxys.engine.pins import Pins
from infraxys.engine.render import generate
from infraxys.engine.world import World
from infraxys.resources.errors import InvalidUrl
from infraxys.resources.store import ModuleStore
from infraxys.resources.url import GitUrl
from infraxys.spec.identity import BranchPath, ModuleId
from infraxys.spec.problem import Problem

BRANCH = "working-tree"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found."""

    problems: tuple[Problem, ...]
    environments: int
    actions: int

    @property
    def has_errors(self) -> bool:
        """Whether anything is wrong, beyond warnings."""
        return any(problem.severity == "error" for problem in self.problems)


class _Trees(Mapping[BranchPath, str]):
    """The commits made of working trees: a tree stands for every branch of its module."""

    def __init__(self, commits: Mapping[ModuleId, str]) -> None:
        self._commits = commits

    def __getitem__(self, path: BranchPath) -> str:
        return self._commits[path.module]

    def __iter__(self) -> Iterator[BranchPath]:
        return (BranchPath(module, BRANCH) for module in self._commits)

    def __len__(self) -> int:
        return len(self._commits)


def check_module(path: Path, others: Sequence[str] = ()) -> Checked:
    """Load the files as they are on disk and render every environment.

    `others` are working trees of modules that it uses: `host/org/repo=folder`, or a folder that is named as the
    repository. Raises ValueError for a name that is none.
    """
    with tempfile.TemporaryDirectory(prefix="infraxys-check-") as folder:
        store = ModuleStore(Path(folder) / "modules", Path(folder) / "exports")
        module = own_id(path)
        commit = store.create_hosted(module, path.resolve(), BRANCH, "check")
        snapshot = store.snapshot(module, commit)
        root = BranchPath(module, BRANCH)
        commits = {module: commit}
        for name, tree in _named(others, path):
            commits[name] = store.create_hosted(name, tree.resolve(), BRANCH, "check")
        world = World(root, Pins(_Trees(commits), store.snapshot), store.branch_of)
        problems = list(snapshot.problems)
        actions = 0
        for environment_id in snapshot.environments:
            generation = generate(world, environment_id)
            actions += len(generation.actions)
            found = [*generation.problems, *lint(world, world.environment(environment_id), generation)]
            problems += [problem for problem in found if problem not in problems]
        places = Places(path)
        problems = list(dict.fromkeys(map(places.place, problems)))
        return Checked(tuple(sorted(problems, key=_order)), len(snapshot.environments), actions)


def _named(others: Sequence[str], path: Path) -> Iterator[tuple[ModuleId, Path]]:
    """Give the modules that other working trees are of: as said, as a dependency is called, or as it calls itself."""
    pairs: list[tuple[str, Path]] = []
    for text in others:
        name, separator, folder = text.partition("=")
        pairs.append((name, Path(folder)) if separator else ("", Path(text)))
    known: dict[str, ModuleId] = {}
    for place in (path, *(tree for _, tree in pairs)):
        for item in objects_in(read_json(place / "module.json")):
            with suppress(InvalidUrl):
                found = GitUrl.parse(str(item.get("git_url"))).module
                known[found.repo] = found
    for name, tree in pairs:
        yield ModuleId.parse(name) if name else known.get(tree.resolve().name) or own_id(tree), tree


def own_id(path: Path) -> ModuleId:
    """Guess the module's name: what instances call the module of packets that are here, so that these are found."""
    packets = {file.parent.name: read_json(file) for file in path.glob("packets/*/packet.json")}
    own = {*packets, *(item.get("id") for item in packets.values() if isinstance(item, dict))} - {None}
    for file in sorted([*path.glob("environments/*/*/container.json"), *path.glob("roles/*/role.json")]):
        for item in objects_in(read_json(file)):
            if {item.get("packetId"), item.get("packetName")} & own:
                with suppress(ValueError, TypeError, AttributeError):
                    return BranchPath.parse(item.get("packetPath", "")).module
    return ModuleId("local", "infraxys", path.resolve().name or "module")


def read_json(file: Path) -> object:
    """Give what a file holds; None for one that cannot be read, which is reported when the module is loaded."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def objects_in(value: object) -> Iterator[dict[str, Any]]:
    """Give every object of a JSON value whose members can be names."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            waiting += reversed(current.values())
            if all(isinstance(current.get(name), str | None) for name in ("packetId", "packetName")):
                yield current
        elif isinstance(current, list):
            waiting += reversed(current)


def _order(problem: Problem) -> tuple[str, int, int, str]:
    return problem.file, problem.line or 0, problem.column or 0, problem.message


def report(checked: Checked, form: str) -> str:
    """Write the findings as text, JSON, GitHub annotations or SARIF."""
    if form == "json":
        return json.dumps([_object(problem) for problem in checked.problems], indent=2, ensure_ascii=False)
    if form == "sarif":
        return json.dumps(_sarif(checked), indent=2)
    problems = together(checked.problems)
    if form == "github":
        return "\n".join(map(_annotation, problems))
    errors = sum(problem.severity == "error" for problem in problems)
    counts = [
        counted(checked.environments, "environment"),
        f"{counted(checked.actions, 'action')}: {counted(errors, 'error')}",
        counted(len(problems) - errors, "warning"),
    ]
    return "\n".join([*(f"{problem} [{problem.code}]" for problem in problems), ", ".join(counts)])


def counted(number: int, noun: str) -> str:
    """Give a number with its noun."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def together(problems: tuple[Problem, ...]) -> list[Problem]:
    """Make one of findings that differ only in the instance: a file of a packet fails for all of its instances."""
    groups: dict[tuple[object, ...], list[Problem]] = {}
    for problem in problems:
        key = (problem.file, problem.line, problem.column, problem.code, problem.message, problem.severity)
        groups.setdefault(key, []).append(problem)
    shown = []
    for first, *others in groups.values():
        more = f" and {counted(len(others), 'other')}"
        shown.append(replace(first, where=first.where + more) if others and first.where else first)
    return shown


def _object(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "code": problem.code,
        "message": problem.message,
        "severity": problem.severity,
        "where": problem.where,
        "containerId": problem.container_id or None,
        "instanceId": problem.instance_id or None,
        "attribute": problem.attribute or None,
    }


def _annotation(problem: Problem) -> str:
    message = f"{problem.where}: {problem.message}" if problem.where else problem.message
    file = _escaped(problem.file).replace(":", "%3A").replace(",", "%2C")
    place = f"file={file},line={problem.line or 1},col={problem.column or 1},title={problem.code}"
    return f"::{problem.severity} {place}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _sarif(checked: Checked) -> dict[str, object]:
    results = [
        {
            "ruleId": problem.code,
            "level": problem.severity,
            "message": {"text": f"{problem.where}: {problem.message}" if problem.where else problem.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(problem.file)},
                        "region": {"startLine": problem.line or 1, "startColumn": problem.column or 1},
                    }
                }
            ],
        }
        for problem in checked.problems
    ]
    driver = {"name": "infraxys", "version": __version__, "informationUri": "https://infraxys.dev"}
    return {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
