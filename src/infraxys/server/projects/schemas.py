"""The shapes of projects, teams and grants: what is sent, and what is answered."""

import json
import re
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator
from sqlalchemy.engine import RowMapping

from infraxys.engine.limits import Network
from infraxys.kit.clock import timestamp
from infraxys.server.accounts.schemas import Body, printable
from infraxys.server.answers import SOME_ID, Answer, Moment, Page, example
from infraxys.server.auth.grants import BUNDLES, GRANTS, is_custom_id, is_server_wide
from infraxys.spec.identity import ModuleId

ADMINISTRATORS = "administrators"
EVERY_BRANCH = "*"
CACHE_ALIAS = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]*")
_CREATED = "2026-01-31T12:00:00.000000Z"
_ENVIRONMENT = {"module": "github.com/acme/shop", "environmentId": "guid-1007"}
_CONTAINER = {**_ENVIRONMENT, "containerId": "guid-1008"}
_PROJECT: dict[str, Any] = {
    "id": SOME_ID, "parentId": "root", "name": "Payments", "description": "", "sharesCache": False, "cacheAlias": "",
    "limits": {}, "depth": 1, "createdAt": _CREATED,
}  # fmt: skip


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


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(printable)]
GrantName = Annotated[Name, AfterValidator(_grant_name)]
Description = Annotated[str, Field(max_length=2000), AfterValidator(_text)]
ProjectId = Annotated[str, Field(min_length=1, max_length=36), AfterValidator(printable)]
Id = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]
Module = Annotated[
    str,
    Field(min_length=5, max_length=500, description="host/org/repo"),
    AfterValidator(printable),
    AfterValidator(_module),
]
GrantId = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(printable)]
Group = Annotated[Name, Field(max_length=500)]


class NewProject(Body):
    """A project to make."""

    parent_id: ProjectId = "root"
    name: Name
    description: Description = ""

    model_config = example(parentId="root", name="Payments")


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

    model_config = example(memoryBytes=536870912, network="off")


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

    model_config = example(name="Payments", description="what pays", limits={"memoryBytes": 536870912})


class AttachEnvironment(Body):
    """An environment to attach: on one branch, or on all whose names begin with what stands before the `*`."""

    module: Module
    environment_id: Id
    branch: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(printable), AfterValidator(_branch)] = (
        EVERY_BRANCH
    )

    model_config = example(module="github.com/acme/shop", environmentId="guid-1007", branch="release/*")


class IncludeContainer(Body):
    """A container that a project shares with all of its environments, and with those of the projects below."""

    module: Module
    branch: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(printable)]
    environment_id: Id
    container_id: Id
    allow_overrides: bool = True

    model_config = example(
        module="github.com/acme/shop", branch="main", environmentId="guid-1007", containerId="guid-1008"
    )


class NewTeam(Body):
    """A team to make."""

    project_id: ProjectId
    name: Name
    description: Description = ""
    external_group: Group | None = None

    model_config = example(projectId="root", name="Operators", externalGroup="infra-operators")


class ChangeTeam(Body):
    """What to change of a team; what is left out stays. An empty group takes it away."""

    name: Name | None = None
    description: Description | None = None
    external_group: Annotated[str, Field(max_length=500), AfterValidator(printable)] | None = None

    model_config = example(name="Operators", externalGroup="infra-operators")


class GiveGrants(Body):
    """Grants to give to a team on a project: by name, by the id of a custom one, or a bundle's all at once."""

    project_id: ProjectId
    grants: Annotated[list[GrantId], Field(max_length=100)] = Field(default=[])
    bundles: Annotated[list[GrantId], Field(max_length=10)] = Field(default=[])

    model_config = example(projectId="root", grants=["run.argument"], bundles=["operator"])


class NewGrant(Body):
    """A custom grant to make."""

    project_id: ProjectId
    name: GrantName
    description: Description = ""

    model_config = example(projectId="root", name="approve payments")


