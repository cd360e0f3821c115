"""The execution API over HTTP. Endpoints translate; `submit.py` decides."""

import asyncio
import hashlib
import re
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response

from infraxys.engine.planner import StepTarget
from infraxys.engine.status import FINAL, Status
from infraxys.server.auth.permissions import Requires, hold
from infraxys.server.auth.places import Sight, check_place
from infraxys.server.auth.subject import Subject
from infraxys.server.body import JsonObject, plain, read_json_object, validate
from infraxys.server.catalog.catalog import Target
from infraxys.server.errors import BadRequest, responses
from infraxys.server.paths import API
from infraxys.server.runs.repository import IdempotencyKey
from infraxys.server.runs.rights import grant_for
from infraxys.server.runs.schemas import Execute, ExecuteAdhoc, Rerun, Run, run_object
from infraxys.server.runs.submit import Runs, Submission, Submitted

LOG_TAIL = 64 * 1024
MAX_WAIT = 3600.0
REFUSALS = responses(400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503)
router = APIRouter(prefix=API, tags=["execution"])

MayRunAction = Annotated[Subject, Depends(Requires("action.execute", somewhere=True))]
MayRunWorkflow = Annotated[Subject, Depends(Requires("workflow.execute", somewhere=True))]
Module = Annotated[str | None, Query(description="host/org/repo, where an id exists in several modules")]
Container = Annotated[str | None, Query(description="container id, where a role is used by several containers")]
Environment = Annotated[str | None, Query(description="environment id, to narrow the look-up")]
EXECUTE_BODY: dict[str, Any] = {
    "requestBody": {"content": {"application/json": {"schema": Execute.model_json_schema()}}, "required": False}
}
ADHOC_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {"application/json": {"schema": ExecuteAdhoc.model_json_schema()}},
        "required": True,
    }
}


@router.post(
    "/instance/{branch:branch}/{instance_id:segment}/files/{filename:segment}/execute",
    operation_id="execute_action",
    summary="Execute an action of an instance",
    response_model=Run,
    responses={202: {"model": Run, "description": "Accepted, as the Prefer header asked"}, **REFUSALS},
    openapi_extra=EXECUTE_BODY,
)
async def execute_action(  # noqa: PLR0913 - the parts of the documented URL
    request: Request,
    subject: MayRunAction,
    branch: str,
    instance_id: str,
    filename: str,
    module: Module = None,
    container: Container = None,
    environment: Environment = None,
) -> Response:
    """Execute an executable packet file of an instance, synchronously unless asked otherwise."""
    body = await read_json_object(request)
    options = validate(Execute, {**plain(without_argument(body)), "argument": None})
    target = await request.app.state.services.catalog.find_action(
        branch,
        instance_id,
        filename,
        module=module,
        container_id=container,
        environment_id=environment,
        sight=Sight(subject, "action.execute"),
    )
    return await execute(request, subject, target, options, body)


@router.post(
    "/environment/{branch:branch}/{environment_id:segment}/workflow/{workflow_id:segment}/execute",
    operation_id="execute_workflow",
    summary="Execute a workflow of an environment",
    response_model=Run,
    responses={202: {"model": Run, "description": "Accepted, as the Prefer header asked"}, **REFUSALS},
    openapi_extra=EXECUTE_BODY,
)
async def execute_workflow(
    request: Request,
    subject: MayRunWorkflow,
    branch: str,
    environment_id: str,
    workflow_id: str,
    module: Module = None,
) -> Response:
    """Execute the steps of a workflow one after another, up to the first that fails."""
    body = await read_json_object(request)
    options = validate(Execute, {**plain(without_argument(body)), "argument": None})
    catalog = request.app.state.services.catalog
    sight = Sight(subject, "workflow.execute")
    target = await catalog.find_workflow(branch, environment_id, workflow_id, module=module, sight=sight)
    return await execute(request, subject, target, options, body)


@router.post(
    "/environments/{branch:branch}/execute",
    operation_id="execute_adhoc",
    summary="Execute a sequence of actions",
    response_model=Run,
    responses={202: {"model": Run, "description": "Accepted, as the Prefer header asked"}, **REFUSALS},
    openapi_extra=ADHOC_BODY,
)
async def execute_adhoc(request: Request, subject: MayRunAction, branch: str, module: Module = None) -> Response:
    """Execute the actions that the body lists, one after another, up to the first that fails."""
    body = await read_json_object(request)
    options = validate(ExecuteAdhoc, {**plain(without_argument(body)), "argument": None})
    steps = [StepTarget(item.container_guid, item.instance_guid, item.filename) for item in options.actions]
    catalog = request.app.state.services.catalog
    sight = Sight(subject, "action.execute")
    target = await catalog.find_adhoc(branch, options.environment_guid, steps, module=module, sight=sight)
    return await execute(request, subject, target, options, body)


