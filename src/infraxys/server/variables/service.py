"""Setting variables: the rules for each, in one transaction with the caller's rights in it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.engine import Connection, RowMapping

from infraxys.kit.clock import new_id, utc_now
from infraxys.server.auth.permissions import check
from infraxys.server.auth.rights import ROOT
from infraxys.server.auth.subject import Subject
from infraxys.server.projects import projects
from infraxys.server.variables import repository
from infraxys.server.variables.errors import (
    BadVariable,
    ReferenceNotAllowed,
    SecretsUnusable,
    TooManyVariables,
    UnknownPlace,
    UnknownVariable,
)
from infraxys.server.variables.keys import KeyProblem, KeyRing
from infraxys.server.variables.levels import CONTAINER, PROJECT, Level
from infraxys.server.variables.schemas import ChangeVariable, Reference, SetVariable, level_of, variable_object
from infraxys.spec.names import is_exportable

MAX_OF_LEVEL = 500
MODIFY = "variable.modify"
Row = dict[str, Any]
AnyRow = RowMapping | Row


def check_level(connection: Connection, subject: Subject, level: Level, grant: str) -> None:
    """Refuse who has not the grant on the level's project. Raises UnknownProject, UnknownPlace and Forbidden."""
    if level.kind == PROJECT:
        projects.find(connection, subject, level.project_id, grant)
        return
    policy = subject.rights.policy
    owner = level.owner(policy)
    what, wanted = ("environment", level.environment_id)
    if level.kind == CONTAINER:
        what, wanted = ("container", level.container_id)
    unknown = UnknownPlace(what, wanted)
    check(subject, grant, owner, unknown, "variable.list", "environment.read")
    if level.kind == CONTAINER:
        needed = policy.protecting(level.module, level.environment_id, level.container_id, owner)
        if any(not subject.may(custom, owner) for custom in needed):
            raise unknown