class ChangeGrant(Body):
    """What to change of a custom grant; what is left out stays."""

    name: GrantName | None = None
    description: Description | None = None

    model_config = example(description="may pay out")


class ProtectContainer(Body):
    """A container that from now on needs the grant."""

    module: Module
    environment_id: Id
    container_id: Id

    model_config = example(module="github.com/acme/shop", environmentId="guid-1007", containerId="guid-1008")


class Project(Answer):
    """A project. `parentId` null: the root, or one whose parent the caller may not know of."""

    id: str
    parent_id: str | None
    name: str
    description: str
    shares_cache: bool
    cache_alias: str
    limits: dict[str, Any]
    depth: int = Field(description="0 for the root")
    created_at: Moment

    model_config = example(**_PROJECT)


class ProjectPage(Page):
    """A page of the tree of projects."""

    items: list[Project]


class OneProject(Project):
    """A project with the grants that the caller has on it."""

    grants: list[str]

    model_config = example(**_PROJECT, grants=["project.list", "project.read"])


class AttachedEnvironment(Answer):
    """An environment that belongs to a project on a branch, or on all that begin with what stands before the `*`."""

    id: str
    project_id: str
    module: str
    environment_id: str
    branch: str
    created_at: Moment

    model_config = example(id=SOME_ID, projectId=SOME_ID, **_ENVIRONMENT, branch="release/*", createdAt=_CREATED)


class AttachedEnvironmentPage(Page):
    """A page of attached environments."""

    items: list[AttachedEnvironment]


class IncludedContainer(Answer):
    """A container that a project includes, or inherits from a project above."""

    id: str
    project_id: str
    module: str
    branch: str
    environment_id: str
    container_id: str
    allow_overrides: bool
    created_at: Moment
    is_inherited: bool

    model_config = example(
        id=SOME_ID, projectId=SOME_ID, **_CONTAINER, branch="main", allowOverrides=True, createdAt=_CREATED,
        isInherited=False,
    )  # fmt: skip


class IncludedContainerPage(Page):
    """A page of included containers."""

    items: list[IncludedContainer]


class Team(Answer):
    """A team."""

    id: str
    project_id: str
    name: str
    description: str
    is_administrators: bool = Field(description="whether it is its project's administrators team")
    external_group: str | None = Field(description="the group of the identity provider whose members are in it")
    created_at: Moment

    model_config = example(
        id=SOME_ID, projectId="root", name="Operators", description="", isAdministrators=False,
        externalGroup="infra-operators", createdAt=_CREATED,
    )  # fmt: skip


class TeamPage(Page):
    """A page of teams."""

    items: list[Team]


class Member(Answer):
    """Somebody in a team."""

    id: str
    name: str
    display_name: str
    is_disabled: bool
    is_from_group: bool = Field(description="whether the identity provider says so, and not people")

    model_config = example(id=SOME_ID, name="ada", displayName="Ada Lovelace", isDisabled=False, isFromGroup=False)


class MemberPage(Page):
    """A page of members."""

    items: list[Member]


class GivenGrant(Answer):
    """What a team was given on a project."""

    project_id: str
    grant: str = Field(description="the name of a built-in grant, the id of a custom one")
    name: str
    kind: Literal["builtIn", "custom"]

    model_config = example(projectId="root", grant="run.read", name="run.read", kind="builtIn")


class GivenGrantPage(Page):
    """A page of what a team was given."""

    items: list[GivenGrant]


class BuiltInGrant(Answer):
    """A grant that the server asks for."""

    id: str
    name: str
    kind: Literal["builtIn"]
    description: str
    is_server_wide: bool = Field(description="whether it can be given on the root project only")
    bundles: list[str]

    model_config = example(
        id="run.read", name="run.read", kind="builtIn", description="see a run and its log", isServerWide=False,
        bundles=["viewer", "operator"],
    )  # fmt: skip


class CustomGrant(Answer):
    """A grant that people made."""

    id: str
    name: str
    kind: Literal["custom"]
    description: str
    project_id: str
    created_at: Moment

    model_config = example(
        id=SOME_ID, name="approve payments", kind="custom", description="", projectId="root", createdAt=_CREATED
    )


