"""The shapes of projects, teams and grants: what is sent, and what is answered."""

import json
import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, field_validator
from sqlalchemy.engine import RowMapping

from infraxys.engine.limits import Network
from infraxys.kit.clock import timestamp
from infraxys.server.accounts.schemas import Body
from infraxys.server.auth.grants import BUNDLES, GRANTS, is_custom_id, is_server_wide
from infraxys.spec.identity import ModuleId

ADMINISTRATORS = "administrators"
EVERY_BRANCH = "*"
CACHE_ALIAS = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]*")


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("only characters that can be seen are possible")
    return value


def _text(value: str) -> str:
    if not all(character.isprintable() or character in "\n\t" for character in value):
        raise ValueError("only characters that can be seen, line ends and tabs are possible")
    return value


def _grant_name(value: str) -> str:
    if not all(character.isalnum() or character in " _-" for character in value) or is_custom_id(value.lower()):
        raise ValueError("the name of a grant has letters, digits, spaces, _ and - only, and is no id")
    return value


def _module(value: str) -> str:
    return str(ModuleId.parse(value))


def _branch(value: str) -> str:
    if EVERY_BRANCH in value[:-1]:
        raise ValueError("* can only be the last character of a branch")
    return value


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_printable)
]
GrantName = Annotated[Name, AfterValidator(_grant_name)]
Description = Annotated[str, Field(max_length=2000), AfterValidator(_text)]
ProjectId = Annotated[str, Field(min_length=1, max_length=36), AfterValidator(_printable)]
Id = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Module = Annotated[
    str,
    Field(min_length=5, max_length=500, description="host/org/repo"),
    AfterValidator(_printable),
    AfterValidator(_module),
]
GrantId = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
Group = Annotated[Name, Field(max_length=500)]


class NewProject(Body):
    """A project to make."""

    parent_id: ProjectId = "root"
    name: Name
    description: Description = ""

    model_config = ConfigDict(json_schema_extra={"examples": [{"parentId": "root", "name": "Payments"}]})


class ProjectLimits(Body):
    """What every action in a project and below it gets, and the most that it can ask for. Sizes are bytes."""

    memory_bytes: Annotated[int, Field(ge=16 * 1024**2, le=2**53)] | None = None
    processes: Annotated[int, Field(ge=4, le=2**22)] | None = None
    cpus: Annotated[float, Field(ge=0.01, le=4096, allow_inf_nan=False)] | None = None
    tmp_bytes: Annotated[int, Field(ge=1024**2, le=2**53)] | None = None
    home_bytes: Annotated[int, Field(ge=1024**2, le=2**53)] | None = None
    file_bytes: Annotated[int, Field(ge=1024, le=2**53)] | None = None
    open_files: Annotated[int, Field(ge=32, le=2**20)] | None = None
    network: Network | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"memoryBytes": 536870912, "network": "off"}]})


class ChangeProject(Body):
    """What to change of a project; what is left out stays. Another parent moves it with everything below.

    `limits` are replaced as a whole; `{}` takes them away.
    """

    parent_id: ProjectId | None = None
    name: Name | None = None
    description: Description | None = None
    shares_cache: Annotated[bool | None, Field(description="whether the projects below see its cache, read-only")] = (
        None
    )
    cache_alias: Annotated[
        str | None, Field(max_length=100, description="the name under which they see it; empty: the project's id")
    ] = None

    @field_validator("cache_alias")
    @classmethod
    def _alias(cls, value: str | None) -> str | None:
        if value and (not CACHE_ALIAS.fullmatch(value) or is_custom_id(value.lower()) or value.lower() == "root"):
            raise ValueError("an alias is a folder's name: letters, digits, '.', '_' and '-', and no project's id")
        return value

    limits: ProjectLimits | None = None


class AttachEnvironment(Body):
    """An environment to attach: on one branch, or on all whose names begin with what stands before the `*`."""

    module: Module
    environment_id: Id
    branch: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_printable), AfterValidator(_branch)] = (
        EVERY_BRANCH
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"module": "github.com/acme/shop", "environmentId": "guid-1007", "branch": "release/*"}]
        }
    )


class IncludeContainer(Body):
    """A container that a project shares with all of its environments, and with those of the projects below."""

    module: Module
    branch: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_printable)]
    environment_id: Id
    container_id: Id
    allow_overrides: bool = True