def without_argument(body: JsonObject) -> dict[str, Any]:
    """Give the members that a model checks; the argument is passed on as it came."""
    return {key: value for key, value in body.value.items() if key != "argument"}


async def execute(request: Request, subject: Subject, target: Target, options: Execute, body: JsonObject) -> Response:
    """Submit a run and answer as the caller prefers. Raises Forbidden for one who may know of the target only."""
    hold(request, subject, partial(check_target, target=target))
    runs: Runs = request.app.state.services.runs
    submission = Submission(
        subject=subject,
        argument=body.raw.get("argument", "{}").encode(),
        timeout_seconds=options.timeout_seconds,
        key=idempotency_key(request, subject, await request.body()),
        is_interactive=subject.session_id is not None if options.interactive is None else options.interactive,
    )
    submitted = await runs.submit(target, submission)
    return await answer_submitted(request, runs, submitted, options)


async def answer_submitted(request: Request, runs: Runs, submitted: Submitted, options: Execute | Rerun) -> Response:
    """Answer for a run that was accepted, as the caller prefers."""
    preferences = parse_prefer(request.headers.getlist("prefer"))
    headers = {"Location": f"/api/v1/runs/{submitted.run_id}"}
    if submitted.is_replay:
        headers["Idempotency-Replayed"] = "true"
    if "respond-async" in preferences:
        headers["Preference-Applied"] = "respond-async"
        return await answer_now(runs, submitted, 202, headers)
    if options.asynchronous:
        return await answer_now(runs, submitted, 200, headers)
    wait = wait_seconds(preferences)
    try:
        record = await asyncio.wait_for(asyncio.shield(submitted.ended), wait)
    except TimeoutError:
        headers["Preference-Applied"] = f"wait={preferences['wait']}"
        return await answer_now(runs, submitted, 202, headers)
    if wait is not None:
        headers["Preference-Applied"] = f"wait={preferences['wait']}"
    log = None if isinstance(options, Execute) and options.return_log is False else tail(runs, submitted.run_id)
    return JSONResponse(run_object(record, log), headers=headers)


def check_target(subject: Subject, target: Target) -> None:
    """Refuse who may not execute a target, or not in the container of one of its steps. Raises Forbidden."""
    check_place(subject, grant_for(target.kind), target.place, [step.container_id for step in target.steps])


async def answer_now(runs: Runs, submitted: Submitted, status: int, headers: dict[str, str]) -> Response:
    """Answer with the run as it stands."""
    runs.watchers.forget(submitted.run_id, submitted.ended)
    return JSONResponse(run_object(await runs.get(submitted.run_id)), status, headers)


def tail(runs: Runs, run_id: str) -> tuple[str, bool]:
    """Give the end of a log as text, cut where a character begins, and whether there is more."""
    data, is_cut = runs.execution.reader(run_id).tail(LOG_TAIL)
    if is_cut:
        start = 0
        while start < min(4, len(data)) and data[start] & 0xC0 == 0x80:
            start += 1
        data = data[start:]
    return data.decode(errors="replace"), is_cut


def parse_prefer(values: list[str]) -> dict[str, str]:
    """Read Prefer headers (RFC 7240): names in lower case, first occurrence counts, parameters are ignored."""
    preferences: dict[str, str] = {}
    for value in values:
        for item in value.split(","):
            name, _, text = item.partition(";")[0].partition("=")
            if name.strip():
                preferences.setdefault(name.strip().lower(), text.strip().strip('"'))
    return preferences


def wait_seconds(preferences: dict[str, str]) -> float | None:
    """Give how long the caller wants to wait at most; None for no limit, also when it makes no sense."""
    text = preferences.get("wait", "")
    return min(float(text), MAX_WAIT) if re.fullmatch(r"\d{1,9}", text) else None


def idempotency_key(request: Request, subject: Subject, body: bytes) -> IdempotencyKey | None:
    """Read the Idempotency-Key and what it stands for: method, path, query and body. Raises BadRequest."""
    values = request.headers.getlist("idempotency-key")
    if not values:
        return None
    key = values[0].strip().strip('"')
    if len(values) > 1 or not 0 < len(key) <= 255 or not key.isprintable():
        raise BadRequest("the Idempotency-Key has to be one text of up to 255 characters")
    parts = (request.method, request.url.path, request.url.query, hashlib.sha256(body).hexdigest())
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return IdempotencyKey(subject.caller_key, key, fingerprint)


def is_final(status: str) -> bool:
    """Whether a run has ended."""
    return Status(status) in FINAL
