"""A small registry for images on loopback, which asks for a name and a password. It has the images that it is given."""

import base64
import gzip
import hashlib
import json
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
USER, PASSWORD = "ann", "s3cret-of-the-registry"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """The registry. `put` gives it an image; `pulls` are the manifests that were asked for with the password."""

    def __init__(self) -> None:
        self.port = 0
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        self.pulls: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/v2/", self._root),
                Route("/v2/{name:path}/manifests/{reference}", self._manifest, methods=["GET", "HEAD"]),
                Route("/v2/{name:path}/blobs/{digest}", self._blob, methods=["GET", "HEAD"]),
            ]
        )

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def put(self, name: str, tag: str, layer: bytes, **config: Any) -> str:
        """Take an image with one layer (tar); gives the digest of its manifest."""
        packed = gzip.compress(layer, 1, mtime=0)
        settings = json.dumps(
            {
                "architecture": MACHINES.get(platform.machine(), platform.machine()),
                "os": "linux",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
                "history": [{"created": "2026-01-01T00:00:00Z"}],
            }
        ).encode()
        kind = "application/vnd.docker"
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": described(f"{kind}.container.image.v1+json", settings),
                "layers": [described(f"{kind}.image.rootfs.diff.tar.gzip", packed)],
            }
        ).encode()
        for data in (packed, settings, manifest):
            self.blobs[digest_of(data)] = data
        self.tags[f"{name}:{tag}"] = digest_of(manifest)
        return digest_of(manifest)

    def _refusal(self, request: Request) -> Response | None:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") == f"Basic {expected}":
            return None
        error = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        return JSONResponse(error, 401, {"WWW-Authenticate": 'Basic realm="registry"'})

    async def _root(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse({})

    async def _manifest(self, request: Request) -> Response:
        if (refused := self._refusal(request)) is not None:
            return refused
        reference = request.path_params["reference"]
        name = f"{request.path_params['name']}:{reference}"
        digest = reference if reference.startswith("sha256:") else self.tags.get(name)
        if digest not in self.blobs:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return JSONResponse(error, 404)
        self.pulls.append(name)
        return Response(self.blobs[digest], headers={"Docker-Content-Digest": digest}, media_type=MANIFEST)

    async def _blob(self, request: Request) -> Response:
        if (refused := self._refusal(request)) is not None:
            return refused
        data = self.blobs.get(request.path_params["digest"])
        return Response(status_code=404) if data is None else Response(data, media_type="application/octet-stream")


def described(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "size": len(data), "digest": digest_of(data)}


@contextmanager
def serve(app: Starlette) -> Iterator[int]:
    """Serve an application on loopback from a thread; gives its port."""
    config = uvicorn.Config(app, port=0, log_level="critical", loop="asyncio", ws="websockets-sansio", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)


@contextmanager
def registry() -> Iterator[Registry]:
    """Give a running registry."""
    double = Registry()
    with serve(double.app) as double.port:
        yield double
