"""The tree of projects and what is in them. Every function works in one transaction, with the caller's rights in it."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from infraxys.kit.clock import new_id, utc_now
from infraxys.server.auth.grants import ADMINISTER
from infraxys.server.auth.permissions import check
from infraxys.server.auth.places import Place, check_place
from infraxys.server.auth.rights import ROOT, Policy
from infraxys.server.auth.subject import Subject
from infraxys.server.db.tables import (
    container_protections,
    custom_grants,
    project_containers,
    project_environments,
    projects,
    team_grants,
    teams,
)
from infraxys.server.projects import schemas
from infraxys.server.projects.errors import (
    NameTaken,
    NotPossibleHere,
    OnlyAdministrators,
    ProjectNotEmpty,
    TooMany,
    UnknownEntry,
    UnknownProject,
)

MAX_DEPTH = 10  # below the root
MAX_PROJECTS = 5000
MAX_ENTRIES = 5000  # environments or containers of one project
KNOWN_BY = ("project.list", "project.read")


def row_of(connection: Connection, project_id: str) -> RowMapping:
    """Give a project, whoever asks. Raises UnknownProject."""
    row = connection.execute(sa.select(projects).where(projects.c.id == project_id)).mappings().first()
    if row is None:
        raise UnknownProject(project_id)
    return row


def find(connection: Connection, subject: Subject, project_id: str, grant: str) -> RowMapping:
    """Give a project on which the caller has a grant. Raises UnknownProject and Forbidden."""
    row = row_of(connection, project_id)
    check(subject, grant, project_id, UnknownProject(project_id), *KNOWN_BY)
    return row


def tree(connection: Connection, subject: Subject) -> list[dict[str, Any]]:
    """Give every project that the caller may know of, each behind the one above it and by name among its neighbours."""
    visible = subject.projects_with("project.list")
    below: dict[str | None, list[RowMapping]] = {}
    for row in connection.execute(sa.select(projects).order_by(projects.c.name_key.desc())).mappings():
        below.setdefault(row["parent_id"], []).append(row)
    found = []
    waiting = [(row, 0) for row in below.get(None, ())]
    while waiting:
        row, depth = waiting.pop()
        if visible is None or row["id"] in visible:
            parent_id = row["parent_id"]
            found.append(
                schemas.project_object(row, parent_id if visible is None or parent_id in visible else None, depth)
            )
        waiting += [(child, depth + 1) for child in below.get(row["id"], ())]
    return found


def written(subject: Subject, row: RowMapping) -> dict[str, Any]:
    """Write one project with what the caller may do on it."""
    project_id, parent_id = row["id"], row["parent_id"]
    policy = subject.rights.policy
    is_parent_known = parent_id is not None and subject.may("project.list", parent_id)
    return {
        **schemas.project_object(row, parent_id if is_parent_known else None, depth_of(policy, project_id)),
        "grants": sorted(subject.grants_on(project_id)),
    }


def create(connection: Connection, subject: Subject, given: schemas.NewProject) -> str:
    """Make a project with its administrators team; gives its id."""
    find(connection, subject, given.parent_id, "project.create")
    policy = subject.rights.policy
    check_depth(depth_of(policy, given.parent_id) + 1)
    if len(policy.parents) >= MAX_PROJECTS:
        raise TooMany(f"there are {MAX_PROJECTS} projects already, which is the most that is possible")
    check_name(connection, given.parent_id, given.name)
    project_id, now = new_id(), utc_now()
    values = {"id": project_id, "parent_id": given.parent_id, "name": given.name, "description": given.description}
    connection.execute(projects.insert().values(**values, name_key=schemas.key_of(given.name), created_at=now))
    connection.execute(
        teams.insert().values(
            id=new_id(),
            project_id=project_id,
            name=schemas.ADMINISTRATORS,
            name_key=schemas.ADMINISTRATORS,
            is_administrators=True,
            created_at=now,
        )
    )
    return project_id


def update(connection: Connection, subject: Subject, project_id: str, given: schemas.ChangeProject) -> None:
    """Rename, describe and move a project."""
    row = find(connection, subject, project_id, "project.modify")
    parent_id, name = row["parent_id"], row["name"] if given.name is None else given.name
    if given.parent_id is not None and given.parent_id != parent_id:
        check_move(connection, subject, row, given.parent_id)
        drop_grants_from_elsewhere(connection, subject.rights.policy, project_id, given.parent_id)
        parent_id = given.parent_id
    if parent_id is not None:
        check_name(connection, parent_id, name, but=project_id)
    connection.execute(
        projects.update()
        .where(projects.c.id == project_id)
        .values(
            parent_id=parent_id,
            name=name,
            name_key=schemas.key_of(name),
            description=row["description"] if given.description is None else given.description,
            **cache_settings(connection, row, given),
            limits=row["limits"] if given.limits is None else schemas.limits_text(given.limits),
        )
    )


def cache_settings(connection: Connection, row: RowMapping, given: schemas.ChangeProject) -> dict[str, Any]:
    """Give what is sent about sharing the project's cache. An alias is unique in the whole installation."""
    alias = row["cache_alias"] if given.cache_alias is None else given.cache_alias or None
    taken = sa.select(projects.c.id).where(sa.func.lower(projects.c.cache_alias) == (alias or "").lower())
    if alias and connection.execute(taken.where(projects.c.id != row["id"])).first() is not None:
        raise NameTaken(f"another project's cache has the alias '{alias}' already")
    shares = row["shares_cache"] if given.shares_cache is None else given.shares_cache
    return {"cache_alias": alias, "shares_cache": shares}


