"""A double of a Kubernetes API server: checks what is posted against the published schema, and plays pods by script.

It executes nothing. `kubernetes_schema.json` is the part of the published API description (of version 1.35) that our
manifests use: types, names and required fields; kinds of volumes and the like that they do not use are refused.
"""

import asyncio
import base64
import io
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from factories.registry import serve

Json = dict[str, Any]
TOKEN = "cluster-token"
DEFINITIONS = json.loads(Path(__file__).with_name("kubernetes_schema.json").read_text())["$defs"]
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
MAX_SECRET = 1024 * 1024


@dataclass
class Script:
    """How the next pods behave. `lines` are the log; `cuts` says after how many bytes an answer with it breaks off."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    exit_code: int = 0
    reason: str = "Completed"
    waiting: Json | None = None
    is_blocked: bool = False  # runs until it is deleted
    exit_after_term: int | None = 143  # None: only the grace ends it
    failed: Json | None = None  # the pod's status when the cluster has ended it
    helper_exit: int = 0
    errors: list[int] = field(default_factory=list)  # status of the next answers about pods


@dataclass
class Pod:
    """A pod that is played."""

    name: str
    manifest: Json
    script: Script
    deleted_with: list[int] = field(default_factory=list)
    terminated: Json | None = None
    is_gone: bool = False

    def __post_init__(self) -> None:
        if not self.script.is_blocked and self.script.waiting is None:
            self.terminated = {"exitCode": self.script.exit_code, "reason": self.script.reason}

    def delete(self, grace: int) -> None:
        """End it as a kubelet would."""
        self.deleted_with.append(grace)
        if self.script.waiting is not None:
            self.is_gone = True
        elif self.terminated is None:
            if grace > 0 and self.script.exit_after_term is not None:
                self.terminated = {"exitCode": self.script.exit_after_term, "reason": "Error"}
            elif grace == 0:
                self.terminated, self.is_gone = {"exitCode": 137, "reason": "Error"}, True

    def as_json(self) -> Json:
        script = self.script
        state: Json = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        if script.waiting is not None or script.helper_exit:
            state = {"waiting": script.waiting or {"reason": "PodInitializing"}}
        elif self.terminated is not None:
            state = {"terminated": self.terminated}
        helper = {"name": "files", "state": {"terminated": {"exitCode": script.helper_exit, "reason": "Error"}}}
        action = {"name": "action", "state": state, "imageID": "registry.example/tool@sha256:" + "a" * 64}
        status = {"phase": "Running", "initContainerStatuses": [helper], "containerStatuses": [action]}
        if script.failed is not None:
            status = script.failed
        metadata = {**self.manifest["metadata"], "name": self.name, "creationTimestamp": "2026-01-01T00:00:00Z"}
        return {"metadata": metadata, "status": status}


class Cluster:
    """The double. `problems` holds what a real API server would have refused."""

    def __init__(self) -> None:
        self.jobs: dict[str, Json] = {}
        self.secrets: dict[str, Json] = {}
        self.pods: dict[str, Pod] = {}
        self.ended: list[Pod] = []
        self.script = Script()
        self.policies: set[str] = set()
        self.log_requests: list[dict[str, str]] = []
        self.stdin = b""
        self.trials: list[Json] = []
        self.is_refusing_secrets = False
        space = "/namespaces/{space}"
        batch, core = f"/apis/batch/v1{space}", f"/api/v1{space}"
        self.app = Starlette(
            routes=[
                Route("/version", self._version),
                Route(f"{batch}/jobs", self._jobs, methods=["GET", "POST"]),
                Route(f"{batch}/jobs/{{name}}", self._job, methods=["PATCH", "DELETE"]),
                Route(f"{core}/secrets", self._secret, methods=["POST"]),
                Route(f"{core}/pods", self._list_pods),
                Route(f"{core}/pods/{{name}}", self._delete_pod, methods=["DELETE"]),
                Route(f"{core}/pods/{{name}}/log", self._log),
                WebSocketRoute(f"{core}/pods/{{name}}/attach", self._attach),
                Route(f"/apis/networking.k8s.io/v1{space}/networkpolicies/{{name}}", self._policy),
            ]
        )

    def files(self, job: str) -> dict[str, tarfile.TarInfo]:
        """What the Secrets of a job unpack to."""
        sources = self.jobs[job]["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"]
        names = [source["secret"]["name"] for source in sources]
        data = b"".join(base64.b64decode(self.secrets[name]["data"]["part"]) for name in names)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            self.contents = {
                one.name: file.read() for one in archive if one.isfile() and (file := archive.extractfile(one))
            }
            return {one.name: one for one in archive.getmembers()}

    # -- what the API server answers --

    async def _version(self, request: Request) -> Response:
        return check_token(request) or JSONResponse({"gitVersion": "v1.35.0"})

    async def _jobs(self, request: Request) -> Response:
        if (refused := check_token(request)) is not None:
            return refused
        if request.method == "GET":
            found = select(list(self.jobs.values()), request.query_params.get("labelSelector", ""))
            return JSONResponse({"items": found})
        manifest = await request.json()
        if problems := check("V1Job", manifest):
            return status(422, problems)
        job = {**manifest, "metadata": {**manifest["metadata"], "uid": f"uid-{manifest['metadata']['name']}"}}
        if request.query_params.get("dryRun") == "All":
            self.trials.append(job)
        elif job["metadata"]["name"] in self.jobs:
            return status(409, "it exists")
        else:
            self.jobs[job["metadata"]["name"]] = job
        return JSONResponse(job, 201)

    async def _job(self, request: Request) -> Response:
        name = request.path_params["name"]
        if (refused := check_token(request)) is not None:
            return refused
        if name not in self.jobs:
            return status(404, f'jobs.batch "{name}" not found')
        if request.method == "DELETE":
            assert (await request.json())["propagationPolicy"] == "Background"
            uid = self.jobs.pop(name)["metadata"]["uid"]
            self.secrets = {
                key: one for key, one in self.secrets.items() if one["metadata"]["ownerReferences"][0]["uid"] != uid
            }
            if (pod := self.pods.pop(name, None)) is not None:
                self.ended.append(pod)
            return JSONResponse({})
        assert request.headers["Content-Type"] == "application/merge-patch+json"
        self.jobs[name]["spec"] |= (await request.json())["spec"]
        if not self.jobs[name]["spec"]["suspend"]:
            needed = [source["secret"]["name"] for source in sources_of(self.jobs[name])]
            assert set(needed) <= set(self.secrets), "the pod would wait for its Secrets"
            self.pods[name] = Pod(f"{name}-x1y2z", self.jobs[name]["spec"]["template"], self.script)
        return JSONResponse(self.jobs[name])

    async def _secret(self, request: Request) -> Response:
        manifest = await request.json()
        problems = check("V1Secret", manifest)
        if sum(len(base64.b64decode(data)) for data in manifest["data"].values()) > MAX_SECRET:
            problems = "data: Too long: must have at most 1048576 bytes"
        if self.is_refusing_secrets:
            problems = "exceeded quota: secrets=0"
        if problems:
            return status(422, problems)
        self.secrets[manifest["metadata"]["name"]] = manifest
        return JSONResponse(manifest, 201)

    async def _list_pods(self, request: Request) -> Response:
        if self.script.errors:
            return status(self.script.errors.pop(0), "the API server is restarting")
        pods = [pod.as_json() for pod in self.pods.values() if not pod.is_gone]
        return JSONResponse({"items": select(pods, request.query_params["labelSelector"])})

    def _find(self, name: str) -> Pod | None:
        return next((pod for pod in self.pods.values() if pod.name == name), None)

    async def _delete_pod(self, request: Request) -> Response:
        pod = self._find(request.path_params["name"])
        if pod is None or pod.is_gone:
            return status(404, "not found")
        pod.delete((await request.json())["gracePeriodSeconds"])
        return JSONResponse({})

    async def _log(self, request: Request) -> Response:
        pod = self._find(request.path_params["name"])
        if pod is None or pod.is_gone:
            return status(404, "not found")
        query = dict(request.query_params)
        assert query["container"] == "action"
        self.log_requests.append(query)
        since = query.get("sinceTime", "")
        text = "".join(f"{at} {line}" for at, line in pod.script.lines if at[:19] >= since[:19]).encode()
        cut = pod.script.cuts.pop(0) if pod.script.cuts else None

        async def follow():  # type: ignore[no-untyped-def]
            for start in range(0, min(len(text), cut or len(text)), 1000):
                yield text[start : min(start + 1000, cut or len(text))]
            if cut is not None:
                raise ConnectionResetError
            while pod.terminated is None and not pod.is_gone:  # noqa: ASYNC110 - a kubelet looks as well
                await asyncio.sleep(0.01)

        return StreamingResponse(follow(), media_type="text/plain")

    async def _attach(self, socket: WebSocket) -> None:
        assert socket.headers["Authorization"] == f"Bearer {TOKEN}"
        assert socket.query_params["stdin"] == "true"
        await socket.accept(subprotocol="v5.channel.k8s.io")
        try:
            while True:
                frame = await socket.receive_bytes()
                assert frame[0] == 0
                self.stdin += frame[1:]
        except WebSocketDisconnect:
            return

    async def _policy(self, request: Request) -> Response:
        if request.path_params["name"] not in self.policies:
            return status(404, "not found")
        return JSONResponse({"kind": "NetworkPolicy"})


def sources_of(job: Json) -> list[Json]:
    """Give what the volume with the files is put together from."""
    sources: list[Json] = job["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"]
    return sources


def check_token(request: Request) -> Response | None:
    """Refuse whoever has not the token."""
    return None if request.headers.get("Authorization") == f"Bearer {TOKEN}" else status(401, "Unauthorized")


def status(code: int, message: str) -> Response:
    """Answer as the API server does when it refuses."""
    return JSONResponse({"kind": "Status", "status": "Failure", "message": message, "code": code}, code)


def check(kind: str, manifest: Json) -> str:
    """Say what the API server would find wrong; empty when it would take it."""
    validator = jsonschema.Draft202012Validator({"$defs": DEFINITIONS, "$ref": f"#/$defs/{kind}"})
    found = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
    metadata = manifest.get("metadata", {})
    if not NAME.fullmatch(metadata.get("name", "")):
        found.append("metadata.name is no DNS label")
    templates = [manifest, manifest["spec"]["template"]] if kind == "V1Job" else [manifest]
    for template in templates:
        labels = template["metadata"].get("labels", {})
        found += [f"label {key}={value}" for key, value in labels.items() if not LABEL.fullmatch(value)]
    if kind == "V1Job":
        pod = template["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod["containers"], *pod["initContainers"]):
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            found += [f"mountPath {path} must be unique" for path in {one for one in paths if paths.count(one) > 1}]
            found += [f"no volume {one['name']}" for one in container["volumeMounts"] if one["name"] not in volumes]
    return "; ".join(found)


def select(items: list[Json], selector: str) -> list[Json]:
    """Give the items with labels."""
    wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
    return [item for item in items if wanted.items() <= item["metadata"]["labels"].items()]


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Cluster, Path]]:
    """Give a running double and the kubeconfig that names it."""
    double = Cluster()
    with serve(double.app) as port:
        (folder / "token").write_text(f"{TOKEN}\n")
        file = folder / "kubeconfig"
        file.write_text(
            f"apiVersion: v1\nkind: Config\ncurrent-context: test\n"
            f"clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n"
            "users: [{name: u, user: {tokenFile: token}}]\n"
            "contexts: [{name: test, context: {cluster: c, user: u, namespace: actions}}]\n"
        )
        yield double, file
