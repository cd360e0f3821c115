"""Plans and runs for the runtime, without modules, templates or a server."""

import hashlib
from collections.abc import Mapping
from typing import Any

from infraxys.engine.plan import Plan, PlannedModule, PlannedStep, RenderedEnvironment, RenderedFile
from infraxys.engine.run_tree import RunContext
from infraxys.spec.identity import BranchPath

ENVIRONMENT, INSTANCE = "prod_1", "prod_1/web/server_1"


def make_environment(files: Mapping[str, str | bytes]) -> RenderedEnvironment:
    """An environment whose files are those of the instance, or elsewhere when the name begins with `/`."""
    rendered = []
    for name, content in files.items():
        path = f"{ENVIRONMENT}{name}" if name.startswith("/") else f"{INSTANCE}/{name}"
        data = content.encode() if isinstance(content, str) else content
        rendered.append(RenderedFile(path, data, executable="data" not in name))
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    return RenderedEnvironment(digest, ENVIRONMENT, tuple(rendered))


def make_plan(
    files: Mapping[str, str | bytes],
    *actions: str,
    attributes: Mapping[str, str] | None = None,
    modules: tuple[PlannedModule, ...] = (),
    timeout_seconds: float = 60,
) -> Plan:
    """A plan whose steps are the actions; all files, in their order, when none is named."""
    steps = tuple(
        PlannedStep(
            id=str(number),
            name=name,
            container_id="c",
            instance_id="i",
            packet_id="p",
            filename=name,
            directory=INSTANCE,
            attributes=attributes or {},
            variables={"PACKET_GUID": "p", "INSTANCE_GUID": "i", "action_label": f"Do {name}"},
            modules=modules,
            timeout_seconds=timeout_seconds,
        )
        for number, name in enumerate(actions or tuple(files), start=1)
    )
    path = BranchPath.parse("host\\org\\repo\\main")
    return Plan("adhoc", path, "0" * 40, {path: "0" * 40}, "e", "production", make_environment(files), steps)


def make_context(run_id: str = "run-1", argument: bytes = b"{}", **parts: Any) -> RunContext:
    """What a run by Ann gives to its steps."""
    return RunContext(run_id, argument, "ann", "Ann Smith", parts.pop("grants", ("deploy", "two words")), **parts)
