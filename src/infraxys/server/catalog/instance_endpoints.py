"""The calls that existing clients make about instances.

They send bodies with GET, and read 200 for everything that the writer of a script can mend.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from infraxys.engine import edits
from infraxys.engine.edits import CannotEdit, Outcome, Parent
from infraxys.engine.world import InstanceView, PacketView, World
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.body import plain, read_json_object, validate
from infraxys.server.catalog.instance_schemas import (
    EnsureBody,
    Filters,
    FindByAttribute,
    FindByType,
    InstanceBody,
    Lenient,
    ManyInstances,
    OneInstance,
    ReferenceBody,
    SaveBody,
    Saved,
)
from infraxys.server.catalog.instances import Found, Instances, Reference, instance_object, select
from infraxys.server.errors import Unprocessable, responses
from infraxys.server.paths import API
from infraxys.spec.identity import BranchPath

router = APIRouter(prefix=API, tags=["instances"])
REFUSALS = responses(400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503)
MayRead = Annotated[Subject, Depends(Requires("environment.read", somewhere=True))]
MayChange = Annotated[Subject, Depends(Requires("instance.modify", somewhere=True))]
MayAdd = Annotated[Subject, Depends(Requires("instance.create", somewhere=True))]
PACKET_KEYS = ("packetGuid", "packetId", "packetType", "packetKey")
B = TypeVar("B", bound=Lenient)


def body_of(model: type[Lenient], *, required: bool = True) -> dict[str, Any]:
    """Describe a body that the handler reads itself."""
    schema = model.model_json_schema()
    return {"requestBody": {"content": {"application/json": {"schema": schema}}, "required": required}}


def instances_of(request: Request) -> Instances:
    """Give the service."""
    instances: Instances = request.app.state.services.instances
    return instances


async def read(request: Request, model: type[B]) -> B:
    """Read what is asked: the body, with GET also the query. Raises BadRequest and Unprocessable."""
    said = plain((await read_json_object(request)).value)
    return validate(model, {**request.query_params, **said})


def branch_path(text: str) -> BranchPath:
    """Read a module branch path. Raises Unprocessable."""
    try:
        return BranchPath.parse(text)
    except ValueError as error:
        finding = {"loc": "moduleBranchPath", "message": str(error)}
        raise Unprocessable(f"moduleBranchPath: {error}", errors=[finding]) from error


def reference_of(body: ReferenceBody | InstanceBody, instance_id: str) -> Reference:
    """Give what a body refers to."""
    path = branch_path(body.module_branch_path)
    return Reference(path.branch, instance_id, path, body.environment_id or None, body.container_id or None)


async def _find(request: Request, subject: Subject, body: ReferenceBody) -> Found:
    return await instances_of(request).find(subject, reference_of(body, body.instance_id))


@router.get(
    "/instances",
    operation_id="get_instance",
    response_model=OneInstance,
    responses=REFUSALS,
    openapi_extra=body_of(ReferenceBody, required=False),
)
async def get_instance(request: Request, subject: MayRead) -> Response:
    """Give an instance with its values as they are stored. The reference is the body, or the query."""
    body = await read(request, ReferenceBody)
    found = await _find(request, subject, body)
    if not isinstance(found.view, InstanceView):
        raise Unprocessable("instanceId: this is a container; it has no values")
    return JSONResponse({"instance": instance_object(found.path, found.view)})


@router.get(
    "/instances/byAttributeNameAndValue",
    operation_id="get_instance_by_attribute",
    response_model=OneInstance,
    responses=REFUSALS,
    openapi_extra=body_of(FindByAttribute, required=False),
)
async def get_instance_by_attribute(request: Request, subject: MayRead) -> Response:
    """Find the child of an instance whose attribute has a value; without one, the answer is empty."""
    body = await read(request, FindByAttribute)
    found = await _find(request, subject, body)
    wanted = {"attributeName": body.attribute_name, "attributeValue": body.attribute_value}
    children = select(found.view, wanted)
    return JSONResponse({"instance": instance_object(found.path, children[0])} if children else {})


@router.get(
    "/instances/byPacketType",
    operation_id="list_instances_by_packet_type",
    response_model=ManyInstances,
    responses=REFUSALS,
    openapi_extra=body_of(FindByType, required=False),
)
async def list_instances_by_packet_type(request: Request, subject: MayRead) -> Response:
    """List the instances below another whose packet is, or inherits from, one of a type."""
    body = await read(request, FindByType)
    found = await _find(request, subject, body)
    return many(found, select(found.view, {"packetType": body.packet_type}, recursive=body.recursive))


@router.get(
    "/container/{container_id:segment}/instances/{instance_id:segment}/children",
    operation_id="list_children_in_container",
    response_model=ManyInstances,
    responses=REFUSALS,
    openapi_extra=body_of(Filters, required=False),
)
async def list_children_in_container(
    request: Request, subject: MayRead, container_id: str, instance_id: str
) -> Response:
    """List the children of an instance of a container, on the branch that the container is served from.

    Where several branches have the container, `?branch=` says which.
    """
    wanted = (await read(request, Filters)).as_said()
    asked = request.query_params.get("branch")
    branch = asked or await instances_of(request).branch_of(subject, container_id)
    reference = Reference(branch, instance_id, container_id=container_id)
    found = await instances_of(request).find(subject, reference)
    return many(found, select(found.view, wanted))


@router.get(
    "/instance/{branch:branch}/{instance_id:segment}/children",
    operation_id="list_children",
    response_model=ManyInstances,
    responses=REFUSALS,
    openapi_extra=body_of(Filters, required=False),
)
async def list_children(request: Request, subject: MayRead, branch: str, instance_id: str) -> Response:
    """List the children of an instance."""
    wanted = (await read(request, Filters)).as_said()
    found = await instances_of(request).find(subject, Reference(branch, instance_id))
    return many(found, select(found.view, wanted))


@router.post(
    "/instances",
    operation_id="update_instance",
    response_model=Saved,
    responses=REFUSALS,
    openapi_extra=body_of(SaveBody),
)
async def update_instance(request: Request, subject: MayChange) -> Response:
    """Change an instance (`id`) or add one below another or a container (`parentId`), by one commit."""
    body = (await read(request, SaveBody)).instance
    instances = instances_of(request)
    target = body.id or body.parent_id
    if not target:
        raise Unprocessable("instance: 'id' or 'parentId' is missing")
    found = await instances.find(subject, reference_of(body, target), "instance.modify")

    def edit(world: World, parent: Parent) -> Outcome:
        if body.id:
            if not isinstance(parent, InstanceView):
                raise CannotEdit("unknown_instance", f"'{body.id}' is a container; it has no values")
            values = edits.read_values(parent.packet, _given(body, parent.packet))
            edits.check_required(parent.packet, values)
            return edits.update(parent, values)
        packet = edits.find_packet(world, body.packet_id or "", body.packet_path or "", body.packet_name or "")
        if packet is None:
            named = body.packet_id or body.packet_name or ""
            raise CannotEdit("unknown_packet", f"packet '{named[:100]}' is not known on this branch")
        values = edits.read_values(packet, _given(body, packet))
        edits.check_required(packet, values)
        return edits.create(parent, packet, values, body.velocity_name or "")

    return await saved(subject, instances, found, edit)


def _given(body: InstanceBody, packet: PacketView) -> dict[str, Any]:
    """Give the values of a body by name. A name may be there twice, for own and inherited attributes."""
    names = {attribute.id: name for name, attribute in packet.attributes.items() if attribute.id}
    return {item.name or names.get(item.id or "", item.id or ""): item.value for item in body.attributes}


async def _ensure(request: Request, subject: Subject, reference: Reference, wanted: list[dict[str, Any]]) -> Response:
    instances = instances_of(request)
    found = await instances.find(subject, reference, "instance.create")
    return await saved(subject, instances, found, partial(ensure, wanted=wanted))


def ensure(world: World, parent: Parent, wanted: list[dict[str, Any]]) -> Outcome:
    """Find or make instances whose packet is named in them or is the one that has such attributes."""
    outcome = Outcome()
    if not wanted:
        return outcome
    named = {key: wanted[0][key] for key in PACKET_KEYS if wanted[0].get(key)}
    fields = [{name: value for name, value in item.items() if name not in PACKET_KEYS} for item in wanted]
    packet = edits.choose_packet(world, parent, named, {name for item in fields for name in item})
    return edits.ensure(parent, packet, [edits.read_values(packet, item) for item in fields])


@router.post(
    "/instance/{branch:branch}/{container_id:segment}/instances/{instance_id:segment}/children/ensure",
    operation_id="ensure_children_in_container",
    response_model=Saved,
    responses=REFUSALS,
    openapi_extra=body_of(EnsureBody),
)
async def ensure_children_in_container(
    request: Request, subject: MayAdd, branch: str, container_id: str, instance_id: str
) -> Response:
    """Find children by their key attributes and change them, and add those that are not there, by one commit."""
    body = await read(request, EnsureBody)
    return await _ensure(request, subject, Reference(branch, instance_id, container_id=container_id), body.instances)


@router.post(
    "/instance/{branch:branch}/{instance_id:segment}/children/ensure",
    operation_id="ensure_children",
    response_model=Saved,
    responses=REFUSALS,
    openapi_extra=body_of(EnsureBody),
)
async def ensure_children(request: Request, subject: MayAdd, branch: str, instance_id: str) -> Response:
    """Find children by their key attributes and change them, and add those that are not there, by one commit."""
    body = await read(request, EnsureBody)
    return await _ensure(request, subject, Reference(branch, instance_id), body.instances)


@router.post(
    "/instances/{path:branch}/{environment_id:segment}/{container_id:segment}/{instance_id:segment}/addInstance",
    operation_id="add_instance",
    response_model=Saved,
    responses=REFUSALS,
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}},
)
async def add_instance(
    request: Request, subject: MayAdd, path: str, environment_id: str, container_id: str, instance_id: str
) -> Response:
    """Find or add one child, given as values by the names of attributes. `path` is a module branch path."""
    place = branch_path(path)
    environment = None if environment_id in {"None", "null"} else environment_id
    reference = Reference(place.branch, instance_id, place, environment, container_id)
    fields = plain((await read_json_object(request)).value)
    return await _ensure(request, subject, reference, [fields])


def many(found: Found, views: list[InstanceView]) -> Response:
    """Answer with instances."""
    return JSONResponse({"instances": [instance_object(found.path, view) for view in views]})


async def saved(
    subject: Subject, instances: Instances, found: Found, edit: Callable[[World, Parent], Outcome]
) -> Response:
    """Make a change and answer as clients read it."""
    note = f"Run: {subject.run_id}" if subject.run_id else ""
    try:
        outcome = await instances.change(subject, found, edit, note)
    except CannotEdit as problem:
        return JSONResponse({"status": "FAILED", "message": str(problem), "code": problem.code})
    shown = await instances.shown(found, outcome.ids)
    one: Mapping[str, Any] = {"instance": shown[0]} if len(shown) == 1 else {}
    return JSONResponse({"status": "SUCCESS", **one, "instances": shown})
