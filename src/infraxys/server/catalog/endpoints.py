"""What is in the registered modules, over HTTP."""

import asyncio
import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse, Response

from infraxys.engine.plan import RenderedFile
from infraxys.engine.render import Generation
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.places import Place, Sight, check_place
from infraxys.server.auth.subject import Subject
from infraxys.server.catalog.catalog import Catalog, Checked, closest
from infraxys.server.catalog.errors import UnknownBranch, UnknownEnvironment
from infraxys.server.errors import BadRequest, responses
from infraxys.server.modules.service import Modules, UnknownModule
from infraxys.server.paging import decode_cursor, encode_cursor
from infraxys.server.paths import API
from infraxys.spec.identity import BranchPath
from infraxys.spec.problem import Problem

router = APIRouter(prefix=f"{API}/modules", tags=["modules"])
REFUSALS = responses(400, 401, 403, 404, 408, 413, 422, 429, 500, 503)
GRANT = "environment.read"
MayRead = Annotated[Subject, Depends(Requires(GRANT, somewhere=True))]
MAX_FILES, DEFAULT_FILES = 10_000, 1000
MAX_ACTIONS, MAX_PROBLEMS = 10_000, 1000
CURSOR = "generated files"


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class GeneratedFile(Answer):
    """A file that would be written."""

    path: str = Field(description="below the environments root", examples=["production_1/web/tool_7/run.sh"])
    size: int = Field(description="in bytes")
    sha256: str = Field(description="of the content, in hex")
    scope: str = Field(description="the packet file's `saveWith`", examples=["CURRENT INSTANCE"])
    executable: bool


class FoundAction(Answer):
    """An action: an executable file of an instance, with what menus and tables show."""

    container_id: str
    instance_id: str
    filename: str
    path: str = Field(description="the file that is executed, as in `files`")
    menu_caption: str
    instance_label: str


class Finding(Answer):
    """What is wrong, and where: a file of the module, a position in it, and the container, instance or attribute."""

    severity: Literal["error", "warning"] = Field(description="error: missing, or does not render")
    code: str = Field(examples=["template_failed", "unused_attribute"])
    message: str
    file: str = Field(description="of the module, or of the one that `where` names")
    line: int | None = Field(description="from 1; null where the whole file is meant")
    column: int | None
    container_id: str | None
    instance_id: str | None
    attribute: str | None = Field(description="the attribute whose value is wrong, by name")
    where: str = Field(description="the same for people, by names", examples=["container 'web', instance 'tool'"])


class LeftOut(Answer):
    """How many there are beyond what the answer lists."""

    files: int = Field(description="after this page; `nextCursor` goes on")
    actions: int
    problems: int


class Generated(Answer):
    """What generating an environment would give. Runs need `isComplete`."""

    module: str
    branch: str
    commit: str
    environment_id: str
    environment_name: str
    is_complete: bool = Field(description="whether every template rendered")
    digest: str = Field(description="of all files together; the same digest is the same content")
    file_count: int = Field(description="of all pages")
    files: list[GeneratedFile]
    next_cursor: str | None
    actions: list[FoundAction]
    problems: list[Finding] = Field(description="all at once: errors first, then warnings")
    left_out: LeftOut


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
    limit: Annotated[int, Query(ge=0, le=MAX_FILES, description="files on a page; all are counted")] = DEFAULT_FILES,
    cursor: Annotated[str | None, Query(max_length=1000, description="the `nextCursor` of the page before")] = None,
) -> Response:
    """Render everything; answer the files, the actions and every problem and warning. Executes and writes nothing.

    An environment with problems is answered with 200 as well: this is a check. `module` is `host/org/repo`,
    percent-encoded, or a module's id; `branch` is one percent-encoded segment.
    """
    catalog: Catalog = request.app.state.services.catalog
    path = await visible_path(request, subject, module, branch, environment_id)
    try:
        checked = await catalog.check(path, environment_id)
    except KeyError:
        raise UnknownEnvironment(environment_id, branch, None) from None
    place = Place(str(path.module), branch, environment_id)
    check_place(subject, GRANT, place, [container.id for container in checked.environment.containers])
    return await asyncio.to_thread(answer, path, checked, limit, cursor)


