"""Lists are filtered in the database by the same rule as single runs."""

import tracemalloc
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from factories.access import MODULE, AccessFactory
from factories.examples import examples
from factories.runs import add_run
from infraxys.server.auth.access import AccessControl
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import project_environments, run_steps, runs
from infraxys.server.errors import NotFound
from infraxys.server.runs.repository import RunFilter, list_runs
from infraxys.server.runs.rights import check_run, visible_runs

BRANCHES = ["main", "Main", "feature", "feature/", "feature/x", "feature/x/y", "f%", "f_ature", "ré"]
PATTERNS = ["*", "main", "f*", "feature/*", "feature/x", "feature/x*", "f%*", "f_*", "f%", "r*"]
ENVIRONMENTS = ["env-1", "env-2"]


class World:
    """Three projects, two of them nested, with a run on every branch of two environments."""

    def __init__(self, database: Database) -> None:
        self.database, self.make = database, AccessFactory(database)
        self.upper = self.make.project()
        self.lower = self.make.project(self.upper)
        self.other = self.make.project()
        self.custom = self.make.custom(self.upper)
        self.make.protect(self.custom, "env-1", "secret")
        for environment in ENVIRONMENTS:
            for branch in BRANCHES:
                for containers in (["open"], ["open", "secret"]):
                    add_run(database, module=MODULE, branch=branch, environment_id=environment, containers=containers)

    @property
    def projects(self) -> dict[str, str]:
        return {"root": "root", "upper": self.upper, "lower": self.lower, "other": self.other}

    def attach(self, attachments: list[tuple[str, str, str]]) -> None:
        self.database.write_now(lambda connection: connection.execute(project_environments.delete()))
        for project, environment, pattern in attachments:
            self.make.attach(self.projects[project], environment, pattern)

    def subject(self, given_on: list[tuple[str, str]], scopes: frozenset[str] | None) -> Subject:
        grants = {"run": "run.list", "custom": self.custom}
        teams = [self.make.team("root", [grants[what]], on=self.projects[where]) for where, what in given_on]
        access = AccessControl(self.database)
        user = self.make.user(*teams)
        found = self.database.read_now(lambda connection: access.starter(connection, user, scopes))
        assert found is not None
        return found


@pytest.fixture(scope="module")
def world(database: Database) -> World:
    return World(database)


def pages(database: Database, subject: Subject, limit: int) -> list[dict[str, Any]]:
    """Read a list to its end."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    wanted = RunFilter(visible=visible_runs(subject))
    while True:
        read = partial(list_runs, wanted=wanted, limit=limit, cursor=cursor, newest_first=True)
        page, cursor = database.read_now(read)
        assert cursor is None or len(page) == limit  # no page is short because something was taken out of it
        found += page
        if cursor is None:
            return found


PLACE = st.sampled_from(["root", "upper", "lower", "other"])


@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    attachments=st.lists(
        st.tuples(PLACE, st.sampled_from(ENVIRONMENTS), st.sampled_from(PATTERNS)),
        max_size=8,
        unique_by=lambda item: item[1:],
    ),
    given_on=st.lists(st.tuples(PLACE, st.sampled_from(["run", "custom"])), max_size=3),
    scopes=st.sampled_from([None, frozenset({"run.list"})]),
)
def test_a_list_shows_exactly_the_runs_that_one_may_look_at(
    world: World,
    attachments: list[tuple[str, str, str]],
    given_on: list[tuple[str, str]],
    scopes: frozenset[str] | None,
) -> None:
    world.attach(attachments)
    subject = world.subject(given_on, scopes)
    shown = {run["id"] for run in pages(world.database, subject, 7)}

    def may_see(record: dict[str, Any]) -> bool:
        try:
            check_run(subject, record, "run.list")
        except NotFound:
            return False
        return True

    def every(connection: Any) -> list[dict[str, Any]]:
        steps: dict[str, list[dict[str, Any]]] = {}
        for step in connection.execute(run_steps.select()).mappings():
            steps.setdefault(step["run_id"], []).append(dict(step))
        return [{**row, "steps": steps[row["id"]]} for row in connection.execute(runs.select()).mappings()]

    records = world.database.read_now(every)
    assert len(records) == len(ENVIRONMENTS) * len(BRANCHES) * 2
    assert shown == {record["id"] for record in records if may_see(record)}


def test_a_list_reads_no_arguments(world: World) -> None:
    """Each may have a megabyte, and no list shows one."""
    change = runs.update().values(argument=b"x" * 2**20)
    world.database.write_now(lambda connection: connection.execute(change) and None)
    read = partial(list_runs, wanted=RunFilter(), limit=100, cursor=None, newest_first=True)
    tracemalloc.start()
    page, _ = world.database.read_now(read)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(page) == len(ENVIRONMENTS) * len(BRANCHES) * 2
    assert most < 4 * 2**20