class GrantPage(Page):
    """A page of grants."""

    items: list[BuiltInGrant | CustomGrant]


class ProtectedContainer(Answer):
    """A container that needs a custom grant."""

    id: str
    grant_id: str
    module: str
    environment_id: str
    container_id: str

    model_config = example(id=SOME_ID, grantId=SOME_ID, **_CONTAINER)


class ProtectedContainerPage(Page):
    """A page of protected containers."""

    items: list[ProtectedContainer]


def key_of(name: str) -> str:
    """Give the form in which names are compared: look-alikes of one name are one name."""
    return unicodedata.normalize("NFKC", name).casefold()[:200]


def project_object(row: RowMapping, parent_id: str | None, depth: int) -> dict[str, Any]:
    """Write a project. `parent_id` is that of a project which the caller may know of."""
    return Project(
        id=row["id"],
        parent_id=parent_id,
        name=row["name"],
        description=row["description"],
        shares_cache=bool(row["shares_cache"]),
        cache_alias=row["cache_alias"] or "",
        limits=json.loads(row["limits"] or "{}"),
        depth=depth,
        created_at=timestamp(row["created_at"]),
    ).written()


def limits_text(limits: ProjectLimits) -> str | None:
    """Write limits as they are kept; None where nothing is said."""
    written = limits.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps(written) if written else None


def attachment_object(row: RowMapping) -> dict[str, Any]:
    """Write an attached environment."""
    return AttachedEnvironment(
        id=row["id"],
        project_id=row["project_id"],
        module=row["module"],
        environment_id=row["environment_id"],
        branch=f"{row['branch']}{EVERY_BRANCH if row['is_prefix'] else ''}",
        created_at=timestamp(row["created_at"]),
    ).written()


def included_object(row: RowMapping, *, is_inherited: bool) -> dict[str, Any]:
    """Write an included container."""
    return IncludedContainer(
        id=row["id"],
        project_id=row["project_id"],
        module=row["module"],
        branch=row["branch"],
        environment_id=row["environment_id"],
        container_id=row["container_id"],
        allow_overrides=bool(row["allow_overrides"]),
        created_at=timestamp(row["created_at"]),
        is_inherited=is_inherited,
    ).written()


def team_object(row: RowMapping) -> dict[str, Any]:
    """Write a team."""
    return Team(
        id=row["id"],
        project_id=row["project_id"],
        name=row["name"],
        description=row["description"],
        is_administrators=bool(row["is_administrators"]),
        external_group=row["external_group"],
        created_at=timestamp(row["created_at"]),
    ).written()


def given_object(project_id: str, grant: str, custom_name: str | None) -> dict[str, Any]:
    """Write a grant that a team was given."""
    kind: Literal["builtIn", "custom"] = "builtIn" if custom_name is None else "custom"
    return GivenGrant(project_id=project_id, grant=grant, name=custom_name or grant, kind=kind).written()


def built_in_object(name: str) -> dict[str, Any]:
    """Write a built-in grant."""
    return BuiltInGrant(
        id=name,
        name=name,
        kind="builtIn",
        description=GRANTS[name],
        is_server_wide=is_server_wide(name),
        bundles=[bundle for bundle, grants in BUNDLES.items() if name in grants],
    ).written()


def custom_object(row: RowMapping) -> dict[str, Any]:
    """Write a custom grant."""
    return CustomGrant(
        id=row["id"],
        name=row["name"],
        kind="custom",
        description=row["description"],
        project_id=row["project_id"],
        created_at=timestamp(row["created_at"]),
    ).written()


def protection_object(row: RowMapping) -> dict[str, Any]:
    """Write a protected container."""
    return ProtectedContainer(
        id=row["id"],
        grant_id=row["grant_id"],
        module=row["module"],
        environment_id=row["environment_id"],
        container_id=row["container_id"],
    ).written()
