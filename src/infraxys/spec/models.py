"""Models of the files that people write. Both dialects are read; unknown keys are kept for round trips.

The legacy dialect (`guid` for `id`, `packetGuid`, flat attributes) is translated before validation, so that everyone
else sees one form. Fields stand in the order in which the original writes them.

Old packets, roles, environments and containers may have no id: it is empty here, and who knows the module and the path
gives them one that stays. Attributes and files without an id are addressed by their name.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

MAX_TEXT = 1_000_000  # characters


def _without_nul(text: str) -> str:
    """Refuse NUL, which no environment variable and no file name can hold."""
    if "\0" in text:
        raise PydanticCustomError("control_character", "holds a NUL character, which cannot be used anywhere")
    return text


def _one_line(text: str) -> str:
    """Refuse control characters and line ends, which would break ids in addresses, logs and shells."""
    if not text.isprintable():
        raise PydanticCustomError("control_character", "holds a line end, tab or another character that does not print")
    return text


def none_as_empty(value: object) -> object:
    """Read null as an empty text, as files of some versions have it."""
    return "" if value is None else value


Text = Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(_without_nul)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_one_line)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_without_nul)]
OptionalText = Annotated[Text, BeforeValidator(none_as_empty)]
OptionalId = Annotated[
    str, StringConstraints(max_length=500), AfterValidator(_one_line), BeforeValidator(none_as_empty)
]
Whole = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
AsWritten = PlainSerializer(lambda value: int(value) if value.is_integer() else value, return_type=int | float)
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False), AsWritten]
Json = dict[str, Any]
Item = TypeVar("Item")
# JSON has lists; models keep tuples.
Many = Annotated[tuple[Item, ...], Field(strict=False)]

INSTANCE_KEYS = frozenset(
    {
        "id", "packetId", "packetName", "packetPath", "velocityName", "instanceGroups", "attributes", "instances",
        "parentGuid",
    }
)  # fmt: skip


def rename(data: object, **names: str) -> object:
    """Give legacy keys their new names where the new ones are absent."""
    if not isinstance(data, dict):
        return data
    for old, new in names.items():
        if old in data and new not in data:
            data = {new if key == old else key: value for key, value in data.items()}
    return data


def split_guid(written: str) -> tuple[str, str]:
    r"""Split `host\org\repo\branch\packet name` into the branch path and the name; the path is empty if it is neither.

    Roles have the word `role` between the two.
    """
    parts = written.strip().split("\\", 4)
    if len(parts) < 5:
        return "", written.strip()
    return "\\".join(parts[:4]), parts[4].removeprefix("role\\")


def split_packet_guid(data: Json) -> Json:
    """Translate `packetGuid` to `packetPath` and `packetName`."""
    written = data.get("packetGuid")
    if not isinstance(written, str) or "packetId" in data or "packetName" in data:
        return data
    path, name = split_guid(written)
    rest = {key: value for key, value in data.items() if key != "packetGuid"}
    return {**rest, "packetName": name, "packetPath": path} if path else {**rest, "packetId": name}


def flat_value(value: object) -> str | None:
    """Give a legacy attribute's value as the text that it is stored as; None if it is no attribute."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if value is None or isinstance(value, int | float):
        return "" if value is None else str(value)
    return value if isinstance(value, str) else None


