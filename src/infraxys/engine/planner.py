"""Plans: what a run will execute, resolved against one set of commits. Pure; the same commits give the same plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal
from urllib.parse import quote

from infraxys.engine.evaluate import AttributeFailed
from infraxys.engine.hosts import TemplateProblem
from infraxys.engine.limits import NO_WISHES, WRITTEN, Wishes
from infraxys.engine.objects import TRUE_VALUES
from infraxys.engine.plan import Plan, PlannedModule, PlannedStep
from infraxys.engine.render import GeneratedAction, Generation
from infraxys.engine.world import EnvironmentView, InstanceView, World
from infraxys.spec import names
from infraxys.spec.identity import BranchPath
from infraxys.spec.models import PacketFile, Workflow, WorkflowStep

ENABLE_IN_PARENTS = "enable_module_in_parents"
ALWAYS_ENABLE = "always_enable_module"


@dataclass(frozen=True, slots=True)
class StepTarget:
    """One action to execute: which file of which instance in which container. `name` is its caption if known."""

    container_id: str
    instance_id: str
    filename: str
    name: str | None = None


class CannotPlan(Exception):  # noqa: N818 - reads as what happened
    """A target does not exist or cannot be executed. `code` is that of the REST API."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def make_plan(
    world: World,
    environment: EnvironmentView,
    generation: Generation,
    targets: Sequence[StepTarget],
    *,
    kind: Literal["action", "workflow", "adhoc"],
    workflow: Workflow | None = None,
) -> Plan:
    """Resolve the targets. Raises CannotPlan."""
    steps = []
    for position, target in enumerate(targets):
        instance = find_instance(environment, target)
        action = find_action(instance, generation, target.filename)
        steps.append(_plan_step(world, generation, instance, action, f"{position + 1}", target.name))
    return Plan(
        kind=kind,
        branch_path=world.root,
        commit=world.snapshot.commit,
        commits=world.snapshots.used(),
        environment_id=environment.id,
        environment_name=environment.name,
        rendered=generation.rendered,
        steps=tuple(steps),
        workflow_id=workflow.id if workflow else None,
        workflow_name=workflow.name if workflow else None,
    )


def workflow_targets(environment: EnvironmentView, workflow: Workflow) -> list[StepTarget]:
    """Give the actions that the steps of a workflow name. Raises CannotPlan."""
    targets = []
    if not workflow.steps:
        raise CannotPlan("empty_workflow", f"workflow '{workflow.name}' has no steps")
    for step in workflow.steps:
        if step.environment_id and step.environment_id != environment.id:
            message = (
                f"step '{step.name}' of workflow '{workflow.name}' is in another environment, which is not possible"
            )
            raise CannotPlan("unknown_environment", message)
        instance = find_instance(environment, StepTarget(step.container_id, step.instance_id, step.filename or ""))
        targets.append(StepTarget(step.container_id, step.instance_id, _step_file(instance, step, workflow), step.name))
    return targets


def _step_file(instance: InstanceView, step: WorkflowStep, workflow: Workflow) -> str:
    files = [*instance.packet.files.values(), *instance.container.environment.files_of_every_instance()]
    for slot in files:
        if step.packet_file_id and slot.file.id == step.packet_file_id:
            return slot.file.filename
    if step.filename and any(slot.file.filename == step.filename for slot in files):
        return step.filename
    message = (
        f"step '{step.name}' of workflow '{workflow.name}' names packet file '{step.packet_file_id or step.filename}', "
        f"which packet '{instance.packet.definition.name}' does not have"
    )
    raise CannotPlan("unknown_file", message)


def find_instance(environment: EnvironmentView, target: StepTarget) -> InstanceView:
    """Find an instance in its container. Raises CannotPlan."""
    for container in environment.containers:
        if container.id == target.container_id:
            for instance in container.instances():
                if instance.id == target.instance_id:
                    return instance
            message = f"container '{container.name}' has no instance '{target.instance_id}'"
            raise CannotPlan("unknown_instance", message)
    raise CannotPlan("unknown_container", f"environment '{environment.name}' has no container '{target.container_id}'")


