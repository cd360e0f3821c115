"""What actions ask of instances, containers and environments (spec 7.2 and 7.3): done by commits on the run's branch.

Ids are those that actions find in their environment: of instances, containers, environments and packets. The parent of
an instance at the top of a container is the container.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection

from infraxys.engine import edits
from infraxys.engine.edits import CannotEdit, Outcome, Parent, Values, Written
from infraxys.engine.feedback.requests import RequestFailed
from infraxys.engine.world import ContainerView, EnvironmentView, InstanceView, PacketView, World
from infraxys.server.audit.origin import Origin, acting
from infraxys.server.audit.trail import record
from infraxys.server.auth.access import AccessControl
from infraxys.server.auth.places import check_place
from infraxys.server.auth.rights import ROOT
from infraxys.server.auth.subject import Subject
from infraxys.server.catalog.errors import UnknownBranch, UnknownInstance
from infraxys.server.catalog.instances import Found, Instances, Reference, place_of
from infraxys.server.db.engine import Database
from infraxys.server.errors import Forbidden, Problem
from infraxys.server.projects import projects
from infraxys.server.projects.schemas import AttachEnvironment
from infraxys.server.runs import repository
from infraxys.server.runs.rights import Starters
from infraxys.spec.identity import BranchPath, ModuleId

Request = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asking:
    """A run that asks: who started it, and where its step is."""

    subject: Subject
    path: BranchPath
    environment_id: str
    container_id: str
    note: str

    @property
    def branch(self) -> str:
        """The name of its branch."""
        return self.path.branch


class InstanceRequests:
    """Implements `infraxys.engine.feedback.requests.Requests` with the rights of who started the run."""

    def __init__(self, database: Database, access: AccessControl, instances: Instances) -> None:
        self._database, self._access, self._instances = database, access, instances
        self._starters = Starters(database, access)
        self._handlers: Mapping[str, Callable[[Asking, Request], Awaitable[list[str]]]] = {
            "GET INSTANCE": self._get,
            "CREATE INSTANCE": self._create,
            "ENSURE INSTANCE": self._ensure,
            "UPDATE INSTANCE": self._update,
            "IMPORT INSTANCES": self._import,
            "CREATE CONTAINER": self._create_container,
            "ENSURE CONTAINER": self._ensure_container,
            "CLONE CONTAINER": self._ensure_container,
            "ENSURE ENVIRONMENT": self._ensure_environment,
            "CLONE ENVIRONMENT": self._ensure_environment,
        }

    async def handle(self, run_id: str, step: int, request: Request) -> list[str]:
        """Do what a step of a run asks; gives the lines of the answer. Raises RequestFailed."""
        asking = await asyncio.to_thread(self._asking, run_id, step)
        subject = asking.subject
        origin = Origin("action", user_id=subject.user_id, user_name=subject.name, run_id=run_id)
        try:
            with acting(origin):
                return await self._handlers[request["requestType"].strip().upper()](asking, request)
        except CannotEdit as problem:
            raise RequestFailed(str(problem)) from problem
        except Problem as problem:
            raise RequestFailed(problem.detail) from problem

    def _asking(self, run_id: str, step: int) -> Asking:
        run = self._database.read_now(lambda connection: repository.find_run(connection, run_id))
        starter = None if run is None else self._starters.of(run)
        if run is None or starter is None:
            raise RequestFailed("the account that started this run is not there any more")
        path = BranchPath(ModuleId.parse(run["module"]), run["branch"])
        container_id = run["steps"][step]["container_id"]
        subject = replace(starter, run_id=run_id)
        return Asking(subject, path, run["environment_id"], container_id, f"Run: {run_id}")

    # -- instances --

    async def _find(self, asking: Asking, instance_id: str, grant: str) -> Found:
        """Find an instance or a container near the one that asks: in its container, its environment, its branch."""
        near = Reference(asking.branch, instance_id, asking.path, asking.environment_id, asking.container_id)
        wider = (near, replace(near, container_id=None), replace(near, container_id=None, environment_id=None))
        for reference in (*wider, Reference(asking.branch, instance_id)):
            with suppress(UnknownInstance, UnknownBranch):
                return await self._instances.find(asking.subject, reference, grant)
        raise UnknownInstance(instance_id, asking.branch, None)

    async def _get(self, asking: Asking, request: Request) -> list[str]:
        name = text(request, "velocityName")
        container_id, environment_id = text(request, "containerId", ""), text(request, "environmentId", "")
        if container_id:
            found = await self._find(asking, container_id, "environment.read")
            environment = found.container.environment
            own = [view for view in found.container.instances() if view.model.velocity_name == name]
        else:
            environment = await self._environment(asking, environment_id, "environment.read")
            own = []
        view = own[0] if own else environment.by_velocity_name.get(name)
        if view is None:
            raise RequestFailed(f"environment '{environment.name}' has no instance with the velocity name '{name}'")
        check_place(asking.subject, "environment.read", place_of(view.container.environment), [view.container.id])
        ids = {
            "dbId": view.id,
            "containerDbId": view.container.id,
            "environmentDbId": view.container.environment.id,
        }
        return answer({**view.values, **ids})

    async def _create(self, asking: Asking, request: Request) -> list[str]:
        found = await self._parent(asking, request)

        def edit(world: World, parent: Parent) -> Outcome:
            packet = packet_of(world, request)
            return edits.create(parent, packet, values_of(packet, request.get("fields")))

        outcome = await self._instances.change(asking.subject, found, edit, asking.note)
        if "fields" not in request:  # the form of lines, whose answer is the id
            return outcome.ids
        return answer({"dbId": outcome.ids[0]})

    async def _ensure(self, asking: Asking, request: Request) -> list[str]:
        found = await self._parent(asking, request)

        def edit(world: World, parent: Parent) -> Outcome:
            packet = packet_of(world, request)
            return edits.ensure(parent, packet, [values_of(packet, request.get("fields"))])

        outcome = await self._instances.change(asking.subject, found, edit, asking.note)
        return answer({"dbId": outcome.ids[0], "actionTaken": outcome.actions[0]})

    async def _update(self, asking: Asking, request: Request) -> list[str]:
        found = await self._find(asking, text(request, "dbId"), "instance.modify")

        def edit(world: World, view: Parent) -> Outcome:
            del world
            if not isinstance(view, InstanceView):
                raise CannotEdit("unknown_instance", f"'{view.id}' is a container; it has no attributes")
            return edits.update(view, values_of(view.packet, request.get("fields")))

        outcome = await self._instances.change(asking.subject, found, edit, asking.note)
        return answer({"dbId": outcome.ids[0], "actionTaken": outcome.actions[0]})

    async def _import(self, asking: Asking, request: Request) -> list[str]:
        found = await self._parent(asking, request)
        items = request.get("instances")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise RequestFailed("'instances' has to be a list of objects with 'fields'")

        def edit(world: World, parent: Parent) -> Outcome:
            packet = packet_of(world, request)
            wanted = [values_of(packet, item.get("fields")) for item in items]
            return edits.ensure(parent, packet, wanted, removes_others=request.get("removeExistingChildren") is True)

        outcome = await self._instances.change(asking.subject, found, edit, asking.note)
        return answer({"dbIds": outcome.ids, "removed": outcome.removed})

    async def _parent(self, asking: Asking, request: Request) -> Found:
        return await self._find(asking, text(request, "parentInstanceId"), "instance.create")

    # -- containers and environments --

    async def _environment(self, asking: Asking, environment_id: str, grant: str) -> EnvironmentView:
        wanted = environment_id or asking.environment_id
        return await self._instances.environment(asking.subject, asking.branch, wanted, grant)

    async def _create_container(self, asking: Asking, request: Request) -> list[str]:
        environment = await self._environment(asking, text(request, "environment_id"), "container.create")
        name = text(request, "name")
        existing = container_named(environment, name)
        if existing is not None:
            return [existing.id]
        return [await self._make_container(asking, environment, name, text(request, "description", ""), None)]

    async def _ensure_container(self, asking: Asking, request: Request) -> list[str]:
        environment = await self._environment(asking, text(request, "targetEnvironmentId"), "container.create")
        source = None
        if "sourceContainerId" in request:
            source = (await self._find(asking, text(request, "sourceContainerId"), "environment.read")).container
            check_place(asking.subject, "environment.read", place_of(source.environment), [source.id])
        name = text(request, "containerName", "" if source is None else source.name)
        if not name:
            raise RequestFailed("'containerName' is missing: the name of the container")
        existing = container_named(environment, name)
        if existing is not None:
            reason = f"environment '{environment.name}' has a container '{name}'"
            return answer({"actionTaken": "none", "reason": reason, "dbId": existing.id, "containerName": name})
        made = await self._make_container(asking, environment, name, "", source)
        taken = "created" if source is None else "cloned"
        return answer({"actionTaken": taken, "reason": "", "dbId": made, "containerName": name})

    async def _make_container(
        self, asking: Asking, environment: EnvironmentView, name: str, description: str, source: ContainerView | None
    ) -> str:
        check_place(asking.subject, "container.create", place_of(environment), [])

        def edit(world: World) -> tuple[str, list[Written]]:
            target = world.environment(environment.id)
            if container_named(target, name) is not None:
                raise CannotEdit("name_taken", f"environment '{target.name}' has a container '{name}' by now")
            if source is None:
                made, file = edits.new_container(target, name, description)
            else:
                made, file = edits.clone_container(source, target, name)
            return made, [file]

        what = f"Add container '{name}' to environment '{environment.name}'"
        return await self._instances.write(asking.subject, environment.path, edit, what=what, note=asking.note)

    async def _ensure_environment(self, asking: Asking, request: Request) -> list[str]:
        name = text(request, "environmentName")
        project_id = self._project(asking, text(request, "projectId", ""))
        source = None
        if "sourceEnvironmentId" in request:
            source = await self._environment(asking, text(request, "sourceEnvironmentId"), "environment.read")
            containers = [container.id for container in source.containers]
            check_place(asking.subject, "environment.read", place_of(source), containers)

        def edit(world: World) -> tuple[str, list[Written]]:
            existing = environment_named(world, name)
            if existing is not None:
                return existing.id, []
            if source is None:
                made, file = edits.new_environment(asking.path, name)
                return made, [file]
            return edits.clone_environment(source, asking.path, name)

        if not asking.subject.may("environment.create", project_id):
            raise Forbidden("environment.create")
        known = await asyncio.to_thread(self._instances.look, asking.path, lambda world: environment_named(world, name))
        what = f"Add environment '{name}'"
        made = await self._instances.write(asking.subject, asking.path, edit, what=what, note=asking.note)
        await self._attach(asking, made, project_id)
        if known is not None and known.id == made:
            reason = f"module {asking.path.module} has an environment '{name}'"
            return answer({"actionTaken": "none", "reason": reason, "dbId": made})
        return answer({"actionTaken": "created" if source is None else "cloned", "reason": "", "dbId": made})

    def _project(self, asking: Asking, wanted: str) -> str:
        """Give the project that is meant by its id or its name; without one, that of the run."""
        policy = self._access.policy
        if not wanted:
            return policy.project_of(str(asking.path.module), asking.branch, asking.environment_id)
        found = [wanted] if wanted in policy.parents else [key for key, name in policy.names.items() if name == wanted]
        if len(found) != 1 or not asking.subject.may("environment.create", found[0]):
            raise RequestFailed(f"there is no project '{wanted[:100]}' in which you may make environments")
        return found[0]

    async def _attach(self, asking: Asking, environment_id: str, project_id: str) -> None:
        """Put an environment that is in no project into one."""
        module = str(asking.path.module)
        if project_id == ROOT or self._access.policy.attached_to(module, asking.branch, environment_id) is not None:
            return
        given = AttachEnvironment(module=module, environmentId=environment_id, branch=asking.branch)

        def attach(connection: Connection, caller: Subject) -> None:
            projects.attach(connection, caller, project_id, given, is_new=True)
            record(connection, "project.attach_environment", f"project/{project_id}", **given.model_dump())

        await self._access.change(asking.subject, attach)


def answer(value: Mapping[str, Any]) -> list[str]:
    """Write an answer as both readers take it: one line."""
    return [json.dumps(value)]


def text(request: Request, key: str, default: str | None = None) -> str:
    """Read a text. Raises RequestFailed when it is missing and has no default."""
    value = request.get(key)
    found = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if found:
        return found
    if default is None:
        raise RequestFailed(f"'{key}' is missing in '{request['requestType']}'")
    return default


def packet_of(world: World, request: Request) -> PacketView:
    """Find the packet that a request names. Raises RequestFailed."""
    wanted = text(request, "packetGuid", "") or text(request, "guid")
    found = edits.find_packet(world, wanted)
    if found is None:
        raise RequestFailed(f"packet '{wanted[:200]}' is not known on this branch")
    return found


def values_of(packet: PacketView, fields: object) -> Values:
    """Read the values of a request. Raises CannotEdit and RequestFailed."""
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise RequestFailed("'fields' has to be an object: values by the names of attributes")
    return edits.read_values(packet, fields)


def container_named(environment: EnvironmentView, name: str) -> ContainerView | None:
    """Find a container by its name; upper and lower case mean the same."""
    wanted = name.replace("+", " ").lower()
    return next((item for item in environment.containers if item.name.lower() == wanted), None)


def environment_named(world: World, name: str) -> EnvironmentView | None:
    """Find an environment by its name; upper and lower case mean the same."""
    for definition in world.snapshot.environments.values():
        if definition.name.lower() == name.lower():
            return world.environment(definition.model.id)
    return None
