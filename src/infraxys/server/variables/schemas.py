"""The shapes of variables: what is sent, and what is answered."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from sqlalchemy.engine import RowMapping

from infraxys.kit.clock import timestamp
from infraxys.server.accounts.schemas import Body
from infraxys.server.variables.levels import CONTAINER, PROJECT, Level
from infraxys.spec.names import is_safe_file_name

MAX_VALUE = 64 * 1024  # bytes
_STORE_PATH = re.compile(r"[0-9A-Za-z_@+=,.-]+(/[0-9A-Za-z_@+=,.-]+)*\Z")


def _file_name(value: str) -> str:
    if not is_safe_file_name(value):
        raise ValueError("a name is at most 200 bytes without / and \\, and does not begin with -")
    return value


def _value(value: str) -> str:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("the value is no text") from None
    if "\0" in value:
        raise ValueError("the value has a NUL character, which no environment variable can hold")
    if size > MAX_VALUE:
        raise ValueError(f"the value is longer than {MAX_VALUE} bytes")
    return value


def _store_path(value: str) -> str:
    if _STORE_PATH.match(value) is None or {".", ".."} & set(value.split("/")):
        raise ValueError("a path has parts of letters, digits and _@+=,.- with / between them")
    return value


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_file_name)]
Type = Annotated[str, Field(max_length=200), AfterValidator(lambda value: value and _file_name(value))]
Value = Annotated[str, AfterValidator(_value)]


class Reference(Body):
    """Where a value is in another store: a field of a secret of a KV version 2 engine, read when a run starts."""

    store: Literal["vault"] = "vault"
    path: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_store_path)]
    field: Annotated[str, Field(min_length=1, max_length=200)]


class SetVariable(Body):
    """A variable as it is to be: with its value, or with where that is. What is left out is as documented here."""

    value: Value | None = Field(default=None, repr=False)
    reference: Reference | None = None
    type: Type = ""
    protect: bool | None = Field(
        default=None, description="a secret: its value is never shown again. Values of other stores always are secrets"
    )
    allow_overrides: bool = Field(default=True, description="whether levels below may have another value for the name")
    export: bool = Field(default=False, description="as environment variable")
    save_to_file: bool = Field(
        default=False, description="as /tmp/infraxys/variables/<name>, or …/<type>/<name> where there is a type"
    )

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"value": "s3cr3t!", "protect": True, "export": True}]}
    )  # fmt: skip


class ChangeVariable(Body):
    """What to change of a variable; what is left out stays."""

    value: Value | None = Field(default=None, repr=False)
    reference: Reference | None = None
    type: Type | None = None
    protect: bool | None = None
    allow_overrides: bool | None = None
    export: bool | None = None
    save_to_file: bool | None = None


def variable_object(row: RowMapping | Mapping[str, Any], value: str | None) -> dict[str, Any]:
    """Write a variable; `value` is None where it is a secret."""
    return {
        "id": row["id"],
        "name": row["name"],
        "type": row["type"],
        "value": value,
        "reference": None if row["reference"] is None else json.loads(row["reference"]),
        "protect": bool(row["is_protected"]),
        "allowOverrides": bool(row["allow_overrides"]),
        "export": bool(row["is_exported"]),
        "saveToFile": bool(row["is_file"]),
        "version": row["version"],
        **level_object(level_of(row)),
        "createdAt": timestamp(row["created_at"]),
        "updatedAt": timestamp(row["updated_at"]),
        "updatedBy": row["updated_by"],
    }


def level_of(row: RowMapping | Mapping[str, Any]) -> Level:
    """Read where a variable is."""
    return Level(
        row["kind"],
        row["project_id"] or "",
        row["module"],
        row["environment_id"],
        row["branch"],
        bool(row["is_prefix"]),
        row["container_id"],
    )


def level_object(level: Level) -> dict[str, Any]:
    """Write where a variable is."""
    if level.kind == PROJECT:
        return {"level": level.kind, "projectId": level.project_id}
    place = {
        "level": level.kind,
        "module": level.module,
        "branch": f"{level.branch}*" if level.is_prefix else level.branch,
        "environmentId": level.environment_id,
    }
    return {**place, "containerId": level.container_id} if level.kind == CONTAINER else place
