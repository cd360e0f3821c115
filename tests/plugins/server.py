"""The real server in a process of its own, on a free port, with a data folder of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from factories.modules import library
from factories.repositories import GitRepository

ROOT = Path(__file__).resolve().parents[2]


class ServerProcess:
    """A running server. `client` talks to it without credentials."""

    def __init__(self, folder: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.options = options
        self.environment = {**os.environ, "INFRAXYS_CONFIG": "", **(environment or {})}
        self.start()

    def command(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command line on this server's data folder."""
        environment = {**self.environment, "INFRAXYS_DATA_DIR": str(self.data), "INFRAXYS_URL": self.url}
        return subprocess.run(
            [sys.executable, "-m", "infraxys", *arguments],
            capture_output=True, text=True, check=False, timeout=120, env=environment, cwd=ROOT, input=stdin,
        )  # fmt: skip

    def start(self) -> None:
        """Start and wait for the line that says that it accepts requests."""
        command = [
            sys.executable,
            "-m",
            "infraxys",
            "serve",
            "--port",
            "0",
            "--data-dir",
            str(self.data),
            *self.options,
        ]
        self.errors = (self.folder / "errors").open("ab")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=self.environment, cwd=ROOT
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("Infraxys is ready at "):
            self.kill()
            raise AssertionError(f"the server did not start: {line}{(self.folder / 'errors').read_text()[-3000:]}")
        self.url = line.split()[-1]
        self.client = httpx.Client(base_url=self.url, verify=False, timeout=60)

    def stop(self) -> int:
        """Stop in order; gives the exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._close()
        return code

    def kill(self) -> None:
        """End without warning."""
        if getattr(self, "client", None):
            self.client.close()
        self.process.kill()
        self.process.wait(30)
        self._close()

    def _close(self) -> None:
        if self.process.stdout:
            self.process.stdout.close()
        self.errors.close()

    def execute(self, instance: str, filename: str, branch: str = "main", **body: Any) -> dict[str, Any]:
        """Execute an action and insist on a run."""
        answer = self.client.post(f"/api/v1/instance/{branch}/{instance}/files/{filename}/execute", json=body)
        assert answer.status_code == 200, answer.text
        run: dict[str, Any] = answer.json()
        return run

    def add_module(self, path: Path) -> dict[str, Any]:
        """Register a repository of this machine."""
        answer = self.client.post("/api/v1/modules", json={"url": str(path)})
        assert answer.status_code == 201, answer.text + (self.folder / "errors").read_text()[-3000:]
        added: dict[str, Any] = answer.json()
        return added


def make_folder() -> Path:
    """Make a folder that the accounts of the sandbox can reach."""
    folder = Path(tempfile.mkdtemp(prefix="infraxys-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    return folder


def make_library(folder: Path) -> GitRepository:
    """Make the repository of the test module."""
    repository = GitRepository(folder / "tests" / "library.git")
    repository.commit(library(), branch="main")
    return repository


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A server in developer mode with the test module on branch main and feature/a/b."""
    folder = make_folder()
    running = ServerProcess(folder, environment={"INFRAXYS_CONTAINER_SOCKET": str(folder / "no engine")})
    try:
        repository = make_library(folder)
        repository.commit(library(), branch="feature/a/b")
        running.add_module(repository.path)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_server() -> Iterator[ServerProcess]:
    """A server in developer mode for one test alone."""
    folder = make_folder()
    running = ServerProcess(folder, "--no-examples")
    try:
        running.add_module(make_library(folder).path)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def team_server() -> Iterator[ServerProcess]:
    """A server in server mode with an administrator's token in `admin_token` and another user's in `user_token`."""
    folder = make_folder()
    running = ServerProcess(folder, "--mode", "server", "--git-schemes", "https,ssh,file", "--no-examples")
    try:
        tokens = {}
        for name, options in (("root", ["--admin"]), ("ada", [])):
            assert running.command("user", "create", name, *options).returncode == 0
            made = running.command("token", "create", "--name", "test", "--user", name)
            assert made.returncode == 0, made.stderr
            tokens[name] = made.stdout.strip()
        running.admin_token, running.user_token = tokens["root"], tokens["ada"]  # type: ignore[attr-defined]
        headers = {"Authorization": f"token {tokens['root']}"}
        url = str(make_library(folder).path)
        answer = running.client.post("/api/v1/modules", json={"url": url}, headers=headers)
        assert answer.status_code == 201, json.dumps(answer.json())
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