class Model(BaseModel):
    """Frozen, camelCase in files, extra keys kept."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        strict=True,
        hide_input_in_errors=True,
    )


class PacketReference(Model):
    """An entry of `extends`."""

    name: OptionalText = ""
    module_branch_path: OptionalText = ""
    id: OptionalId = ""


class PacketAttribute(Model):
    """A field of a packet."""

    id: OptionalId = ""
    name: Name
    caption: OptionalText = ""
    type: Literal["java.lang.String", "byte[]", "java.lang.Boolean", "java.lang.Long", "java.util.Date"] = (
        "java.lang.String"
    )
    form_column: Whole = 1
    form_order: Whole = 0
    height: Whole | None = None
    visibility: Literal["ALWAYS VISIBLE", "NOT VISIBLE"] = "ALWAYS VISIBLE"
    writability: Literal["ALWAYS", "NEVER", "AT CREATION TIME"] = "ALWAYS"
    required: bool = False
    is_part_of_key: bool = False
    list_of_values: OptionalText = ""
    cache_minutes: Whole = 0
    source: OptionalText = ""
    reference_filter: OptionalText = ""
    reference_value_attribute_name: OptionalText = ""
    reference_child_id_filter: OptionalText = ""
    new_items_allowed: bool = False
    parse_with_velocity: bool = False
    clone_attribute: bool | None = None
    auto_export: bool | None = None
    input_prompt: OptionalText = ""
    tooltip: OptionalText = ""
    scope: Literal["Instance", "Container", "Environment"] = "Instance"
    default_value: OptionalText = ""

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id", referenceChildGuidFilter="referenceChildIdFilter")


class ActionLimits(Model):
    """What an action asks for; what is not said is left to its project and to the server. Sizes are bytes."""

    memory_bytes: Annotated[int, Field(ge=16 * 1024**2, le=2**53)] | None = None
    processes: Annotated[int, Field(ge=4, le=2**22)] | None = None
    cpus: Annotated[float, Field(ge=0.01, le=4096, allow_inf_nan=False), AsWritten] | None = None
    tmp_bytes: Annotated[int, Field(ge=1024**2, le=2**53)] | None = None
    home_bytes: Annotated[int, Field(ge=1024**2, le=2**53)] | None = None
    file_bytes: Annotated[int, Field(ge=1024, le=2**53)] | None = None
    open_files: Annotated[int, Field(ge=32, le=2**20)] | None = None


class PacketFile(Model):
    """A file of a packet; `executable` makes it an action of every instance."""

    id: OptionalId = ""
    filename: Name
    include_name: OptionalText = ""
    menu_caption: OptionalText = ""
    directory: OptionalText = ""
    runs_independent: bool = False
    runs_parallel: bool = False
    run_before_independent_actions: bool = False
    parse_with_velocity: bool = False
    executable: bool = False
    save_with: Literal[
        "CURRENT INSTANCE",
        "EVERY INSTANCE",
        "CURRENT CONTAINER",
        "EVERY CONTAINER",
        "CURRENT ENVIRONMENT",
        "EVERY ENVIRONMENT",
    ] = "CURRENT INSTANCE"
    is_interactive: bool = False
    hide_runner_window: bool = False
    timeout_seconds: Seconds = 3600
    key: OptionalText = ""
    menu_order: Whole = 100
    menu_separator_before: bool = False
    hide_from_instance_actions_menu: bool = False
    hide_from_bottom_menu: bool = False
    menu_path: OptionalText = ""
    docker_image: OptionalText = ""
    custom_command: OptionalText = ""
    pull_policy: Literal["", "always", "missing", "never"] = ""
    is_quick_runner: bool = False
    limits: ActionLimits | None = None
    network: Literal["on", "loopback-refused", "off"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id", menuLabel="menuCaption")


class Packet(Model):
    """packet.json. Its name is its directory's name. Old files have no id: the loader gives them one."""

    version: OptionalText = "1.0"
    id: OptionalId = ""
    label: OptionalText = ""
    type: OptionalText = ""
    class_name: OptionalText = Field(default="", alias="class")
    package_name: OptionalText = ""
    auto_expand: bool = False
    skip_every_instance_files: bool = False
    limit_to_allowed_children: bool = False
    auto_generate: bool = False
    key: OptionalText = ""
    info_html: OptionalText = ""
    extends: Many[PacketReference] = ()
    inherit_files_from_packet_guid: OptionalText = ""
    attributes: Many[PacketAttribute] = ()
    files: Many[PacketFile] = ()
    allowed_children: Many[Any] = ()

    @property
    def inherit_files_from(self) -> tuple[str, ...]:
        r"""Give the packets whose files are inherited in the old way: `host\org\repo\branch\name`."""
        return tuple(line.strip() for line in self.inherit_files_from_packet_guid.splitlines() if line.strip())

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id")


class InstanceAttribute(Model):
    """A value of an instance; found by the attribute's id, else by its name."""

    id: OptionalId = ""
    name: OptionalText = ""
    value: OptionalText = ""

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id")


