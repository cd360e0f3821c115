"""The values that attributes offer, over HTTP."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse, Response

from infraxys.engine.planner import StepTarget
from infraxys.kit.clock import timestamp
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.places import Place, Sight, check_place
from infraxys.server.auth.subject import Subject
from infraxys.server.catalog.catalog import Catalog
from infraxys.server.catalog.endpoints import visible_path
from infraxys.server.catalog.errors import UnknownInstance
from infraxys.server.errors import responses
from infraxys.server.paths import API
from infraxys.server.runs.lists import AttributeLists

router = APIRouter(prefix=f"{API}/modules", tags=["modules"])
GRANT = "action.execute"
REFUSALS = responses(400, 401, 403, 404, 409, 422, 500, 503)
MayExecute = Annotated[Subject, Depends(Requires(GRANT, somewhere=True))]


class Shape(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class OfferedValue(Shape):
    """A value, and what people see."""

    value: str
    caption: str


class AttributeValues(Shape):
    """The values that an attribute offers."""

    attribute: str
    source: str = Field(description="empty for a list that is written in the packet", examples=["SCRIPT OUTPUT"])
    new_items_allowed: bool = Field(description="whether other values are possible as well")
    items: list[OfferedValue]
    made_at: str | None = Field(description="when it was executed; null for a list that is written in the packet")
    holds_until: str | None


@router.get(
    "/{module:segment}/branches/{branch:segment}/environments/{environment_id:segment}"
    "/containers/{container_id:segment}/instances/{instance_id:segment}/attributes/{name:segment}/values",
    operation_id="list_attribute_values",
    response_model=AttributeValues,
    responses=REFUSALS,
)
async def list_attribute_values(  # noqa: PLR0913 - the parts of the path
    request: Request,
    subject: MayExecute,
    module: str,
    branch: str,
    environment_id: str,
    container_id: str,
    instance_id: str,
    name: str,
    refresh: Annotated[Literal["true", "false"], Query(description="make the list anew")] = "false",
) -> Response:
    """Give the values that an attribute of an instance offers.

    Those that a script of the packet prints are made by executing it, which needs the grant to execute actions. They
    are kept for the `cacheMinutes` of the attribute, as long as nothing changes that they are made from.
    """
    services = request.app.state.services
    catalog: Catalog = services.catalog
    lists: AttributeLists = services.lists
    path = await visible_path(request, subject, module, branch, environment_id, GRANT)
    place = Place(str(path.module), branch, environment_id)
    if not Sight(subject, GRANT).container(place, container_id):
        raise UnknownInstance(instance_id, branch, None)
    check_place(subject, GRANT, place, [container_id])
    found = await catalog.value_list(path, environment_id, StepTarget(container_id, instance_id, ""), name)
    values = await lists.values(found, subject, refresh=refresh == "true")
    answer = AttributeValues(
        attribute=name,
        source=found.attribute.source,
        new_items_allowed=found.attribute.new_items_allowed,
        items=[OfferedValue(value=item.value, caption=item.caption) for item in values.items],
        made_at=timestamp(values.made_at),
        holds_until=timestamp(values.holds_until),
    )
    return JSONResponse(answer.model_dump(by_alias=True))
