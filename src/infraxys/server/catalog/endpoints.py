"""What is in the registered modules, over HTTP."""

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse, Response

from infraxys.engine.render import Generation
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.places import Place, Sight, check_place
from infraxys.server.auth.subject import Subject
from infraxys.server.catalog.catalog import Catalog, Checked, closest
from infraxys.server.catalog.errors import UnknownBranch, UnknownEnvironment
from infraxys.server.errors import responses
from infraxys.server.modules.service import Modules, UnknownModule
from infraxys.server.paths import API
from infraxys.spec.identity import BranchPath
from infraxys.spec.problem import Problem

router = APIRouter(prefix=f"{API}/modules", tags=["modules"])
REFUSALS = responses(400, 401, 403, 404, 408, 413, 422, 429, 500, 503)
GRANT = "environment.read"
MayRead = Annotated[Subject, Depends(Requires(GRANT, somewhere=True))]
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
    subject: MayRead,
    module: str,
    branch: str,
    environment_id: str,
    limit: Annotated[int, Query(ge=0, le=MAX_FILES, description="files listed; all are counted")] = DEFAULT_FILES,
) -> Response:
    """Render everything and answer the files, the actions and every problem. Executes nothing, writes nothing."""
    catalog: Catalog = request.app.state.services.catalog
    path = await visible_path(request, subject, module, branch, environment_id)
    try:
        checked = await catalog.check(path, environment_id)
    except KeyError:
        raise UnknownEnvironment(environment_id, branch, None) from None
    place = Place(str(path.module), branch, environment_id)
    check_place(subject, GRANT, place, [container.id for container in checked.environment.containers])
    return JSONResponse(generated(path, checked, limit).model_dump(by_alias=True))


async def visible_path(request: Request, subject: Subject, module: str, branch: str, environment_id: str) -> BranchPath:
    """Find a branch with an environment that the caller may know of. Raises UnknownModule, -Branch and -Environment.

    Who does not see everything is not told which of the three it is.
    """
    modules: Modules = request.app.state.services.modules
    catalog: Catalog = request.app.state.services.catalog
    sight = Sight(subject, GRANT)
    try:
        path = BranchPath(await modules.identify(module), branch)
    except UnknownModule:
        if sight.sees_everything:
            raise
        raise UnknownEnvironment(environment_id, branch, None) from None
    if not sight.environment(Place(str(path.module), branch, environment_id)):
        raise UnknownEnvironment(environment_id, branch, None)
    if path not in catalog.heads:
        known = [other.branch for other in catalog.heads] if sight.sees_everything else []
        raise UnknownBranch(branch, closest(branch, known))
    return path


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
