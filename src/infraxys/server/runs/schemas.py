"""The shapes of the execution API: what is sent, and the run object."""

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from infraxys.kit.clock import timestamp
from infraxys.server.runs.transitions import RunRecord

Id = Annotated[str, Field(min_length=1, max_length=200)]
NOT_GIVEN: Any = {}


class Request(BaseModel):
    """Base of request bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, strict=True)


class Execute(Request):
    """The body of the execution calls. All fields are optional."""

    asynchronous: bool = Field(default=False, description="answer as soon as the run is durably queued")
    argument: Any = Field(default=NOT_GIVEN, description="any JSON value; every action finds it as a read-only file")
    timeout_seconds: Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)] | None = None
    return_log: bool | None = Field(default=None, description="put the end of the log into the answer")
    interactive: bool | None = Field(
        default=None,
        description="whether somebody is there to answer the dialogs of the actions; true for who signed in otherwise",
    )

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"asynchronous": False, "argument": {"ticketNumber": "1245"}}]}
    )


class AdhocAction(Request):
    """One action of an ad hoc sequence."""

    container_guid: Id
    instance_guid: Id
    filename: Annotated[str, Field(min_length=1, max_length=500)]


class ExecuteAdhoc(Execute):
    """The body of an ad hoc sequence."""

    environment_guid: Id
    actions: Annotated[list[AdhocAction], Field(min_length=1, max_length=500)]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "environmentGuid": "7d0f3c1a-2b51-4c43-9a55-0c1c5a6f3001",
                    "actions": [
                        {
                            "containerGuid": "7d0f3c1a-2b51-4c43-9a55-0c1c5a6f4001",
                            "instanceGuid": "7d0f3c1a-2b51-4c43-9a55-0c1c5a6f5001",
                            "filename": "report.sh",
                        }
                    ],
                }
            ]
        }
    )


class AnswerDialog(Request):
    """The answer to a dialog: what its kind asks for."""

    dialog_id: Id
    button: Annotated[str, Field(max_length=1000)] | None = Field(default=None, description="the id of a button")
    value: Annotated[str, Field(max_length=65_536)] | None = Field(default=None, description="the text asked for")
    values: Annotated[list[Any], Field(max_length=100_000)] | None = Field(default=None, description="chosen items")
    event: dict[str, Any] | None = Field(default=None, description="what happened in a form")


class Rerun(Request):
    """The body of a call that repeats a run. All fields are optional."""

    from_step: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}$")] | None = Field(
        default=None, description="the id of a step; those before it keep their result"
    )
    branch: bool = Field(default=False, description="take the head of the branch instead of the commit of the run")
    asynchronous: bool = Field(default=False, description="answer as soon as the run is durably queued")
    interactive: bool | None = Field(default=None, description="as for executing")


class Dialog(BaseModel):
    """A dialog of a run."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    step: str
    kind: str
    title: str
    message: str
    is_html: bool = Field(description="the message is HTML that an action made: not to be trusted")
    state: str
    asked_at: datetime
    answered_at: datetime | None
    answered_by: dict[str, Any] | None
    answer: dict[str, Any] | None
    definition: dict[str, Any] | None = None
    updates: dict[str, Any] | None = None


class Step(BaseModel):
    """A step of a run."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    name: str
    status: str
    exit_code: int | None
    attempt: int
    instance_id: str
    filename: str
    started_at: datetime | None
    finished_at: datetime | None
    runner: str | None


class Run(BaseModel):
    """A run, as every call answers it. Documentation of `run_object`."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    run_guid: str
    workflow_run_guid: str
    action_runner_guid: str
    kind: str
    status: str
    message: str
    exit_code: int | None
    action_response: Any
    errors: list[dict[str, Any]]
    log_entries: list[dict[str, Any]] = Field(description="what the action added with ADD_ACTION_LOG")
    module: str
    branch: str
    commit: str
    environment_id: str
    container_id: str | None
    instance_id: str | None
    filename: str | None
    workflow_id: str | None
    workflow_name: str | None
    steps: list[Step]
    trigger: str
    requested_by: dict[str, Any]
    token_id: str | None
    parent_run_id: str | None
    rerun_of: str | None
    is_interactive: bool
    argument_digest: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    queued_seconds: float | None
    duration_seconds: float | None
    log: str | None = None
    log_truncated: bool | None = None
    log_bytes: int | None
    log_sha256: str | None
    dialogs: list[Dialog] | None = Field(default=None, description="where one run is asked for")
    links: dict[str, str]


class RunPage(BaseModel):
    """A page of runs."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    items: list[Run]
    next_cursor: str | None


def seconds(start: datetime | None, end: datetime | None) -> float | None:
    """Give the time between two moments."""
    return None if start is None or end is None else round(max((end - start).total_seconds(), 0), 6)


def run_object(run: RunRecord, log: tuple[str, bool] | None = None) -> dict[str, Any]:
    """Write a record as the API answers it; `log` is the end of its log and whether there is more."""
    run_id = run["id"]
    self_link = f"/api/v1/runs/{run_id}"
    first = run["steps"][0] if run["steps"] else None
    body: dict[str, Any] = {
        "id": run_id,
        "runGuid": run_id,
        "workflowRunGuid": run_id,
        "actionRunnerGuid": f"{run_id}-{first['position'] + 1}" if first else run_id,
        "kind": run["kind"],
        "status": run["status"],
        "message": run["message"] or "",
        "exitCode": run["exit_code"],
        "actionResponse": None if run["action_response"] is None else json.loads(run["action_response"]),
        "errors": json.loads(run["errors"] or "[]"),
        "logEntries": json.loads(run["log_entries"] or "[]"),
        "module": run["module"],
        "branch": run["branch"],
        "commit": run["commit"],
        "environmentId": run["environment_id"],
        "containerId": run["container_id"],
        "instanceId": run["instance_id"],
        "filename": run["filename"],
        "workflowId": run["workflow_id"],
        "workflowName": run["workflow_name"],
        "steps": [step_object(step) for step in run["steps"]],
        "trigger": run["trigger"],
        "requestedBy": {"id": run["user_id"], "name": run["user_name"]},
        "tokenId": run["token_id"],
        "parentRunId": run["parent_run_id"],
        "rerunOf": run["rerun_of"],
        "isInteractive": bool(run["is_interactive"]),
        "argumentDigest": run["argument_digest"],
        "createdAt": timestamp(run["created_at"]),
        "startedAt": timestamp(run["started_at"]),
        "finishedAt": timestamp(run["finished_at"]),
        "queuedSeconds": seconds(run["created_at"], run["started_at"]),
        "durationSeconds": seconds(run["started_at"], run["finished_at"]),
        "logBytes": run["log_bytes"],
        "logSha256": run["log_sha256"],
        "links": {
            "self": self_link,
            "log": f"{self_link}/log",
            "events": f"{self_link}/events",
            "cancel": f"{self_link}/cancel",
            "rerun": f"{self_link}/rerun",
            "answers": f"{self_link}/answers",
            "web": f"/runs/{run_id}",
        },
    }
    if log is not None:
        body["log"], body["logTruncated"] = log
    return body


def step_object(step: dict[str, Any]) -> dict[str, Any]:
    """Write a step as the API answers it."""
    return {
        "id": f"{step['position'] + 1}",
        "name": step["name"],
        "status": step["status"],
        "exitCode": step["exit_code"],
        "attempt": step["attempt"],
        "instanceId": step["instance_id"],
        "filename": step["filename"],
        "startedAt": timestamp(step["started_at"]),
        "finishedAt": timestamp(step["finished_at"]),
        "runner": step["runner"],
    }