def check_move(connection: Connection, subject: Subject, row: RowMapping, parent_id: str) -> None:
    """Refuse a move that makes no tree, or that the caller may not decide.

    A move gives the people of the new place rights, and takes them from those of the old one.
    """
    policy: Policy = subject.rights.policy
    project_id = row["id"]
    if row["parent_id"] is None:
        raise NotPossibleHere("the root project cannot be moved")
    if not subject.may(ADMINISTER, row["parent_id"]):
        raise OnlyAdministrators("moving a project")
    find(connection, subject, parent_id, "project.create")
    below = list(policy.subtree(project_id))
    if parent_id in below:
        raise NotPossibleHere("a project cannot be moved below itself")
    height = max(depth_of(policy, item) for item in below) - depth_of(policy, project_id)
    check_depth(depth_of(policy, parent_id) + 1 + height)
    above = set(policy.path(parent_id))
    named = {schemas.key_of(item.name) for item in policy.custom.values() if item.project_id in above}
    for item in policy.custom.values():
        if item.project_id in below and schemas.key_of(item.name) in named:
            raise NameTaken(f"there is a custom grant '{item.name}' both here and where the project goes")


def drop_grants_from_elsewhere(connection: Connection, policy: Policy, project_id: str, parent_id: str) -> None:
    """Take what a moved project and those below have from teams and custom grants that are not above any more."""
    below = list(policy.subtree(project_id))
    still = {*below, *policy.path(parent_id)}
    gone = [team.id for team in policy.teams.values() if team.project_id not in still]
    gone_grants = [grant.id for grant in policy.custom.values() if grant.project_id not in still]
    connection.execute(
        team_grants.delete().where(
            team_grants.c.project_id.in_(below),
            sa.or_(team_grants.c.team_id.in_(gone), team_grants.c.grant.in_(gone_grants)),
        )
    )


def delete(connection: Connection, subject: Subject, project_id: str) -> None:
    """Remove a project that has nothing in it any more, with its teams."""
    find(connection, subject, project_id, "project.delete")
    if project_id == ROOT:
        raise NotPossibleHere("the root project cannot be deleted")
    own = sa.select(custom_grants.c.id).where(custom_grants.c.project_id == project_id)
    for what, query in (
        ("projects below it", sa.select(projects.c.id).where(projects.c.parent_id == project_id)),
        (
            "environments attached to it",
            sa.select(project_environments.c.id).where(project_environments.c.project_id == project_id),
        ),
        (
            "containers that its custom grants protect",
            sa.select(container_protections.c.id).where(container_protections.c.grant_id.in_(own)),
        ),
    ):
        if connection.execute(query.limit(1)).first() is not None:
            raise ProjectNotEmpty(f"the project still has {what}")
    connection.execute(team_grants.delete().where(team_grants.c.grant.in_(own)))
    connection.execute(custom_grants.delete().where(custom_grants.c.project_id == project_id))
    connection.execute(projects.delete().where(projects.c.id == project_id))


# -- environments --


def environments(connection: Connection, subject: Subject, project_id: str) -> list[dict[str, Any]]:
    """Give the environments that are attached to a project."""
    find(connection, subject, project_id, "project.read")
    table = project_environments
    query = sa.select(table).where(table.c.project_id == project_id)
    rows = connection.execute(query.order_by(table.c.module, table.c.environment_id, table.c.branch)).mappings()
    return [schemas.attachment_object(row) for row in rows]


def attach(
    connection: Connection,
    subject: Subject,
    project_id: str,
    given: schemas.AttachEnvironment,
    *,
    is_new: bool = False,
) -> dict[str, Any]:
    """Attach an environment to a project, in place of the one that has it for the same branches.

    One that was made for the project just now (`is_new`) is taken from nobody.
    """
    find(connection, subject, project_id, "environment.create" if is_new else "project.modify")
    is_prefix = given.branch.endswith(schemas.EVERY_BRANCH)
    branch = given.branch.removesuffix(schemas.EVERY_BRANCH)
    losing = subject.rights.policy.losing(given.module, given.environment_id, branch, is_prefix=is_prefix)
    if losing != project_id and not is_new and not subject.may(ADMINISTER, losing):
        raise OnlyAdministrators("attaching an environment")
    check_count(connection, project_environments, project_id)
    where = {
        "module": given.module,
        "environment_id": given.environment_id,
        "branch": branch,
        "is_prefix": is_prefix,
    }
    connection.execute(project_environments.delete().filter_by(**where))
    entry_id = new_id()
    connection.execute(
        project_environments.insert().values(id=entry_id, project_id=project_id, created_at=utc_now(), **where)
    )
    row = connection.execute(sa.select(project_environments).filter_by(id=entry_id)).mappings().one()
    return schemas.attachment_object(row)


