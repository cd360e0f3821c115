"""Which variables a step gets: the nearest of each name, unless a level above has closed it."""

from typing import Any

import pytest

from infraxys.server.auth.places import Place
from infraxys.server.auth.rights import Attachment, Policy
from infraxys.server.variables.errors import CannotResolve
from infraxys.server.variables.levels import Book, Entry, Level
from infraxys.server.variables.resolver import check_files, run_variable

MODULE = "host/org/repo"
PLACE = Place(MODULE, "main", "env-1")
POLICY = Policy(
    parents={"root": None, "payments": "root", "production": "payments", "other": "root"},
    attachments={
        (MODULE, "env-1"): (
            Attachment("production", "", is_prefix=True),
            Attachment("other", "feature/", is_prefix=True),
        )
    },
)


def project(project_id: str) -> Level:
    return Level("project", project_id=project_id)


def environment(branch: str = "*", environment_id: str = "env-1") -> Level:
    return Level("environment", "", MODULE, environment_id, branch.removesuffix("*"), branch.endswith("*"))


def container(container_id: str = "con-1", branch: str = "*") -> Level:
    return Level("container", "", MODULE, "env-1", branch.removesuffix("*"), branch.endswith("*"), container_id)


def book(*items: tuple[Level, str] | tuple[Level, str, bool]) -> Book:
    """Make a book; an entry's id says where it is from."""
    entries = []
    for level, name, *more in items:
        entry_id = "/".join(level.path) + f"#{name}"
        flags = {"is_protected": False, "is_exported": True, "is_file": False}
        entries.append(Entry(entry_id, level, name, "", allow_overrides=not more or bool(more[0]), **flags))
    return Book.of(1, entries)


def given(found: Book, place: Place = PLACE, container_id: str = "con-1") -> dict[str, str]:
    """Give where each name comes from."""
    entries = found.resolve(POLICY, place, container_id)
    return {entry.name: entry.level.path[0] + ":" + entry.level.path[-1] for entry in entries}


def test_the_nearest_level_wins() -> None:
    levels = [project("root"), project("payments"), project("production"), environment(), container()]
    expected = ["project:root", "project:payments", "project:production", "environment:*", "container:con-1"]
    for count in range(1, len(levels) + 1):
        assert given(book(*((level, "name") for level in levels[:count]))) == {"name": expected[count - 1]}


def test_each_name_for_itself_and_by_name() -> None:
    found = book((project("root"), "b"), (environment(), "a"), (container(), "c"))
    assert list(given(found)) == ["a", "b", "c"]


@pytest.mark.parametrize("closed", [project("root"), project("payments"), environment()])
def test_what_a_level_has_closed_no_level_below_changes(closed: Level) -> None:
    found = book((closed, "name", False), (container(), "name"), (container(), "other"))
    kind = given(found)["name"]
    assert kind.startswith(closed.kind)
    assert given(found)["other"] == "container:con-1"


def test_a_level_below_cannot_close_what_is_above() -> None:
    assert given(book((project("root"), "name"), (container(), "name", False))) == {"name": "container:con-1"}


def test_other_projects_environments_containers_and_branches_give_nothing() -> None:
    found = book(
        (project("other"), "a"),
        (environment(environment_id="env-2"), "b"),
        (container("con-2"), "c"),
        (environment("release/*"), "d"),
        (environment("mai"), "e"),
    )
    assert given(found) == {}
    assert given(found, Place("host/org/else", "main", "env-1")) == {}


def test_one_branch_is_nearer_than_many_and_a_longer_beginning_than_a_shorter_one() -> None:
    found = book((environment("*"), "name"), (environment("ma*"), "name"), (environment("main"), "name"))
    assert given(found) == {"name": "environment:main"}
    assert given(found, Place(MODULE, "master", "env-1")) == {"name": "environment:ma*"}
    assert given(found, Place(MODULE, "x", "env-1")) == {"name": "environment:*"}


def test_branches_that_are_attached_elsewhere_get_nothing_of_the_wider_level() -> None:
    found = book((environment("*"), "name"), (container(branch="*"), "name2"), (project("production"), "name3"))
    assert given(found, Place(MODULE, "feature/x", "env-1")) == {}
    of_other = book((environment("feature/*"), "name"))
    assert given(of_other, Place(MODULE, "feature/x", "env-1")) == {"name": "environment:feature/*"}
    assert given(of_other) == {}


def test_what_nobody_attached_is_in_the_root_project() -> None:
    found = book((project("root"), "a"), (project("payments"), "b"))
    assert given(found, Place("host/org/else", "main", "env-9")) == {"a": "project:root"}


def row(name: str, kind: str = "", **more: Any) -> dict[str, Any]:
    level = {
        "kind": "project",
        "project_id": "root",
        "module": "",
        "environment_id": "",
        "branch": "",
        "container_id": "",
    }
    flags = {"is_prefix": False, "is_protected": True, "allow_overrides": True, "is_exported": False, "is_file": True}
    return {"id": name, "name": name, "type": kind, "container_id": "", **level, **flags, **more}


def test_files_are_named_by_type_and_name() -> None:
    assert run_variable(row("id_rsa", "SSH-PRIVATE-KEY"), "v").file == "SSH-PRIVATE-KEY/id_rsa"
    assert run_variable(row("plain"), "v").file == "plain"
    assert run_variable(row("plain", is_file=False), "v").file is None


def test_a_file_cannot_be_where_a_folder_is() -> None:
    clash = (run_variable(row("NETRC"), "v"), run_variable(row("mine", "NETRC"), "v"))
    with pytest.raises(CannotResolve, match="variable_not_possible"):
        check_files(clash)
    check_files((run_variable(row("NETRC", "NETRC"), "v"),))
