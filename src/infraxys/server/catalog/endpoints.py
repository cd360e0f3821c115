"""What is in the registered modules, over HTTP."""

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse, Response

from infraxys.engine.render import Generation
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.catalog.catalog import Catalog, Checked, closest
from infraxys.server.catalog.errors import UnknownBranch, UnknownEnvironment
from infraxys.server.errors import responses
from infraxys.server.modules.service import Modules
from infraxys.server.paths import API
from infraxys.spec.identity import BranchPath
from infraxys.spec.problem import Problem

router = APIRouter(prefix=f"{API}/modules", tags=["modules"])
REFUSALS = responses(400, 401, 403, 404, 408, 413, 422, 429, 500, 503)
MAX_FILES, DEFAULT_FILES = 10_000, 1000


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class GeneratedFile(Answer):
    """A file that would be written. `path` is below the environments root."""

    path: str
    bytes: int
    sha256: str
    executable: bool


class FoundAction(Answer):
    """An action: an executable file of an instance, with what menus show."""

    container_id: str
    instance_id: str
    filename: str
    path: str
    caption: str
    instance_label: str


class Finding(Answer):
    """What is wrong, and where: a file of the module, a position in it, and the container, instance or attribute."""

    severity: Literal["error", "warning"]
    code: str
    message: str
    file: str
    line: int | None
    column: int | None
    where: str


class Generated(Answer):
    """What generating an environment would give. Runs need `isComplete`."""

    module: str
    branch: str
    commit: str
    environment_id: str
    environment_name: str
    is_complete: bool
    digest: str = Field(description="of all files together; the same digest is the same content")
    file_count: int
    files: list[GeneratedFile]
    actions: list[FoundAction]
    problems: list[Finding]


@router.post(
    "/{module:segment}/branches/{branch:segment}/environments/{environment_id:segment}/generate",
    operation_id="generate_environment",
    summary="Check what an environment generates",
    response_model=Generated,
    responses=REFUSALS,
)
async def generate_environment(
    request: Request,
    subject: Annotated[Subject, Depends(Requires("environment.read"))],
    module: str,
    branch: str,
    environment_id: str,
    limit: Annotated[int, Query(ge=0, le=MAX_FILES, description="files listed; all are counted")] = DEFAULT_FILES,
) -> Response:
    """Render everything and answer the files, the actions and every problem. Executes nothing, writes nothing."""
    modules: Modules = request.app.state.services.modules
    catalog: Catalog = request.app.state.services.catalog
    path = BranchPath(await modules.identify(module), branch)
    if path not in catalog.heads:
        raise UnknownBranch(branch, closest(branch, [known.branch for known in catalog.heads]))
    try:
        checked = await catalog.check(path, environment_id)
    except KeyError:
        raise UnknownEnvironment(environment_id, branch, None) from None
    return JSONResponse(generated(path, checked, limit).model_dump(by_alias=True))


def generated(path: BranchPath, checked: Checked, limit: int) -> Generated:
    """Write a generation."""
    generation, environment = checked.generation, checked.environment
    return Generated(
        module=str(path.module),
        branch=path.branch,
        commit=checked.commit,
        environment_id=environment.id,
        environment_name=environment.name,
        is_complete=generation.is_complete,
        digest=generation.rendered.digest,
        file_count=len(generation.rendered.files),
        files=files_of(generation, limit),
        actions=[
            FoundAction(
                container_id=action.container_id,
                instance_id=action.instance_id,
                filename=action.filename,
                path=action.path,
                caption=action.caption,
                instance_label=action.instance_label,
            )
            for action in generation.actions.values()
        ],
        problems=[finding(problem) for problem in (*generation.problems, *checked.warnings)],
    )


def files_of(generation: Generation, limit: int) -> list[GeneratedFile]:
    """Write the first files."""
    return [
        GeneratedFile(
            path=file.path,
            bytes=len(file.content),
            sha256=hashlib.sha256(file.content).hexdigest(),
            executable=file.executable,
        )
        for file in generation.rendered.files[:limit]
    ]


def finding(problem: Problem) -> Finding:
    """Write a problem."""
    values: dict[str, Any] = {name: getattr(problem, name) for name in Finding.model_fields}
    return Finding(**values)
