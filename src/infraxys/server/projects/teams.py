"""Teams, their members and what they were given. Every function works in one transaction, with the caller's rights.

Nobody gives more than he has: neither by giving a grant, nor by making somebody a member of a team that has it.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from infraxys.kit.clock import new_id, utc_now
from infraxys.server.auth import users
from infraxys.server.auth.access import sync_members
from infraxys.server.auth.grants import ADMINISTER, BUNDLES, GRANTS, is_server_wide
from infraxys.server.auth.permissions import check, lacking
from infraxys.server.auth.rights import ROOT
from infraxys.server.auth.subject import Subject
from infraxys.server.auth.users import UserProblem
from infraxys.server.db.tables import team_grants, team_members, teams
from infraxys.server.db.tables import users as accounts
from infraxys.server.errors import Forbidden
from infraxys.server.projects import projects, schemas
from infraxys.server.projects.errors import (
    BadGrant,
    NameTaken,
    NotPossibleHere,
    TooMany,
    UnknownGrant,
    UnknownMember,
    UnknownTeam,
)

MAX_TEAMS = 10_000
MANUAL, GROUP = "manual", "group"


def find(connection: Connection, subject: Subject, team_id: str, grant: str) -> RowMapping:
    """Give a team on whose project the caller has a grant. Raises UnknownTeam and Forbidden."""
    row = connection.execute(sa.select(teams).where(teams.c.id == team_id)).mappings().first()
    if row is None:
        raise UnknownTeam(team_id)
    check(subject, grant, row["project_id"], UnknownTeam(team_id), "team.list", "team.read")
    return row


def known(connection: Connection, subject: Subject, team_id: str, grant: str) -> RowMapping:
    """Give a team that the caller may know of, if only by having the grant on its project. Raises UnknownTeam."""
    row = connection.execute(sa.select(teams).where(teams.c.id == team_id)).mappings().first()
    if row is None or not any(subject.may(item, row["project_id"]) for item in (grant, "team.list", "team.read")):
        raise UnknownTeam(team_id)
    return row


def page(
    connection: Connection, subject: Subject, *, project_id: str | None, after: str | None, limit: int,
    is_reversed: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Give the teams behind an id that the caller may know of, of all projects or of one. Ids sort by time."""
    query = sa.select(teams).order_by(teams.c.id.desc() if is_reversed else teams.c.id).limit(limit)
    if after is not None:
        query = query.where(teams.c.id < after if is_reversed else teams.c.id > after)
    visible = subject.projects_with("team.list")
    if visible is not None:
        query = query.where(teams.c.project_id.in_(sorted(visible)))
    if project_id is not None:
        query = query.where(teams.c.project_id == project_id)
    return [schemas.team_object(row) for row in connection.execute(query).mappings()]


def create(connection: Connection, subject: Subject, given: schemas.NewTeam) -> str:
    """Make a team, which may do nothing yet; gives its id."""
    projects.find(connection, subject, given.project_id, "team.create")
    if connection.execute(sa.select(sa.func.count()).select_from(teams)).scalar_one() >= MAX_TEAMS:
        raise TooMany(f"there are {MAX_TEAMS} teams already, which is the most that is possible")
    check_name(connection, given.project_id, given.name)
    team_id = new_id()
    values = {**given.model_dump(), "id": team_id, "name_key": schemas.key_of(given.name), "created_at": utc_now()}
    connection.execute(teams.insert().values(values))
    sync_members(connection, team_id, given.external_group)
    return team_id


def update(connection: Connection, subject: Subject, team_id: str, given: schemas.ChangeTeam) -> None:
    """Rename and describe a team, and choose the group whose members are in it."""
    row = find(connection, subject, team_id, "team.modify")
    values: dict[str, Any] = {}
    if given.name is not None and given.name != row["name"]:
        keep_administrators(row, "renamed")
        check_name(connection, row["project_id"], given.name, but=team_id)
        values |= {"name": given.name, "name_key": schemas.key_of(given.name)}
    if given.description is not None:
        values["description"] = given.description
    if given.external_group is not None and (given.external_group or None) != row["external_group"]:
        check_covers(subject, row)
        values["external_group"] = given.external_group or None
        sync_members(connection, team_id, values["external_group"])
    if values:
        connection.execute(teams.update().where(teams.c.id == team_id).values(values))


def delete(connection: Connection, subject: Subject, team_id: str) -> None:
    """Remove a team; its members lose with the next request what it gave them."""
    keep_administrators(find(connection, subject, team_id, "team.delete"), "deleted")
    connection.execute(teams.delete().where(teams.c.id == team_id))


# -- members --


def members(connection: Connection, subject: Subject, team_id: str, *, after: str, limit: int) -> list[dict[str, Any]]:
    """Give the members of a team behind a name, by name."""
    find(connection, subject, team_id, "team.read")
    known = (accounts.c.id, accounts.c.name, accounts.c.display_name, accounts.c.disabled_at)
    source = sa.func.min(team_members.c.source).label("source")  # "group" before "manual"
    query = (
        sa.select(*known, source)
        .join(team_members, team_members.c.user_id == accounts.c.id)
        .where(team_members.c.team_id == team_id, accounts.c.name > after)
        .group_by(*known)
        .order_by(accounts.c.name)
        .limit(limit)
    )
    return [
        schemas.Member(
            id=row.id,
            name=row.name,
            display_name=row.display_name,
            is_disabled=row.disabled_at is not None,
            is_from_group=row.source == GROUP,
        ).written()
        for row in connection.execute(query)
    ]