class NewTeam(Body):
    """A team to make."""

    project_id: ProjectId
    name: Name
    description: Description = ""
    external_group: Group | None = None


class ChangeTeam(Body):
    """What to change of a team; what is left out stays. An empty group takes it away."""

    name: Name | None = None
    description: Description | None = None
    external_group: Annotated[str, Field(max_length=500), AfterValidator(_printable)] | None = None


class GiveGrants(Body):
    """Grants to give to a team on a project: by name, by the id of a custom one, or a bundle's all at once."""

    project_id: ProjectId
    grants: Annotated[list[GrantId], Field(max_length=100)] = Field(default=[])
    bundles: Annotated[list[GrantId], Field(max_length=10)] = Field(default=[])

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"projectId": "root", "grants": ["run.argument"], "bundles": ["operator"]}]}
    )


class NewGrant(Body):
    """A custom grant to make."""

    project_id: ProjectId
    name: GrantName
    description: Description = ""


class ChangeGrant(Body):
    """What to change of a custom grant; what is left out stays."""

    name: GrantName | None = None
    description: Description | None = None


class ProtectContainer(Body):
    """A container that from now on needs the grant."""

    module: Module
    environment_id: Id
    container_id: Id


def key_of(name: str) -> str:
    """Give the form in which names are compared: look-alikes of one name are one name."""
    return unicodedata.normalize("NFKC", name).casefold()[:200]


def project_object(row: RowMapping, parent_id: str | None, depth: int) -> dict[str, Any]:
    """Write a project. `parent_id` is that of a project which the caller may know of."""
    return {
        "id": row["id"],
        "parentId": parent_id,
        "name": row["name"],
        "description": row["description"],
        "sharesCache": bool(row["shares_cache"]),
        "cacheAlias": row["cache_alias"] or "",
        "limits": json.loads(row["limits"] or "{}"),
        "depth": depth,
        "createdAt": timestamp(row["created_at"]),
    }


def limits_text(limits: ProjectLimits) -> str | None:
    """Write limits as they are kept; None where nothing is said."""
    written = limits.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps(written) if written else None


def attachment_object(row: RowMapping) -> dict[str, Any]:
    """Write an attached environment."""
    return {
        "id": row["id"],
        "projectId": row["project_id"],
        "module": row["module"],
        "environmentId": row["environment_id"],
        "branch": f"{row['branch']}{EVERY_BRANCH if row['is_prefix'] else ''}",
        "createdAt": timestamp(row["created_at"]),
    }


def included_object(row: RowMapping) -> dict[str, Any]:
    """Write an included container."""
    return {
        "id": row["id"],
        "projectId": row["project_id"],
        "module": row["module"],
        "branch": row["branch"],
        "environmentId": row["environment_id"],
        "containerId": row["container_id"],
        "allowOverrides": bool(row["allow_overrides"]),
        "createdAt": timestamp(row["created_at"]),
    }


def team_object(row: RowMapping) -> dict[str, Any]:
    """Write a team."""
    return {
        "id": row["id"],
        "projectId": row["project_id"],
        "name": row["name"],
        "description": row["description"],
        "isAdministrators": bool(row["is_administrators"]),
        "externalGroup": row["external_group"],
        "createdAt": timestamp(row["created_at"]),
    }


def built_in_object(name: str) -> dict[str, Any]:
    """Write a built-in grant."""
    return {
        "id": name,
        "name": name,
        "kind": "builtIn",
        "description": GRANTS[name],
        "isServerWide": is_server_wide(name),
        "bundles": [bundle for bundle, grants in BUNDLES.items() if name in grants],
    }


def custom_object(row: RowMapping) -> dict[str, Any]:
    """Write a custom grant."""
    return {
        "id": row["id"],
        "name": row["name"],
        "kind": "custom",
        "description": row["description"],
        "projectId": row["project_id"],
        "createdAt": timestamp(row["created_at"]),
    }


def protection_object(row: RowMapping) -> dict[str, Any]:
    """Write a protected container."""
    return {
        "id": row["id"],
        "grantId": row["grant_id"],
        "module": row["module"],
        "environmentId": row["environment_id"],
        "containerId": row["container_id"],
    }
