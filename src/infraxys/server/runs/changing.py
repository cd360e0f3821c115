"""What people do with a run that is there: answer what it asks, and repeat it."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from infraxys.engine.feedback.dialogs import Answer, BadAnswer
from infraxys.server.auth.permissions import Requires, hold
from infraxys.server.auth.places import check_place
from infraxys.server.auth.subject import Subject
from infraxys.server.body import plain, read_json_object, validate
from infraxys.server.errors import Unprocessable, responses
from infraxys.server.paths import API
from infraxys.server.runs.dialogs import dialog_object
from infraxys.server.runs.endpoints import answer_submitted, check_target, idempotency_key
from infraxys.server.runs.execution import target_of
from infraxys.server.runs.reading import find_run, runs_of
from infraxys.server.runs.rights import grant_for, place_of
from infraxys.server.runs.schemas import AnswerDialog, Dialog, Rerun, Run
from infraxys.server.runs.submit import Submission
from infraxys.server.runs.transitions import RunRecord

router = APIRouter(prefix=f"{API}/runs", tags=["runs"])
REFUSALS = responses(400, 401, 403, 404, 409, 413, 422, 429, 500, 503)
MayRead = Annotated[Subject, Depends(Requires("run.read", somewhere=True))]


def body_of(model: type[AnswerDialog | Rerun], *, required: bool) -> dict[str, Any]:
    """Describe a body that the handler reads itself."""
    return {
        "requestBody": {"content": {"application/json": {"schema": model.model_json_schema()}}, "required": required}
    }


def check_answers(subject: Subject, record: RunRecord) -> None:
    """Refuse who neither started the run nor may start it. Raises Forbidden."""
    if subject.user_id is None or subject.user_id != record["user_id"]:
        containers = [step["container_id"] for step in record["steps"]]
        check_place(subject, grant_for(record["kind"]), place_of(record), containers)


@router.post(
    "/{run_id:segment}/answers",
    operation_id="add_answer",
    response_model=Dialog,
    responses=REFUSALS,
    openapi_extra=body_of(AnswerDialog, required=True),
)
async def add_answer(request: Request, subject: MayRead, run_id: str) -> Response:
    """Answer a dialog that the run waits for. The first answer counts."""
    body = await read_json_object(request)
    answer = validate(AnswerDialog, plain(body.value))
    record = await find_run(request, subject, run_id, "run.read")
    hold(request, subject, partial(check_answers, record=record))
    given = Answer(answer.button, answer.value, answer.values, answer.event)
    try:
        dialog = await runs_of(request).answer(record, answer.dialog_id, given, subject)
    except BadAnswer as problem:
        raise Unprocessable(str(problem), errors=[{"loc": problem.field, "message": str(problem)}]) from problem
    return JSONResponse(dialog_object(dialog))


@router.post(
    "/{run_id:segment}/rerun",
    operation_id="create_rerun",
    response_model=Run,
    responses={202: {"model": Run, "description": "Accepted, as the Prefer header asked"}, **REFUSALS},
    openapi_extra=body_of(Rerun, required=False),
)
async def create_rerun(request: Request, subject: MayRead, run_id: str) -> Response:
    """Execute a run again, with the same commits and argument unless asked otherwise."""
    body = await read_json_object(request)
    options = validate(Rerun, plain(body.value))
    record = await find_run(request, subject, run_id, "run.read")
    hold(request, subject, partial(check_target, target=target_of(record)))
    runs = runs_of(request)
    repeated = await runs.repeat(record, from_step=options.from_step, takes_head=options.branch)
    hold(request, subject, partial(check_target, target=repeated.target))  # a workflow may have other steps by now
    submission = Submission(
        subject=subject,
        argument=record["argument"],
        timeout_seconds=record["timeout_seconds"],
        key=idempotency_key(request, subject, await request.body()),
        is_interactive=subject.session_id is not None if options.interactive is None else options.interactive,
        rerun_of=run_id,
    )
    submitted = await runs.submit(repeated.target, submission, repeated)
    return await answer_submitted(request, runs, submitted, options)
