"""Variables in each database: what is resolved, what a change does to it, and moving sealed values about."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from factories.access import MODULE, AccessFactory
from infraxys.server.auth.access import AccessControl
from infraxys.server.auth.places import Place
from infraxys.server.auth.rights import Rights
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database
from infraxys.server.db.migrate import migrate
from infraxys.server.db.tables import variables
from infraxys.server.variables import repository
from infraxys.server.variables.errors import CannotResolve, ReferenceNotAllowed
from infraxys.server.variables.keys import KeyRing
from infraxys.server.variables.levels import Level
from infraxys.server.variables.resolver import VariableResolver
from infraxys.server.variables.schemas import Reference, SetVariable
from infraxys.server.variables.service import VariableService, check_reference, rotate

PLACE = Place(MODULE, "main", "env-x")


class Store:
    """The parts, on one database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.database = Database(url)
        migrate(self.database)
        self.access = AccessControl(self.database)
        self.keys = KeyRing(folder / "secrets.key")
        self.keys.open(is_needed=False)
        self.service = VariableService(self.keys)
        self.resolver = VariableResolver(self.database, self.access, self.keys, None)
        self.make = AccessFactory(self.database)

    def set(self, level: Level, name: str, value: str, **flags: bool) -> None:
        given = SetVariable.model_validate({"value": value, **flags})

        def write(connection: Connection) -> None:
            subject = Subject(None, "me", "Me", True, rights=Rights(self.access.read_policy(connection)))  # noqa: FBT003
            self.service.replace(connection, subject, level, name, given)

        self.database.write_now(write)

    def resolve(self, place: Place = PLACE, container_id: str = "con-x") -> dict[str, str]:
        return asyncio.run(resolved(self.resolver, place, container_id))


async def resolved(resolver: VariableResolver, place: Place = PLACE, container_id: str = "con-x") -> dict[str, str]:
    found = await resolver.open(await resolver.find(place, container_id))
    return {variable.name: variable.value for variable in found}


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'db'}" if is_sqlite else request.getfixturevalue("postgres_database")
    made = Store(url, tmp_path)
    yield made
    made.resolver.close()
    made.database.close()


def root() -> Level:
    return Level("project", project_id="root")


def test_what_is_set_is_resolved_and_replaced(store: Store) -> None:
    assert store.resolve() == {}
    store.set(root(), "name", "one")
    assert store.resolve() == {"name": "one"}
    store.set(root(), "name", "two", protect=True)
    assert store.resolve() == {"name": "two"}


def test_an_environment_that_is_attached_elsewhere_gets_what_is_set_there(store: Store) -> None:
    project = store.make.project()
    store.set(Level("project", project_id=project), "name", "of the project")
    assert store.resolve() == {}
    store.make.attach(project, "env-x", "main")
    assert store.resolve() == {"name": "of the project"}
    assert store.resolve(Place(MODULE, "other", "env-x")) == {}


def test_another_server_on_the_database_sees_a_change_at_once(store: Store) -> None:
    other = VariableResolver(store.database, AccessControl(store.database), store.keys, None)
    assert asyncio.run(resolved(other)) == {}
    store.set(root(), "name", "one")
    assert asyncio.run(resolved(other)) == {"name": "one"}
    other.close()


def test_runs_where_nothing_is_set_cost_one_statement(store: Store) -> None:
    store.set(Level("environment", "", MODULE, "env-other", "", is_prefix=True), "name", "one")
    store.resolve()
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    engine = store.database._reader_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        assert store.resolve() == {}
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert len([text for text in statements if text.startswith("SELECT")]) == 1, statements


def test_the_database_holds_no_value(store: Store) -> None:
    store.set(root(), "name", "canary-in-the-row", protect=True)
    store.set(root(), "open", "canary-in-the-open", protect=False)
    rows = store.database.read_now(lambda connection: connection.execute(sa.select(variables)).all())
    assert len(rows) == 2
    assert "canary" not in repr(rows)


@pytest.mark.parametrize(
    "change",
    [
        {"is_protected": False},
        {"name": "other"},
        {"version": 7},
        {"sealed": b"\x01" + bytes(200)},
    ],
)
def test_a_row_that_somebody_changed_ends_the_run_instead_of_giving_the_value(
    store: Store, change: dict[str, object]
) -> None:
    store.set(root(), "name", "canary", protect=True)

    def tamper(connection: Connection) -> None:
        repository.lock(connection)
        connection.execute(variables.update().values(**change))

    store.database.write_now(tamper)
    with pytest.raises(CannotResolve, match="secrets_unusable"):
        store.resolve()


def test_a_secret_that_is_copied_to_another_project_does_not_open_there(store: Store) -> None:
    project = store.make.project()
    store.make.attach(project, "env-x")
    store.set(root(), "name", "canary", protect=True)
    store.set(Level("project", project_id=project), "mine", "x")

    def copy(connection: Connection) -> None:
        sealed = connection.execute(sa.select(variables.c.sealed).where(variables.c.name == "name")).scalar_one()
        connection.execute(variables.update().where(variables.c.name == "mine").values(sealed=sealed))

    store.database.write_now(copy)
    with pytest.raises(CannotResolve, match="'mine' cannot be read"):
        store.resolve()


def test_every_value_is_sealed_under_the_new_key(store: Store) -> None:
    for number in range(5):
        store.set(root(), f"name{number}", f"value {number}", protect=number % 2 == 0)
    store.keys.rotate()
    assert store.database.write_now(lambda connection: rotate(connection, store.keys)) == 5
    assert store.database.write_now(lambda connection: rotate(connection, store.keys)) == 0
    assert store.keys.forget_others() == 1
    assert store.resolve() == {f"name{number}": f"value {number}" for number in range(5)}


def test_a_project_takes_its_variables_with_it(store: Store) -> None:
    project = store.make.project()
    store.set(Level("project", project_id=project), "name", "x")
    store.database.write_now(
        lambda connection: connection.execute(sa.text("DELETE FROM projects WHERE id = :id"), {"id": project})
    )
    count = store.database.read_now(lambda connection: connection.execute(sa.select(variables)).all())
    assert count == []


@pytest.mark.parametrize("path", ["projects/{own}/db", "projects/{parent}/db", "projects/root/db"])
def test_a_reference_to_the_projects_own_secrets_needs_nothing_more(store: Store, path: str) -> None:
    refer(store, path)


@pytest.mark.parametrize("path", ["projects/{other}/db", "projects/{own}x/db", "projects/{own}", "apps/shop"])
def test_a_reference_to_others_needs_the_root_project(store: Store, path: str) -> None:
    with pytest.raises(ReferenceNotAllowed, match="root project"):
        refer(store, path)


def refer(store: Store, path: str) -> None:
    """Check a reference of somebody who may set variables in one project."""
    parent, other = store.make.project(), store.make.project()
    own = store.make.project(parent)
    team = store.make.team(own, ["variable.modify"])
    policy = store.database.read_now(store.access.read_policy)
    subject = Subject("u", "u", "u", is_administrator=False, rights=Rights(policy, [team]))
    wanted = path.format(own=own, parent=parent, other=other)
    reference = Reference.model_validate({"path": wanted, "field": "x"})
    check_reference(subject, Level("project", project_id=own), reference)
