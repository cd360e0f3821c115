"""Examples in the API document: what people copy first. Checked against the schemas by a test."""

from typing import Any

_ID = "01a2083c-ff32-76a0-b7bc-c2e72f5aa04b"
_CONTAINER = "7d0f3c1a-2b51-4c43-9a55-0c1c5a6f4001"
_ENVIRONMENT = "7d0f3c1a-2b51-4c43-9a55-0c1c5a6f3001"
_INSTANCE = "7d0f3c1a-2b51-4c43-9a55-0c1c5a6f5001"
_MODULE = "github.com/example/deployment"
_CHANGED_VARIABLE = {"value": "eu-central-1"}
_REFERENCE = {
    "moduleBranchPath": "github.com\\example\\deployment\\main",
    "environmentId": _ENVIRONMENT,
    "containerId": _CONTAINER,
    "instanceId": _INSTANCE,
}
_WANTED_CHILDREN = {"attributeName": "dns_name", "attributeValue": "www"}
_VALUES = {"dns_name": "www", "port": "8080"}

BODIES: dict[str, dict[str, Any]] = {
    "add_answer": {"dialogId": _ID, "button": "yes"},
    "create_rerun": {"fromStep": "2", "asynchronous": True},
    "add_module": {"url": "https://github.com/example/deployment", "branches": ["main"]},
    "fetch_module": {"discard": False},
    "get_instance": _REFERENCE,
    "get_instance_by_attribute": {**_REFERENCE, **_WANTED_CHILDREN},
    "list_instances_by_packet_type": {**_REFERENCE, "packetType": "DNS-RECORD", "recursive": True},
    "list_children": _WANTED_CHILDREN,
    "list_children_in_container": _WANTED_CHILDREN,
    "ensure_children": {"instances": [_VALUES]},
    "ensure_children_in_container": {"instances": [_VALUES]},
    "add_instance": _VALUES,
    "update_instance": {
        "instance": {
            "moduleBranchPath": _REFERENCE["moduleBranchPath"],
            "environmentId": _ENVIRONMENT,
            "containerId": _CONTAINER,
            "id": _INSTANCE,
            "attributes": [{"name": "port", "value": "8081"}],
        }
    },
    "update_project_variable": _CHANGED_VARIABLE,
    "update_environment_variable": _CHANGED_VARIABLE,
    "update_container_variable": _CHANGED_VARIABLE,
}  # fmt: skip
PROBLEM: dict[str, Any] = {
    "type": "https://infraxys.dev/problems/unknown_instance",
    "title": "Not Found",
    "status": 404,
    "detail": "no instance 'ins-2' on a branch 'main'; did you mean 'ins-1'?",
    "instance": "/api/v1/instance/main/ins-2/files/report.sh/execute",
    "code": "unknown_instance",
    "message": "no instance 'ins-2' on a branch 'main'; did you mean 'ins-1'?",
}
RUN: dict[str, Any] = {
    "id": _ID,
    "runGuid": _ID,
    "workflowRunGuid": _ID,
    "actionRunnerGuid": f"{_ID}-1",
    "kind": "action",
    "status": "SUCCESS",
    "message": "",
    "exitCode": 0,
    "actionResponse": None,
    "logEntries": [],
    "errors": [],
    "module": _MODULE,
    "branch": "main",
    "commit": "7fb4947ea2e3733b02f9251e8fc4ef04f2218824",
    "environmentId": _ENVIRONMENT,
    "containerId": _CONTAINER,
    "instanceId": _INSTANCE,
    "filename": "report.sh",
    "workflowId": None,
    "workflowName": None,
    "steps": [
        {
            "id": "1",
            "name": "Report",
            "status": "SUCCESS",
            "exitCode": 0,
            "attempt": 1,
            "instanceId": _INSTANCE,
            "filename": "report.sh",
            "startedAt": "2026-11-24T12:00:00.004000Z",
            "finishedAt": "2026-11-24T12:00:00.031000Z",
            "runner": "server-1",
        }
    ],
    "trigger": "token",
    "requestedBy": {"id": "01a2083c-0000-7000-8000-000000000001", "name": "ci"},
    "tokenId": "3kTMd0aVfWc8LqZ1",
    "parentRunId": None,
    "rerunOf": None,
    "isInteractive": False,
    "argumentDigest": "sha256:25ea0ccd034a958b2ca260d0c8f9e04941c79e26af2e7d2cb77bee552166876c",
    "createdAt": "2026-11-24T12:00:00.000000Z",
    "startedAt": "2026-11-24T12:00:00.004000Z",
    "finishedAt": "2026-11-24T12:00:00.031000Z",
    "queuedSeconds": 0.004,
    "durationSeconds": 0.027,
    "log": "Report on web\n",
    "logTruncated": False,
    "logBytes": 14,
    "logSha256": "6de45d790566755f6aacaf6765a3f6ffe63198b5d5ecf7bb91ca4c1e9f9eed6a",
    "links": {
        "self": f"/api/v1/runs/{_ID}",
        "log": f"/api/v1/runs/{_ID}/log",
        "events": f"/api/v1/runs/{_ID}/events",
        "cancel": f"/api/v1/runs/{_ID}/cancel",
        "rerun": f"/api/v1/runs/{_ID}/rerun",
        "answers": f"/api/v1/runs/{_ID}/answers",
        "web": f"/runs/{_ID}",
    },
}


def add_examples(document: dict[str, Any]) -> None:
    """Put the examples where the document has none of its own."""
    document["components"]["schemas"]["Run"]["examples"] = [RUN]
    document["components"]["schemas"]["Problem"]["examples"] = [PROBLEM]
    for path in document["paths"].values():
        for operation in path.values():
            if operation["operationId"] in BODIES:
                content = operation["requestBody"]["content"]["application/json"]
                content["example"] = BODIES[operation["operationId"]]
