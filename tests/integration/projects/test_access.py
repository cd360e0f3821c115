"""Rights from the database, on both databases: several servers agree, and changes wait for one another."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from factories.access import AccessFactory
from infraxys.server.auth.access import AccessControl, sync_groups
from infraxys.server.auth.rights import ROOT
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import team_members, teams
from infraxys.server.errors import Problem
from infraxys.server.projects import grants, projects, schemas
from infraxys.server.projects import teams as team_rules

LOCAL = Subject(None, "me", "Me", is_administrator=True)


def person(user_id: str) -> Subject:
    """Give somebody as authentication does, without rights."""
    return Subject(user_id, "ada", "Ada", is_administrator=False)


def may(access: AccessControl, user_id: str, grant: str, project_id: str) -> bool:
    """Ask as a request does."""
    return asyncio.run(access.with_rights(person(user_id))).may(grant, project_id)


def test_several_servers_see_every_change_with_the_next_request(database: Database) -> None:
    first, second = AccessControl(database), AccessControl(database)
    make = AccessFactory(database)
    project = make.project()
    team = make.team(project)
    user = make.user(team)
    assert not may(first, user, "run.list", project)
    assert not may(second, user, "run.list", project)
    given = schemas.GiveGrants.model_validate({"projectId": project, "bundles": ["viewer"]})
    asyncio.run(first.change(LOCAL, lambda connection, caller: team_rules.give(connection, caller, team, given)))
    assert may(second, user, "run.list", project)
    assert may(first, user, "run.list", project)
    asyncio.run(
        second.change(LOCAL, lambda connection, caller: team_rules.take(connection, caller, team, project, "run.list"))
    )
    assert not may(first, user, "run.list", project)
    assert may(first, user, "run.read", project)
    asyncio.run(
        second.change(LOCAL, lambda connection, caller: team_rules.remove_member(connection, caller, team, user))
    )
    assert not may(first, user, "run.read", project)


def test_a_refused_change_leaves_nothing_behind(database: Database) -> None:
    access, make = AccessControl(database), AccessFactory(database)
    project = make.project()
    team = make.team(project)
    given = schemas.GiveGrants.model_validate({"projectId": project, "grants": ["run.list", "user.create"]})
    with pytest.raises(Problem, match="whole server"):
        asyncio.run(access.change(LOCAL, lambda connection, caller: team_rules.give(connection, caller, team, given)))
    assert not may(access, make.user(team), "run.list", project)


def test_projects_that_are_moved_below_each_other_at_once_stay_a_tree(database: Database) -> None:
    access, make = AccessControl(database), AccessFactory(database)
    for _ in range(5):
        pair = [make.project(), make.project()]

        def move(project: str, goal: str) -> bool:
            given = schemas.ChangeProject.model_validate({"parentId": goal})
            try:
                asyncio.run(
                    access.change(LOCAL, lambda connection, caller: projects.update(connection, caller, project, given))
                )
            except Problem:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            moved = list(pool.map(move, pair, reversed(pair)))
        assert sorted(moved) == [False, True]
        ids = {item["id"] for item in asyncio.run(access.view(LOCAL, projects.tree))}
        assert set(pair) < ids  # what is in a circle would not be found from the root


def test_of_two_custom_grants_of_one_name_at_once_one_is_made(database: Database) -> None:
    access, make = AccessControl(database), AccessFactory(database)
    project = make.project()
    below = make.project(project)

    def create(where: str) -> bool:
        given = schemas.NewGrant.model_validate({"projectId": where, "name": f"name {project[-12:]}"})
        try:
            asyncio.run(access.change(LOCAL, lambda connection, caller: grants.create(connection, caller, given)))
        except Problem:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(create, [project, below])) == [False, True]


def test_a_provider_decides_about_its_groups_and_people_about_the_rest(database: Database) -> None:
    make = AccessFactory(database)
    project = make.project()
    chosen, grouped, both = (make.team(project) for _ in range(3))
    user = make.user(chosen, both)

    def prepare(connection: object) -> None:
        change = teams.update().values(external_group=f"group-{project}")
        connection.execute(change.where(teams.c.id.in_([grouped, both])))  # type: ignore[attr-defined]

    database.write_now(prepare)

    def member_of() -> set[tuple[str, str]]:
        query = team_members.select().filter_by(user_id=user)
        return database.read_now(lambda connection: {(row.team_id, row.source) for row in connection.execute(query)})

    by_hand = {(chosen, "manual"), (both, "manual")}
    for groups, expected in (
        ({f"group-{project}", "unknown"}, by_hand | {(grouped, "group"), (both, "group")}),
        ({f"group-{project}"}, by_hand | {(grouped, "group"), (both, "group")}),
        (set(), by_hand),
    ):
        database.write_now(lambda connection, names=groups: sync_groups(connection, user, names))
        assert member_of() == expected


def test_everybody_else_has_nothing_on_the_root(database: Database) -> None:
    access = AccessControl(database)
    user = AccessFactory(database).user()
    assert asyncio.run(access.with_rights(person(user))).grants_on(ROOT) == frozenset()
    assert asyncio.run(access.with_rights(person("nobody"))).projects_with("run.list") == frozenset()
