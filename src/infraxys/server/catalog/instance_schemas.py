"""What existing clients send and read about instances.

Keys that a call does not know are left aside, as clients send some of an earlier call along.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from infraxys.engine.edits import MAX_CHILDREN

MAX_ID = 500


def _as_text(value: object) -> object:
    """Read numbers and truth values where clients send them for a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


class Lenient(BaseModel):
    """camelCase; other keys are left aside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID), BeforeValidator(_as_text)]
OptionalId = Annotated[str | None, Field(max_length=MAX_ID), BeforeValidator(_as_text)]
Text = Annotated[str | None, BeforeValidator(_as_text)]


class ReferenceBody(Lenient):
    """Where an instance is. Without an environment it is one of a role, and the container may be the role's id."""

    module_branch_path: Annotated[str, Field(min_length=1, max_length=2000, examples=["github.com\\org\\repo\\main"])]
    environment_id: OptionalId = None
    container_id: OptionalId = None
    instance_id: Id


class Filters(Lenient):
    """Which children are wanted; what is not said holds for all."""

    attribute_name: Text = None
    attribute_value: Text = None
    packet_type: Text = None
    packet_guid: Text = None
    packet_key: Text = None

    def as_said(self) -> dict[str, Any]:
        """Give them by the names that clients use."""
        return self.model_dump(by_alias=True, exclude_none=True)


class FindByAttribute(ReferenceBody):
    """A parent, and the attribute that the wanted child has."""

    attribute_name: Annotated[str, Field(min_length=1, max_length=MAX_ID)]
    attribute_value: Text = None


class FindByType(ReferenceBody):
    """A parent, and the type of the wanted instances."""

    packet_type: Annotated[str, Field(min_length=1, max_length=MAX_ID)]
    recursive: bool = False


class AttributeBody(Lenient):
    """A value of an attribute, by its name; without a name, by its id."""

    id: OptionalId = None
    name: Text = None
    value: Any = None


class InstanceBody(Lenient):
    """An instance to change (`id`) or to add (`parentId`)."""

    module_branch_path: Annotated[str, Field(min_length=1, max_length=2000)]
    environment_id: OptionalId = None
    container_id: OptionalId = None
    id: OptionalId = None
    parent_id: OptionalId = None
    packet_id: OptionalId = None
    packet_path: Text = None
    packet_name: Text = None
    velocity_name: Text = None
    attributes: Annotated[list[AttributeBody], Field(max_length=10_000)] = []


class SaveBody(Lenient):
    """The body of a change."""

    instance: InstanceBody


class EnsureBody(Lenient):
    """Instances that there are to be, as values by the names of attributes."""

    instances: Annotated[list[dict[str, Any]], Field(max_length=MAX_CHILDREN)]


class InstanceAttributeOut(Lenient):
    """A value as it is stored."""

    id: str
    name: str
    value: str


class InstanceOut(Lenient):
    """An instance."""

    module_branch_path: str
    environment_id: str
    container_id: str
    id: str
    packet_id: str
    packet_name: str
    velocity_name: str
    parent_id: str | None = Field(description="null at the top of a container")
    attributes: list[InstanceAttributeOut]


class OneInstance(Lenient):
    """One instance, or nothing."""

    instance: InstanceOut | None = None


class ManyInstances(Lenient):
    """Instances."""

    instances: list[InstanceOut]


class Saved(Lenient):
    """What became of a change: SUCCESS, or FAILED with what the writer can mend."""

    status: str = Field(examples=["SUCCESS", "FAILED"])
    message: str | None = None
    instance: InstanceOut | None = None
    instances: list[InstanceOut] | None = None