async def visible_path(
    request: Request, subject: Subject, module: str, branch: str, environment_id: str, grant: str = GRANT
) -> BranchPath:
    """Find a branch with an environment that the caller may know of. Raises UnknownModule, -Branch and -Environment.

    Who does not see everything is not told which of the three it is.
    """
    modules: Modules = request.app.state.services.modules
    catalog: Catalog = request.app.state.services.catalog
    sight = Sight(subject, grant)
    try:
        path = BranchPath(await modules.identify(module), branch)
    except UnknownModule:
        if sight.sees_everything:
            raise
        raise UnknownEnvironment(environment_id, branch, None) from None
    if path not in catalog.heads:
        if sight.sees_everything:
            own = [known.branch for known in catalog.heads if known.module == path.module]
            raise UnknownBranch(branch, closest(branch, own))
        raise UnknownEnvironment(environment_id, branch, None)
    if not sight.environment(Place(str(path.module), branch, environment_id)):
        raise UnknownEnvironment(environment_id, branch, None)
    return path


def answer(path: BranchPath, checked: Checked, limit: int, cursor: str | None) -> Response:
    """Write a generation."""
    generation, environment = checked.generation, checked.environment
    files, actions = generation.rendered.files, list(generation.actions.values())
    problems = sorted((*generation.problems, *checked.warnings), key=lambda problem: problem.severity != "error")
    start = position(generation, cursor)
    end = start + limit
    found = Generated(
        module=str(path.module),
        branch=path.branch,
        commit=checked.commit,
        environment_id=environment.id,
        environment_name=environment.name,
        is_complete=generation.is_complete,
        digest=generation.rendered.digest,
        file_count=len(files),
        files=[written(generation, file) for file in files[start:end]],
        next_cursor=encode_cursor(CURSOR, f"{generation.rendered.digest}:{end}")
        if 0 < limit < len(files) - start
        else None,
        actions=[
            FoundAction(
                container_id=action.container_id,
                instance_id=action.instance_id,
                filename=action.filename,
                path=action.path,
                menu_caption=action.caption,
                instance_label=action.instance_label,
            )
            for action in actions[:MAX_ACTIONS]
        ],
        problems=[finding(problem) for problem in problems[:MAX_PROBLEMS]],
        left_out=LeftOut(
            files=max(0, len(files) - end),
            actions=max(0, len(actions) - MAX_ACTIONS),
            problems=max(0, len(problems) - MAX_PROBLEMS),
        ),
    )
    return JSONResponse(found.model_dump(by_alias=True))


def position(generation: Generation, cursor: str | None) -> int:
    """Give the number of the first file of a page. Raises BadRequest."""
    if cursor is None:
        return 0
    digest, _, number = decode_cursor(CURSOR, cursor).partition(":")
    if not number.isascii() or not number.isdigit():
        raise BadRequest("the cursor is not one of this list")
    if digest != generation.rendered.digest:
        raise BadRequest("the environment generates something else since the cursor was made; begin again without it")
    return int(number)


def written(generation: Generation, file: RenderedFile) -> GeneratedFile:
    """Write a file, without what is in it."""
    return GeneratedFile(
        path=file.path,
        size=len(file.content),
        sha256=hashlib.sha256(file.content).hexdigest(),
        scope=generation.scopes[file.path],
        executable=file.executable,
    )


def finding(problem: Problem) -> Finding:
    """Write a problem."""
    return Finding(
        severity=problem.severity,
        code=problem.code,
        message=problem.message,
        file=problem.file,
        line=problem.line,
        column=problem.column,
        container_id=problem.container_id or None,
        instance_id=problem.instance_id or None,
        attribute=problem.attribute or None,
        where=problem.where,
    )