def add_member(connection: Connection, subject: Subject, team_id: str, user: str) -> None:
    """Put an account, named by id or name, into a team. Does nothing for one that is in it."""
    row = find(connection, subject, team_id, "team.modify")
    check_covers(subject, row)
    entry = {"team_id": team_id, "user_id": account(connection, user), "source": MANUAL}
    if connection.execute(sa.select(team_members).filter_by(**entry)).first() is None:
        connection.execute(team_members.insert().values(entry))


def remove_member(connection: Connection, subject: Subject, team_id: str, user: str) -> None:
    """Take an account out of a team: with the next request it has lost what the team gave it."""
    row = find(connection, subject, team_id, "team.modify")
    if row["is_administrators"]:
        check_covers(subject, row)
    entry = {"team_id": team_id, "user_id": account(connection, user)}
    if connection.execute(team_members.delete().filter_by(**entry, source=MANUAL)).rowcount:
        return
    if connection.execute(sa.select(team_members).filter_by(**entry)).first() is None:
        raise UnknownMember(user, " in this team")
    group = row["external_group"]
    raise NotPossibleHere(f"the account is in the team because it is in the group '{group}' of the identity provider")


def account(connection: Connection, user: str) -> str:
    """Give the id of an account that is named by id or name."""
    found = users.find_by_id(connection, user)
    if found is None:
        try:
            found = users.find_user(connection, user)
        except UserProblem:
            found = None
    if found is None:
        raise UnknownMember(user, "")
    return str(found["id"])


# -- grants --


def given_to(connection: Connection, subject: Subject, team_id: str) -> list[dict[str, Any]]:
    """Give what a team was given, on the projects where the caller may see that."""
    find(connection, subject, team_id, "grant.list")
    policy = subject.rights.policy
    return [
        schemas.given_object(project_id, grant, policy.custom[grant].name if grant in policy.custom else None)
        for project_id, grants in sorted(policy.given.get(team_id, {}).items())
        if subject.may("grant.list", project_id)
        for grant in sorted(grants)
    ]


def give(connection: Connection, subject: Subject, team_id: str, given: schemas.GiveGrants) -> None:
    """Give grants, which the caller must have, to a team: on its project, or on one below that."""
    row = known(connection, subject, team_id, "grant.modify")
    project_id = given.project_id
    projects.find(connection, subject, project_id, "grant.modify")
    if row["project_id"] not in subject.rights.policy.path(project_id):
        raise BadGrant("a team can be given something on its own project and those below only")
    keep_administrators(row, "given grants; it has all of them")
    wanted = {grant for bundle in given.bundles for grant in grants_of(bundle)} | set(given.grants)
    for grant in sorted(wanted):
        check_giving(subject, project_id, grant)
    has = subject.rights.policy.given.get(team_id, {}).get(project_id, frozenset())
    missing = [{"team_id": team_id, "project_id": project_id, "grant": grant} for grant in sorted(wanted - has)]
    if missing:
        connection.execute(team_grants.insert(), missing)


def check_giving(subject: Subject, project_id: str, grant: str) -> None:
    """Refuse a grant that does not exist there, that cannot be given, or that the caller has not itself."""
    policy = subject.rights.policy
    custom = policy.custom.get(grant)
    if custom is not None and custom.project_id in policy.path(project_id):
        name = custom.name
    elif grant in GRANTS:
        name = grant
    else:
        raise UnknownGrant(grant)
    if grant == ADMINISTER:
        raise BadGrant(f"'{grant}' cannot be given: make somebody a member of the project's administrators team")
    if is_server_wide(grant) and project_id != ROOT:
        raise BadGrant(f"'{grant}' concerns the whole server, and can be given on the root project only")
    if not subject.may(grant, project_id):
        raise Forbidden(name)


def grants_of(bundle: str) -> tuple[str, ...]:
    """Give the grants of a bundle."""
    if bundle not in BUNDLES:
        raise BadGrant(f"there is no bundle '{bundle}' (there are: {', '.join(BUNDLES)})")
    return BUNDLES[bundle]


def take(connection: Connection, subject: Subject, team_id: str, project_id: str, grant: str) -> None:
    """Take a grant from a team."""
    known(connection, subject, team_id, "grant.modify")
    projects.find(connection, subject, project_id, "grant.modify")
    entry = {"team_id": team_id, "project_id": project_id, "grant": grant}
    if connection.execute(team_grants.delete().filter_by(**entry)).rowcount == 0:
        raise UnknownGrant(grant)


# -- rules --


def check_covers(subject: Subject, row: RowMapping) -> None:
    """Refuse who has not everything that a team has. Raises Forbidden naming what is missing."""
    missing = lacking(subject, [row["id"]])
    if missing is not None:
        raise Forbidden(missing)


def keep_administrators(row: RowMapping, what: str) -> None:
    """Refuse what would leave a project without its administrators team."""
    if row["is_administrators"]:
        raise NotPossibleHere(f"the administrators team of a project cannot be {what}")


def check_name(connection: Connection, project_id: str, name: str, but: str = "") -> None:
    """Refuse a name that another team of the project has."""
    query = sa.select(teams.c.id).where(teams.c.project_id == project_id, teams.c.name_key == schemas.key_of(name))
    if connection.execute(query.where(teams.c.id != but)).first() is not None:
        raise NameTaken(f"the project has a team '{name}' already")
