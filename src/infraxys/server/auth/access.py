"""Rights from the database. Teams are looked up at each request; what they may do is kept until somebody changes it.

Every change of projects, teams and grants raises one number in its transaction. A request reads that number together
with the caller's teams, so that several servers agree without telling one another.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.server.audit.trail import record
from infraxys.server.auth.grants import ADMINISTER, ALL_GRANTS, LOGIN
from infraxys.server.auth.rights import EMPTY, ROOT, Attachment, CustomGrant, IncludedContainer, Policy, Rights, Team
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database, DatabaseUnavailable
from infraxys.server.db.tables import (
    access_state,
    container_protections,
    custom_grants,
    openid_accounts,
    project_containers,
    project_environments,
    projects,
    team_grants,
    team_members,
    teams,
    users,
)
from infraxys.server.errors import Forbidden

T = TypeVar("T")
WATCH_SECONDS = 5.0
_TEAMS = sa.select(access_state.c.version, team_members.c.team_id).select_from(
    access_state.outerjoin(team_members, team_members.c.user_id == sa.bindparam("user_id"))
)
_VERSION = sa.select(access_state.c.version)
_RAISE = access_state.update().values(version=access_state.c.version + 1)
_USER = sa.select(users.c.id, users.c.name, users.c.display_name, users.c.is_administrator).where(
    users.c.id == sa.bindparam("user_id"), users.c.disabled_at.is_(None)
)


class AccessControl:
    """Gives callers their rights. Threads may share it."""

    def __init__(self, database: Database, *, requires_team: bool = False) -> None:
        self.database = database
        self._requires_team = requires_team
        self._policy = EMPTY

    @property
    def policy(self) -> Policy:
        """Everything that decides, as it was when this process looked last."""
        return self._policy

    async def refresh(self) -> None:
        """Look whether another server has changed what decides."""
        version = await self.database.aread(lambda connection: connection.execute(_VERSION).scalar_one())
        if version != self._policy.version:
            self._policy = await self.database.aread(load_policy)

    async def with_rights(self, subject: Subject) -> Subject:
        """Give a caller with the rights that it has now. Raises Forbidden for one who may not use the server."""
        if subject.has_everything:
            return subject
        version, mine = await self.database.alookup(lambda connection: teams_of(connection, subject.user_id))
        if version != self._policy.version:
            self._policy = await self.database.aread(load_policy)
        rights = Rights(self._policy, mine)
        is_let_in = subject.is_administrator or not self._requires_team or rights.grants_on(ROOT) & {LOGIN, ALL_GRANTS}
        if not is_let_in:
            raise Forbidden(LOGIN)  # whatever the scopes of its token
        return replace(subject, rights=rights)

    async def watch(self) -> None:
        """Keep looking, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            with suppress(DatabaseUnavailable):
                await self.refresh()

    async def view(self, subject: Subject, work: Callable[[Connection, Subject], T]) -> T:
        """Read with rights as of the same moment, whoever calls."""
        return await self.database.aread(lambda connection: work(connection, self._with_rights(connection, subject)))

    async def change(self, subject: Subject, work: Callable[[Connection, Subject], T]) -> T:
        """Change projects, teams or grants: one such change at a time, on rights that cannot change meanwhile."""

        def write(connection: Connection) -> T:
            lock(connection)
            _, mine = teams_of(connection, subject.user_id)
            return work(connection, replace(subject, rights=Rights(load_policy(connection), mine)))

        try:
            return await self.database.awrite(write)
        finally:
            await self.refresh()

    def starter(self, connection: Connection, user_id: str, scopes: frozenset[str] | None) -> Subject | None:
        """Give somebody who started a run earlier, with the rights of now; None for an account that is gone."""
        row = connection.execute(_USER, {"user_id": user_id}).first()
        if row is None:
            return None
        subject = Subject(row.id, row.name, row.display_name, bool(row.is_administrator), scopes=scopes)
        return self._with_rights(connection, subject)

    def _with_rights(self, connection: Connection, subject: Subject) -> Subject:
        version, mine = teams_of(connection, subject.user_id)
        if version != self._policy.version:
            self._policy = load_policy(connection)
        return replace(subject, rights=Rights(self._policy, mine))


def teams_of(connection: Connection, user_id: str | None) -> tuple[int, list[str]]:
    """Give the version of what decides, and the teams that somebody is in."""
    rows = connection.execute(_TEAMS, {"user_id": user_id}).all()
    return rows[0].version, [row.team_id for row in rows if row.team_id is not None]