class VariableService:
    """Reads and changes variables. `tell` is given each new secret before anything else can have it."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self.tell: Callable[[Sequence[str]], None] = lambda _secrets: None

    def list(self, connection: Connection, subject: Subject, level: Level) -> list[dict[str, Any]]:
        """Give the variables of a level."""
        check_level(connection, subject, level, "variable.list")
        return [self._written(row) for row in repository.of_level(connection, level)]

    def get(self, connection: Connection, subject: Subject, level: Level, name: str) -> dict[str, Any]:
        """Give a variable of a level. Raises UnknownVariable."""
        check_level(connection, subject, level, "variable.list")
        return self._written(_found(connection, level, name))

    def replace(
        self, connection: Connection, subject: Subject, level: Level, name: str, given: SetVariable
    ) -> tuple[dict[str, Any], bool]:
        """Set a variable, whether it was there or not; tells whether it is new."""
        check_level(connection, subject, level, MODIFY)
        repository.lock(connection)
        existing = repository.find(connection, level, name)
        if existing is None and len(repository.of_level(connection, level)) >= MAX_OF_LEVEL:
            raise TooManyVariables(f"there are {MAX_OF_LEVEL} variables already, which is the most that is possible")
        if given.value is None and given.reference is None:
            raise BadVariable("a variable needs a value, or a reference to where it is")
        now = utc_now()
        row: Row = {
            "id": existing["id"] if existing else new_id(),
            "kind": level.kind,
            "project_id": level.project_id or None,
            "module": level.module,
            "environment_id": level.environment_id,
            "branch": level.branch,
            "is_prefix": level.is_prefix,
            "container_id": level.container_id,
            "level_key": level.key,
            "name": name,
            "type": given.type,
            "is_protected": given.reference is not None if given.protect is None else given.protect,
            "allow_overrides": given.allow_overrides,
            "is_exported": given.export,
            "is_file": given.save_to_file,
            "version": existing["version"] + 1 if existing else 1,
            "created_at": existing["created_at"] if existing else now,
        }
        self._finish(subject, row, given.value, given.reference)
        (repository.update if existing else repository.insert)(connection, row)
        return self._written(row), existing is None

    def update(
        self, connection: Connection, subject: Subject, level: Level, name: str, given: ChangeVariable
    ) -> dict[str, Any]:
        """Change what is given of a variable. Raises UnknownVariable."""
        check_level(connection, subject, level, MODIFY)
        repository.lock(connection)
        existing = _found(connection, level, name)
        row: Row = dict(existing)
        columns = {
            "type": given.type,
            "is_protected": given.protect,
            "allow_overrides": given.allow_overrides,
            "is_exported": given.export,
            "is_file": given.save_to_file,
        }
        row |= {column: value for column, value in columns.items() if value is not None}
        value, reference = given.value, given.reference
        if value is None and reference is None:
            if existing["is_protected"] and not row["is_protected"]:
                raise BadVariable("a protected variable can only lose its protection together with a new value")
            if existing["reference"] is not None:
                reference = Reference.model_validate_json(existing["reference"])
            elif bool(existing["is_protected"]) != row["is_protected"]:
                value = self._opened(existing)
        elif reference is not None and given.protect is None:
            row["is_protected"] = True
        if value is not None or given.reference is not None:
            row["version"] += 1
        self._finish(subject, row, value, reference)
        repository.update(connection, row)
        return self._written(row)

    def delete(self, connection: Connection, subject: Subject, level: Level, name: str) -> str:
        """Remove a variable; gives its id. Raises UnknownVariable."""
        check_level(connection, subject, level, "variable.delete")
        repository.lock(connection)
        row = _found(connection, level, name)
        repository.delete(connection, row["id"])
        variable_id: str = row["id"]
        return variable_id

    def _finish(self, subject: Subject, row: Row, value: str | None, reference: Reference | None) -> None:
        """Check a row as a whole, and put what it holds into it."""
        if row["is_exported"] and not is_exportable(row["name"]):
            raise BadVariable(
                f"'{row['name']}' cannot be an environment variable: letters, digits and _ only, and none that steers "
                "the shell or a program"
            )
        if value is not None and reference is not None:
            raise BadVariable("a variable has a value or a reference, not both")
        if reference is not None:
            if not row["is_protected"]:
                raise BadVariable("a value of another store is always protected")
            check_reference(subject, level_of(row), reference)
            row |= {"sealed": None, "key_id": None, "reference": reference.model_dump_json(by_alias=True)}
        if value is not None:
            if row["is_protected"]:
                self.tell([value])
            row |= self._sealed(value, row)
        row |= {"updated_at": utc_now(), "updated_by": subject.name[:200]}

    def _sealed(self, value: str, row: Row) -> Row:
        try:
            sealed = self._keys.seal(value.encode(), repository.bound_of(row))
        except KeyProblem as error:
            raise SecretsUnusable(str(error)) from error
        return {"sealed": sealed, "key_id": self._keys.key_id, "reference": None}

    def _written(self, row: AnyRow) -> dict[str, Any]:
        return variable_object(row, None if row["is_protected"] else self._opened(row))

    def _opened(self, row: AnyRow) -> str:
        try:
            return self._keys.unseal(row["sealed"], repository.bound_of(row)).decode()
        except KeyProblem as error:
            raise SecretsUnusable(str(error)) from error


def _found(connection: Connection, level: Level, name: str) -> RowMapping:
    row = repository.find(connection, level, name)
    if row is None:
        raise UnknownVariable(name)
    return row


def check_reference(subject: Subject, level: Level, reference: Reference) -> None:
    """Refuse a path that the level's project may not read: the server itself may read those of all projects."""
    policy = subject.rights.policy
    own = tuple(f"projects/{project_id}/" for project_id in policy.path(level.owner(policy)))
    if not reference.path.startswith(own) and not subject.may(MODIFY, ROOT):
        raise ReferenceNotAllowed(
            f"the path has to begin with '{own[0]}'; others need the grant '{MODIFY}' on the root project"
        )


def rotate(connection: Connection, keys: KeyRing) -> int:
    """Seal every value's key under the master key of now; gives how many were not. Raises KeyProblem."""
    repository.lock(connection)
    rows = repository.sealed_under_others(connection, keys.key_id)
    for row in rows:
        sealed = keys.rewrap(row["sealed"], repository.bound_of(row))
        repository.update(connection, {"id": row["id"], "sealed": sealed, "key_id": keys.key_id})
    return len(rows)


def describe(given: SetVariable | ChangeVariable, level: Level) -> dict[str, Any]:
    """Give what the audit trail says of a change: everything but the value."""
    details = json.loads(given.model_dump_json(exclude={"value"}, exclude_unset=True))
    if given.value is not None:
        details["has_new_value"] = True
    return {"level": "/".join(level.path), **details}
