"""A real podman for tests, with storage of its own and an image made here from busybox. No registry is asked."""

import asyncio
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from factories.registry import Registry, registry
from infraxys.engine.backends.base import ActionSpec, Exit, Image
from infraxys.engine.backends.container import ContainerBackend
from infraxys.engine.backends.container_execution import ContainerExecution
from infraxys.engine.backends.host import remove_tree

IMAGE = "localhost/tiny:1"
SPEAKING = "localhost/speaking:1"  # echoes a word of its own and its arguments
APPLETS = """
    sh cat echo sleep id env true ls dd kill ps touch mv mount tail yes head grep tr rm pwd seq wc mkdir test sort
    chmod stty nc date
"""


class Unusable(Exception):  # noqa: N818 - reads as a state
    """A podman is here, and this machine does not let it run containers."""


def missing() -> str:
    """Say why there can be no podman here; empty when there can."""
    for tool in ("podman", "runc", "conmon", "busybox"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if os.geteuid() != 0:
        return "podman's storage of its own needs root here"
    said = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=False).stdout
    return "" if "sh" in said.split() else "busybox has no shell"


def root_file_system() -> bytes:
    """Give a tar archive with busybox and little else."""
    busybox = Path(shutil.which("busybox") or "")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, mode in {
            "bin": 0o755,
            "etc": 0o755,
            "root": 0o700,
            "tmp": 0o1777,
            "proc": 0o555,
            "sys": 0o555,
        }.items():
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = busybox.stat().st_size, 0o755
        with busybox.open("rb") as content:
            archive.addfile(program, content)
        for name in APPLETS.split():
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        text = b"root:x:0:0:root:/root:/bin/sh\n"
        passwd = tarfile.TarInfo("etc/passwd")
        passwd.size = len(text)
        archive.addfile(passwd, io.BytesIO(text))
    return data.getvalue()


@dataclass
class Podman:
    """A podman service at `socket`."""

    folder: Path
    registry: Registry
    process: "subprocess.Popen[bytes] | None" = None
    options: list[str] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    def command(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run podman on the storage of the service."""
        words = ["podman", *self.options, *arguments]
        done = subprocess.run(words, input=stdin, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def containers(self) -> list[str]:
        """The names of all containers."""
        return self.command("ps", "--all", "--format", "{{.Names}}").split()

    def start(self) -> None:
        """Start the service and wait until it answers."""
        self.socket.unlink(missing_ok=True)
        words = ["podman", *self.options, "system", "service", "--time=0", f"unix://{self.socket}"]
        with (self.folder / "log").open("ab") as log:
            environment = {**os.environ, "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf")}
            self.process = subprocess.Popen(
                words,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                cwd=self.folder,  # conmon notes in the folder that it starts in when a container runs out of memory
            )
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "podman does not start"
            time.sleep(0.01)

    def stop(self) -> None:
        """End the service."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


@contextmanager
def podman() -> Iterator[Podman]:
    """Give a running podman that knows a registry."""
    with registry() as known:
        yield from podman_with(known)


def podman_with(known: Registry) -> Iterator[Podman]:
    """Run a podman that may ask a registry without TLS. Raises Unusable."""
    folder = Path(tempfile.mkdtemp(prefix="ifx-pm-", dir="/var/tmp"))
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{known.host}"\ninsecure = true\n')
    options = [
        "--root",
        f"{folder}/root",
        "--runroot",
        f"{folder}/run",
        "--tmpdir",
        f"{folder}/tmp",
        "--runtime",
        "runc",
    ]
    options += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
    service = Podman(folder, known, options=options)
    try:
        service.command("import", "-", IMAGE, stdin=root_file_system())
        words = ('ENTRYPOINT ["/bin/echo", "own"]', 'CMD ["usual"]')
        changes = [option for word in words for option in ("--change", word)]
        service.command("import", *changes, "-", SPEAKING, stdin=root_file_system())
        try:
            limits = ("--ulimit", "nofile=1024", "--ulimit", "nproc=1024")  # the usual ones need more of the machine
            service.command("run", "--rm", "--init", "--network", "host", *limits, IMAGE, "true")
        except AssertionError as error:
            raise Unusable(str(error)) from error
        service.start()
        yield service
    finally:
        service.stop()
        with suppress(AssertionError):
            service.command("rm", "--all", "--force", "--time", "0")
        subprocess.run(["umount", f"{folder}/root/overlay"], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Ended:
    exit: Exit
    stdout: str
    stderr: str


@dataclass
class Containers:
    """A backend for tests, with a work folder of its own."""

    podman: Podman
    work: Path
    backend: ContainerBackend

    def folder(self, name: str) -> Path:
        path = self.work / "runs" / name
        path.mkdir(parents=True)
        path.chmod(0o755)
        return path

    def spec(self, script: str, **parts: object) -> ActionSpec:
        given: dict[str, object] = {
            "command": ("/bin/sh", "-c", script), "environment": {}, "directory": "/root", "network": False,
            "image": Image(IMAGE), **parts,
        }  # fmt: skip
        return ActionSpec("run-1", "step-1", **given)  # type: ignore[arg-type]

    async def start(self, script: str, *, is_held: bool = False, **parts: object) -> ContainerExecution:
        return await self.backend.start(self.spec(script, **parts), is_held=is_held)

    async def run(self, script: str, **parts: object) -> Ended:
        execution = await self.start(script, **parts)
        streams = {"stdout": b"", "stderr": b""}
        async with asyncio.timeout(60):
            async for chunk in execution.output():
                streams[chunk.stream] += chunk.data
            end = await execution.wait()
        return Ended(end, streams["stdout"].decode(), without_notice(streams["stderr"].decode()))


def without_notice(text: str) -> str:
    """Leave out the line that says which image it is."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("[infraxys] image "))


@contextmanager
def work_folder() -> Iterator[Path]:
    """Give a folder that containers can reach."""
    work = Path(tempfile.mkdtemp(prefix="infraxys-test-", dir="/var/tmp"))
    work.chmod(0o755)
    try:
        yield work
    finally:
        remove_tree(work)
