"""The limit: a bare ASGI application that spawns the product's own sandbox command for every POST, and nothing else."""

import asyncio
import os
import sys
from importlib import resources
from pathlib import Path

import uvicorn

from infraxys.engine.backends.base import ActionSpec, Limits, Mount
from infraxys.engine.backends.bubblewrap import BubblewrapBackend
from infraxys.engine.backends.command_line import Descriptors, build_command
from infraxys.engine.preparation import copy_core
from infraxys.engine.runtime import ENVIRONMENT, ROOT

DIRECTORY = "env/container/instance"


def prepare(folder: Path) -> tuple[BubblewrapBackend, ActionSpec]:
    """Lay out, once, a tree like that of a real action whose file is `true.sh`."""
    work = folder / "work"
    backend = BubblewrapBackend(work, slots=16)
    backend.prepare()
    kept = ("artefacts", *(f"caches/{level}" for level in ("instance", "container", "environment", "project")))
    for name in ("core", "system/custom", "empty", "module", f"environments/{DIRECTORY}", "instance", *kept):
        (work / name).mkdir(parents=True, exist_ok=True)
    copy_core(resources.files("infraxys.core"), work / "core")
    (work / "system" / "environment.sh").write_text(f"export INSTANCE_DIR={ROOT}/environments/{DIRECTORY}\n")
    (work / "system" / "custom" / "arguments.json").write_text("{}")
    (work / "instance" / "true.sh").write_text(":\n")
    for path in [work, *work.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755)
    mounts = (
        Mount(work / "core", f"{ROOT}/core"),
        Mount(work / "system", f"{ROOT}/system"),
        Mount(work / "empty", f"{ROOT}/variables"),
        Mount(work / "module", f"{ROOT}/modules/localhost/bench/bench/main"),
        Mount(work / "environments" / "env", f"{ROOT}/environments/env"),
        Mount(work / "instance", f"{ROOT}/environments/{DIRECTORY}", writable=True),
        Mount(work / "artefacts", f"{ROOT}/artefacts", writable=True),
        *(Mount(work / name, f"/{name.replace('caches', 'cache')}", writable=True) for name in kept[1:]),
    )
    command = ("source", f"{ROOT}/core/bootstrap.sh", "true.sh")
    return backend, ActionSpec("limit", "1", command, ENVIRONMENT, "/root", mounts, limits=Limits())


class Limit:
    """The application."""

    def __init__(self, folder: Path) -> None:
        self.backend, self.spec = prepare(folder)
        self.slot = 0

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await receive()
        code = await self.spawn()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": str(code).encode()})

    async def spawn(self) -> int | None:
        """Start the sandbox with the product's command line, open its gate, wait for its end."""
        self.slot = (self.slot + 1) % 16
        group = self.backend._groups[self.slot]
        seccomp = self.backend._filter.open()
        status_read, status_write = os.pipe()
        gate_read, gate_write = os.pipe()
        command = build_command(
            self.backend._facts,
            self.spec,
            Descriptors(seccomp, status_write, gate_read),
            uid=self.backend.accounts.uid(self.slot),
            gid=self.backend.accounts.gid,
            join_files=group.join_files(self.spec.limits) if group else (),
        )
        os.write(gate_write, b"g")
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(ENVIRONMENT),
            pass_fds=(seccomp, status_write, gate_read),
        )
        for descriptor in (seccomp, status_write, gate_read, gate_write):
            os.close(descriptor)
        await process.communicate()
        os.close(status_read)
        return process.returncode


if __name__ == "__main__":
    folder, port, certificate, key = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    uvicorn.run(
        Limit(folder),
        port=port,
        loop="asyncio",
        http="httptools",
        log_level="error",
        access_log=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