class Instance(Model):
    """A packet put to use, with its children."""

    id: Id
    packet_id: OptionalId = ""
    packet_name: OptionalText = ""
    packet_path: OptionalText = ""
    velocity_name: OptionalText = ""
    instance_groups: OptionalText = ""
    attributes: Many[InstanceAttribute] = ()
    instances: Many["Instance"] = ()

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        """Read the flat form: every key that is not the instance's own is an attribute."""
        if not isinstance(data, dict):
            return data
        is_legacy = "guid" in data or "packetGuid" in data
        translated = rename(split_packet_guid(data), guid="id")
        if not is_legacy or not isinstance(translated, dict) or "attributes" in translated:
            return translated
        flat = {key: flat_value(value) for key, value in translated.items() if key not in INSTANCE_KEYS}
        kept = {key: value for key, value in translated.items() if flat.get(key) is None}
        attributes = [{"id": "", "name": key, "value": value} for key, value in flat.items() if value is not None]
        return {**kept, "attributes": attributes}


class RoleReference(Model):
    """A role that a container uses."""

    name: OptionalText = ""
    id: OptionalId = ""
    path: OptionalText = ""

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        if not isinstance(data, dict) or not isinstance(data.get("roleGuid"), str) or "name" in data:
            return rename(data, guid="id")
        path, name = split_guid(data["roleGuid"])
        rest = {key: value for key, value in data.items() if key != "roleGuid"}
        found = {"name": name, "id": data["roleGuid"].strip(), "path": path} if path else {"id": name}
        return {**rest, **found}


class Role(Model):
    """role.json: a reusable tree of instances. `name` and `description` are legacy."""

    version: OptionalText = "1.0"
    name: OptionalText = ""
    description: OptionalText = ""
    id: OptionalId = ""
    instances: Many[Instance] = ()

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id")


class Container(Model):
    """container.json: roles and an instance tree. `name` and `description` are legacy."""

    version: OptionalText = "1.0"
    name: OptionalText = ""
    description: OptionalText = ""
    id: OptionalId = ""
    roles: Many[RoleReference] = ()
    instances: Many[Instance] = ()

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id")


class WorkflowStep(Model):
    """One action of a workflow. Without `packetFileId`, `filename` names the file (legacy); so is `location`."""

    name: OptionalText = ""
    module_branch_path: OptionalText = ""
    environment_id: OptionalId = ""
    container_id: Id
    instance_id: Id
    packet_file_id: OptionalId = ""
    filename: OptionalText = ""
    location: Whole | None = None

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(
            data,
            containerGuid="containerId",
            instanceGuid="instanceId",
            packetFileGuid="packetFileId",
            environmentGuid="environmentId",
        )


def _in_order(steps: tuple[WorkflowStep, ...]) -> tuple[WorkflowStep, ...]:
    """Put the steps in the order that old files give by `location`."""
    return tuple(sorted(steps, key=lambda step: step.location or 0))


class Workflow(Model):
    """Actions that are executed one after another."""

    name: Name
    id: Id
    runnable_from_webhook: bool = False
    steps: Annotated[Many[WorkflowStep], AfterValidator(_in_order)] = ()

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id")


class Environment(Model):
    """environment.json: the workflows."""

    version: OptionalText = "1.0"
    id: OptionalId = ""
    workflows: Many[Workflow] = ()

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id")


class ModuleDependency(Model):
    """A repository to enable with the module. File keys are snake case here, as the original's."""

    git_url: Name = Field(alias="git_url")
    branch: Name = "master"


class VelocitySettings(Model):
    """How the templates of a module are rendered: `strict` refuses references that nothing defines."""

    strict: bool = True


class ModuleFile(Model):
    """module.json."""

    dependencies: Many[ModuleDependency] = ()
    velocity: VelocitySettings | None = None

    @property
    def settings(self) -> Json:
        """Everything that the file says beside its dependencies, by key."""
        known = {} if self.velocity is None else {"velocity": self.velocity.model_dump()}
        return {**(self.model_extra or {}), **known}
