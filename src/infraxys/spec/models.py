"""Models of the files that people write. Both dialects are read; unknown keys are kept for round trips.

The legacy dialect (`guid` for `id`, `packetGuid`, flat attributes) is translated before validation, so that everyone
else sees one form.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

Text = Annotated[str, StringConstraints(max_length=1_000_000)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Json = dict[str, Any]
Item = TypeVar("Item")
# JSON has lists; models keep tuples.
Many = Annotated[tuple[Item, ...], Field(strict=False)]

INSTANCE_KEYS = frozenset(
    {"id", "packetId", "packetName", "packetPath", "velocityName", "instanceGroups", "attributes", "instances"}
)


def rename(data: object, **names: str) -> object:
    """Give legacy keys their new names where the new ones are absent."""
    if not isinstance(data, dict):
        return data
    for old, new in names.items():
        if old in data and new not in data:
            data = {new if key == old else key: value for key, value in data.items()}
    return data


def split_packet_guid(data: Json) -> Json:
    r"""Translate `packetGuid` (`host\org\repo\branch\packet name`) to `packetPath` and `packetName`."""
    written = data.get("packetGuid")
    if not isinstance(written, str) or "packetId" in data or "packetName" in data:
        return data
    path, _, name = written.strip().rpartition("\\")
    rest = {key: value for key, value in data.items() if key != "packetGuid"}
    return {**rest, "packetName": name, "packetPath": path}


def none_as_empty(value: object) -> object:
    """Read null as an empty text, as files of some versions have it."""
    return "" if value is None else value


OptionalText = Annotated[Text, BeforeValidator(none_as_empty)]


class Model(BaseModel):
    """Frozen, camelCase in files, extra keys kept."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        alias_generator=to_camel,
        populate_by_name=True,
        strict=True,
        hide_input_in_errors=True,
    )


class PacketReference(Model):
    """An entry of `extends`."""

    name: OptionalText = ""
    module_branch_path: OptionalText = ""
    id: OptionalText = ""


class PacketAttribute(Model):
    """A field of a packet."""

    id: OptionalText = ""
    name: Name
    caption: OptionalText = ""
    type: Literal["java.lang.String", "byte[]", "java.lang.Boolean", "java.lang.Long", "java.util.Date"] = (
        "java.lang.String"
    )
    form_column: int = 1
    form_order: int = 0
    height: int | None = None
    visibility: Literal["ALWAYS VISIBLE", "NOT VISIBLE"] = "ALWAYS VISIBLE"
    writability: Literal["ALWAYS", "NEVER", "AT CREATION TIME"] = "ALWAYS"
    required: bool = False
    is_part_of_key: bool = False
    list_of_values: OptionalText = ""
    cache_minutes: int = 0
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


class PacketFile(Model):
    """A file of a packet; `executable` makes it an action of every instance."""

    id: OptionalText = ""
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
    timeout_seconds: Annotated[int | float, Field(gt=0, le=31_536_000)] = 3600
    docker_image: OptionalText = ""
    custom_command: OptionalText = ""
    key: OptionalText = ""
    menu_order: int = 100
    menu_separator_before: bool = False
    hide_from_instance_actions_menu: bool = False
    hide_from_bottom_menu: bool = False
    menu_path: OptionalText = ""
    is_quick_runner: bool = False

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id", menuLabel="menuCaption")


class Packet(Model):
    """packet.json. Its name is its directory's name. Old files have no id: the loader gives them one."""

    version: OptionalText = "1.0"
    id: OptionalText = ""
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

    id: OptionalText = ""
    name: OptionalText = ""
    value: OptionalText = ""

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id")


class Instance(Model):
    """A packet put to use, with its children."""

    id: Id
    packet_id: OptionalText = ""
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
        flat = [key for key, value in translated.items() if key not in INSTANCE_KEYS and isinstance(value, str)]
        kept = {key: value for key, value in translated.items() if key not in flat}
        return {**kept, "attributes": [{"id": "", "name": key, "value": translated[key]} for key in flat]}


class RoleReference(Model):
    """A role that a container uses."""

    name: OptionalText = ""
    id: OptionalText = ""
    path: OptionalText = ""

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        if not isinstance(data, dict) or not isinstance(data.get("roleGuid"), str) or "name" in data:
            return rename(data, guid="id")
        path, _, name = data["roleGuid"].strip().rpartition("\\")
        rest = {key: value for key, value in data.items() if key != "roleGuid"}
        return {**rest, "name": name, "path": path} if path else {**rest, "id": name}


class Role(Model):
    """role.json: a reusable tree of instances."""

    version: OptionalText = "1.0"
    id: OptionalText = ""
    instances: Many[Instance] = ()

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id")


class Container(Model):
    """container.json: roles and an instance tree."""

    version: OptionalText = "1.0"
    id: OptionalText = ""
    roles: Many[RoleReference] = ()
    instances: Many[Instance] = ()

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id")


class WorkflowStep(Model):
    """One action of a workflow. Without `packetFileId`, `filename` names the file (legacy)."""

    name: OptionalText = ""
    module_branch_path: OptionalText = ""
    environment_id: OptionalText = ""
    container_id: Id
    instance_id: Id
    packet_file_id: OptionalText = ""
    filename: OptionalText = ""

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


class Workflow(Model):
    """Actions that are executed one after another."""

    name: Name
    id: Id
    runnable_from_webhook: bool = False
    steps: Many[WorkflowStep] = ()

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        """Old steps carry their place in `location`."""
        data = rename(data, guid="id")
        steps = data.get("steps") if isinstance(data, dict) else None
        if isinstance(steps, list) and steps and all(isinstance(step, dict) and "location" in step for step in steps):
            places = [step["location"] for step in steps]
            if isinstance(data, dict) and all(isinstance(place, int) for place in places):
                return {**data, "steps": sorted(steps, key=lambda step: step["location"])}
        return data


class Environment(Model):
    """environment.json: the workflows."""

    version: OptionalText = "1.0"
    id: OptionalText = ""
    workflows: Many[Workflow] = ()

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: object) -> object:
        return rename(data, guid="id")


class ModuleDependency(Model):
    """A repository to enable with the module. File keys are snake case here, as the original's."""

    git_url: Name = Field(alias="git_url")
    branch: Name = "master"


class ModuleFile(Model):
    """module.json."""

    dependencies: Many[ModuleDependency] = ()
