"""Custom grants and what they protect. Every function works in one transaction, with the caller's rights.

Actions ask for custom grants by name as well as by id (`has_grant`). So that nobody can make one that passes for
another, a name is taken once on every path from the root down.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from infraxys.kit.clock import new_id, utc_now
from infraxys.server.auth.grants import GRANTS
from infraxys.server.auth.permissions import check
from infraxys.server.auth.subject import Subject
from infraxys.server.db.tables import container_protections, custom_grants, team_grants
from infraxys.server.errors import Forbidden
from infraxys.server.projects import projects, schemas
from infraxys.server.projects.errors import GrantInUse, NameTaken, TooMany, UnknownEntry, UnknownGrant

MAX_CUSTOM = 2000
MAX_PROTECTED = 2000


def find(connection: Connection, subject: Subject, grant_id: str, grant: str) -> RowMapping:
    """Give a custom grant on whose project the caller has a grant. Raises UnknownGrant and Forbidden."""
    row = connection.execute(sa.select(custom_grants).where(custom_grants.c.id == grant_id)).mappings().first()
    if row is None:
        raise UnknownGrant(grant_id)
    check(subject, grant, row["project_id"], UnknownGrant(grant_id), "grant.list")
    return row


def catalogue(connection: Connection, subject: Subject, project_id: str | None) -> list[dict[str, Any]]:
    """Give the built-in grants, then the custom ones that the caller may know of: of all projects, or usable in one."""
    query = sa.select(custom_grants).order_by(custom_grants.c.name_key, custom_grants.c.id)
    if project_id is not None:
        projects.find(connection, subject, project_id, "grant.list")
        query = query.where(custom_grants.c.project_id.in_(list(subject.rights.policy.path(project_id))))
    rows = connection.execute(query).mappings()
    custom = [
        schemas.custom_object(row)
        for row in rows
        # What can be given in a project is known to those who may see grants there, wherever it was made.
        if project_id is not None or subject.may("grant.list", row["project_id"])
    ]
    return [*(schemas.built_in_object(name) for name in GRANTS), *custom]


def create(connection: Connection, subject: Subject, given: schemas.NewGrant) -> str:
    """Make a custom grant; gives its id."""
    projects.find(connection, subject, given.project_id, "grant.create")
    if len(subject.rights.policy.custom) >= MAX_CUSTOM:
        raise TooMany(f"there are {MAX_CUSTOM} custom grants already, which is the most that is possible")
    check_name(subject, given.project_id, given.name)
    grant_id = new_id()
    values = {**given.model_dump(), "id": grant_id, "name_key": schemas.key_of(given.name), "created_at": utc_now()}
    connection.execute(custom_grants.insert().values(values))
    return grant_id


def update(connection: Connection, subject: Subject, grant_id: str, given: schemas.ChangeGrant) -> None:
    """Rename and describe a custom grant. Its id, by which actions should ask for it, stays."""
    row = find(connection, subject, grant_id, "grant.modify")
    values: dict[str, Any] = {}
    if given.name is not None:
        check_name(subject, row["project_id"], given.name, but=grant_id)
        values |= {"name": given.name, "name_key": schemas.key_of(given.name)}
    if given.description is not None:
        values["description"] = given.description
    if values:
        connection.execute(custom_grants.update().where(custom_grants.c.id == grant_id).values(values))


def delete(connection: Connection, subject: Subject, grant_id: str) -> None:
    """Remove a custom grant, which protects nothing any more; the teams that had it lose it."""
    find(connection, subject, grant_id, "grant.delete")
    if connection.execute(sa.select(container_protections.c.id).filter_by(grant_id=grant_id)).first() is not None:
        raise GrantInUse("the grant protects containers; take the protection from them first")
    connection.execute(team_grants.delete().where(team_grants.c.grant == grant_id))
    connection.execute(custom_grants.delete().where(custom_grants.c.id == grant_id))


def check_name(subject: Subject, project_id: str, name: str, but: str = "") -> None:
    """Refuse a name that a custom grant of a project above or below has."""
    policy = subject.rights.policy
    related = {*policy.path(project_id), *policy.subtree(project_id)}
    for item in policy.custom.values():
        if item.id != but and item.project_id in related and schemas.key_of(item.name) == schemas.key_of(name):
            raise NameTaken(
                f"the name '{name}' is taken by a custom grant of this project, or of one above or below it"
            )


# -- protected containers --


def protected(connection: Connection, subject: Subject, grant_id: str) -> list[dict[str, Any]]:
    """Give the containers that a custom grant protects."""
    find(connection, subject, grant_id, "grant.list")
    table = container_protections
    query = sa.select(table).where(table.c.grant_id == grant_id).order_by(table.c.id)
    return [schemas.protection_object(row) for row in connection.execute(query).mappings()]


def protect(connection: Connection, subject: Subject, grant_id: str, given: schemas.ProtectContainer) -> dict[str, Any]:
    """Let only those see a container and execute in it who have the grant."""
    find(connection, subject, grant_id, "grant.modify")
    table = container_protections
    if connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() >= MAX_PROTECTED:
        raise TooMany(f"there are {MAX_PROTECTED} protected containers already, which is the most that is possible")
    where = {"grant_id": grant_id, **given.model_dump()}
    row = connection.execute(sa.select(table).filter_by(**where)).mappings().first()
    if row is None:
        connection.execute(table.insert().values(id=new_id(), **where))
        row = connection.execute(sa.select(table).filter_by(**where)).mappings().one()
    return schemas.protection_object(row)


def unprotect(connection: Connection, subject: Subject, grant_id: str, entry_id: str) -> None:
    """Open a protected container again; who does it must have the grant."""
    row = find(connection, subject, grant_id, "grant.modify")
    if not subject.may(grant_id, row["project_id"]):
        raise Forbidden(row["name"])
    if connection.execute(container_protections.delete().filter_by(id=entry_id, grant_id=grant_id)).rowcount == 0:
        raise UnknownEntry("protected container", entry_id)