def find_action(instance: InstanceView, generation: Generation, filename: str) -> GeneratedAction:
    """Find an executable file of an instance as generated. Raises CannotPlan."""
    slot = instance.packet.files.get(filename)
    action = generation.actions.get((instance.container.id, instance.id, filename))
    if action is not None:
        return action
    if slot is None:
        known = ", ".join(sorted(instance.packet.files)[:20]) or "none"
        message = f"packet '{instance.packet.definition.name}' has no file '{filename}' (it has: {known})"
        raise CannotPlan("unknown_file", message)
    if not slot.file.executable:
        message = f"file '{filename}' of packet '{slot.packet.name}' is not marked executable"
    else:
        message = f"file '{filename}' gives no action for instance '{instance.label}': its template skips it"
    raise CannotPlan("not_executable", message)


def _plan_step(
    world: World,
    generation: Generation,
    instance: InstanceView,
    action: GeneratedAction,
    step_id: str,
    name: str | None,
) -> PlannedStep:
    container = instance.container
    environment = container.environment
    try:
        values = generation.evaluator.exported(instance)
    except (AttributeFailed, TemplateProblem) as error:
        raise CannotPlan("generation_failed", f"{instance.where}: {error}") from error
    attributes = {key: value for key, value in values.items() if names.is_exportable(key)}
    variables = {
        "PACKET_GUID": instance.packet.id,
        "INSTANCE_GUID": instance.id,
        "PACKET_MODULE_BRANCH_PATH": str(instance.packet.path),
        "environment_directory": environment.directory,
        "container_directory": container.directory,
        "instance_directory": instance.directory,
        "environment_name": environment.name,
        "environment_guid": environment.id,
        "environment_id": environment.id,
        "environment_module_branch_path": str(environment.path),
        "container_name": container.name,
        "container_guid": container.id,
        "container_id": container.id,
        "instance_id": instance.id,
        "instance_label": instance.label,
        "action_label": action.caption,
        "module_branch_path_url_encoded": quote(str(environment.path), safe=""),
        "environment_db_id": environment.id,
        "container_db_id": container.id,
        "instance_db_id": instance.id,
    }
    return PlannedStep(
        id=step_id,
        name=name or action.caption,
        container_id=container.id,
        instance_id=instance.id,
        packet_id=instance.packet.id,
        filename=action.filename,
        directory=f"{environment.directory}/{container.directory}/{instance.directory}",
        attributes=attributes,
        variables=variables,
        modules=() if action.slot.file.is_quick_runner else enabled_modules(world, instance, action.owner),
        timeout_seconds=action.slot.file.timeout_seconds,
        is_quick=action.slot.file.is_quick_runner,
        is_interactive=action.slot.file.is_interactive,
        wishes=wishes_of(action.slot.file),
        image=action.slot.file.docker_image.strip(),
        custom_command=action.slot.file.custom_command,
        pull_policy=action.slot.file.pull_policy or None,
    )


def wishes_of(file: PacketFile) -> Wishes:
    """Give what a packet file says about limits."""
    if file.limits is None and file.network is None:
        return NO_WISHES
    limits = {} if file.limits is None else {name: getattr(file.limits, name) for name in WRITTEN.values()}
    return Wishes(**limits, network=file.network)


def enabled_modules(world: World, instance: InstanceView, owner: BranchPath | None = None) -> tuple[PlannedModule, ...]:
    """Give the modules that an action of the instance sees, each with what it depends on.

    The packet's own, and that of the file's `owner`; the modules of descendants with `enable_module_in_parents`; those
    of every instance that the environment sees, in included containers as well, with `always_enable_module`.
    """
    sources: list[BranchPath] = [instance.packet.path, owner or instance.packet.path]
    sources += [view.packet.path for view in instance.descendants() if _is_set(view, ENABLE_IN_PARENTS)]
    environment = instance.container.environment
    seen = chain(environment.instances(), *(container.instances() for container in environment.included))
    sources += [view.packet.path for view in seen if _is_set(view, ALWAYS_ENABLE)]
    found: dict[BranchPath, None] = {}
    for source in dict.fromkeys(sources):
        found.update(dict.fromkeys(world.dependencies(source)))
    return tuple(PlannedModule(path, world.snapshots[path].commit) for path in found)


def _is_set(view: InstanceView, name: str) -> bool:
    return view.values.get(name, "").lower() in TRUE_VALUES