def lock(connection: Connection) -> None:
    """Begin a change of what decides: the next request of every server sees it. Changes wait for one another here."""
    connection.execute(_RAISE)


def load_policy(connection: Connection) -> Policy:
    """Read everything that decides. The version is read first: what is read with it is never older."""
    version = connection.execute(_VERSION).scalar_one()
    parents: dict[str, str | None] = {ROOT: None}
    names = {}
    for row in connection.execute(sa.select(projects.c.id, projects.c.parent_id, projects.c.name)):
        parents[row.id], names[row.id] = row.parent_id, row.name
    attachments: dict[tuple[str, str], list[Attachment]] = {}
    for row in connection.execute(sa.select(project_environments)):
        attachment = Attachment(row.project_id, row.branch, bool(row.is_prefix))
        attachments.setdefault((row.module, row.environment_id), []).append(attachment)
    custom = {
        row.id: CustomGrant(row.id, row.name, row.project_id) for row in connection.execute(sa.select(custom_grants))
    }
    known, given = _teams(connection)
    protected: dict[tuple[str, str, str], set[str]] = {}
    for row in connection.execute(sa.select(container_protections)):
        protected.setdefault((row.module, row.environment_id, row.container_id), set()).add(row.grant_id)
    containers: dict[str, list[IncludedContainer]] = {}
    for row in connection.execute(sa.select(project_containers).order_by(project_containers.c.id)):
        item = IncludedContainer(
            row.module, row.branch, row.environment_id, row.container_id, bool(row.allow_overrides)
        )
        containers.setdefault(row.project_id, []).append(item)
    return Policy(
        version=version,
        parents=parents,
        attachments={key: tuple(value) for key, value in attachments.items()},
        teams=known,
        given=given,
        custom=custom,
        protected={key: frozenset(value) for key, value in protected.items()},
        containers={key: tuple(value) for key, value in containers.items()},
        names=names,
    )


def _teams(connection: Connection) -> tuple[dict[str, Team], dict[str, dict[str, frozenset[str]]]]:
    known: dict[str, Team] = {}
    given: dict[str, dict[str, set[str]]] = {}
    for row in connection.execute(sa.select(teams)):
        known[row.id] = Team(row.id, row.name, row.project_id)
        if row.is_administrators:
            given.setdefault(row.id, {}).setdefault(row.project_id, set()).add(ADMINISTER)
    for row in connection.execute(sa.select(team_grants)):
        given.setdefault(row.team_id, {}).setdefault(row.project_id, set()).add(row.grant)
    frozen = {
        team: {project: frozenset(grants) for project, grants in by_project.items()}
        for team, by_project in given.items()
    }
    return known, frozen


def sync_members(connection: Connection, team_id: str, group: str | None) -> None:
    """Make exactly the people whom an identity provider named in a group members of a team, beside those chosen."""
    connection.execute(team_members.delete().filter_by(team_id=team_id, source="group"))
    if not group:
        return
    likely = sa.select(openid_accounts.c.user_id, openid_accounts.c.groups).where(
        openid_accounts.c.groups.contains(json.dumps(group), autoescape=True)
    )
    found = [row.user_id for row in connection.execute(likely) if group in json.loads(row.groups)]
    rows: list[dict[str, Any]] = [{"team_id": team_id, "user_id": user, "source": "group"} for user in found]
    if rows:
        connection.execute(team_members.insert(), rows)


def sync_groups(connection: Connection, user_id: str, groups: set[str]) -> None:
    """Make a user a member of exactly the teams whose external group is among these, beside what people chose.

    Call it in a transaction of its own, when an identity provider has said which groups somebody is in.
    """
    wanted = set(connection.execute(sa.select(teams.c.id).where(teams.c.external_group.in_(groups))).scalars())
    of_user = sa.and_(team_members.c.user_id == user_id, team_members.c.source == "group")
    current = set(connection.execute(sa.select(team_members.c.team_id).where(of_user)).scalars())
    if current - wanted:
        connection.execute(team_members.delete().where(of_user, team_members.c.team_id.in_(current - wanted)))
    rows: list[dict[str, Any]] = [
        {"team_id": team, "user_id": user_id, "source": "group"} for team in sorted(wanted - current)
    ]
    if rows:
        connection.execute(team_members.insert(), rows)
    if current != wanted:
        changes: dict[str, Any] = {"joined": wanted - current, "left": current - wanted}
        record(connection, "team_member.sync", f"user/{user_id}", **changes)