def detach(connection: Connection, subject: Subject, project_id: str, entry_id: str) -> None:
    """Take an environment from a project; a wider attachment or the root project has it then."""
    find(connection, subject, project_id, "project.modify")
    found = sa.select(project_environments).filter_by(id=entry_id, project_id=project_id)
    row = connection.execute(found).mappings().first()
    if row is None:
        raise UnknownEntry("attached environment", entry_id)
    connection.execute(project_environments.delete().filter_by(id=entry_id))
    policy = without(subject.rights.policy, row)
    gaining = policy.losing(row["module"], row["environment_id"], row["branch"], is_prefix=bool(row["is_prefix"]))
    if gaining != project_id and not subject.may(ADMINISTER, project_id):
        raise OnlyAdministrators("detaching an environment")


def without(policy: Policy, row: RowMapping) -> Policy:
    """Give the attachments of one environment as they are when one of them is gone."""
    key = (row["module"], row["environment_id"])
    rest = tuple(
        item
        for item in policy.attachments.get(key, ())
        if (item.branch, item.is_prefix) != (row["branch"], bool(row["is_prefix"]))
    )
    return Policy(attachments={key: rest})


# -- included containers --


def included(connection: Connection, subject: Subject, project_id: str) -> list[dict[str, Any]]:
    """Give the containers that a project includes, and those that it inherits from the projects above."""
    find(connection, subject, project_id, "project.read")
    path = list(subject.rights.policy.path(project_id))
    rows = connection.execute(sa.select(project_containers).where(project_containers.c.project_id.in_(path))).mappings()
    ordered = sorted(rows, key=lambda row: (path.index(row["project_id"]), row["id"]))
    return [
        schemas.included_object(row, is_inherited=row["project_id"] != project_id)
        for row in ordered
    ]  # fmt: skip


def include(
    connection: Connection, subject: Subject, project_id: str, given: schemas.IncludeContainer
) -> dict[str, Any]:
    """Share a container, which the caller must be able to see, with the environments of a project and below."""
    find(connection, subject, project_id, "project.modify")
    place = Place(given.module, given.branch, given.environment_id)
    check_place(subject, "environment.read", place, [given.container_id])
    check_count(connection, project_containers, project_id)
    where = {"project_id": project_id, **given.model_dump(exclude={"allow_overrides"})}
    connection.execute(project_containers.delete().filter_by(**where))
    entry_id = new_id()
    connection.execute(
        project_containers.insert().values(
            id=entry_id, allow_overrides=given.allow_overrides, created_at=utc_now(), **where
        )
    )
    row = connection.execute(sa.select(project_containers).filter_by(id=entry_id)).mappings().one()
    return schemas.included_object(row, is_inherited=False)


def exclude(connection: Connection, subject: Subject, project_id: str, entry_id: str) -> None:
    """Do not share a container any more."""
    find(connection, subject, project_id, "project.modify")
    if connection.execute(project_containers.delete().filter_by(id=entry_id, project_id=project_id)).rowcount == 0:
        raise UnknownEntry("included container", entry_id)


# -- rules --


def depth_of(policy: Policy, project_id: str) -> int:
    """Give how far below the root a project is."""
    return sum(1 for _ in policy.path(project_id)) - 1


def check_depth(depth: int) -> None:
    """Keep the tree bounded."""
    if depth > MAX_DEPTH:
        raise NotPossibleHere(f"projects can be {MAX_DEPTH} levels deep, and this would make {depth}")


def check_name(connection: Connection, parent_id: str, name: str, but: str = "") -> None:
    """Refuse a name that a neighbour has."""
    table = projects.c
    query = sa.select(table.id).where(table.parent_id == parent_id, table.name_key == schemas.key_of(name))
    if connection.execute(query.where(table.id != but)).first() is not None:
        raise NameTaken(f"there is a project '{name}' at that place already")


def check_count(connection: Connection, table: sa.Table, project_id: str) -> None:
    """Keep a project bounded."""
    query = sa.select(sa.func.count()).select_from(table).where(table.c.project_id == project_id)
    if connection.execute(query).scalar_one() >= MAX_ENTRIES:
        raise TooMany(f"the project has {MAX_ENTRIES} of these, which is the most that is possible")
