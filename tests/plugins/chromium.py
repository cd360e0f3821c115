"""A real browser without a screen, driven by the Chrome DevTools Protocol."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--remote-debugging-port=0",
    "--ignore-certificate-errors",
    # Nothing but this machine can be reached, whatever a page asks for.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
)


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._count = 0
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._count += 1
        message: dict[str, object] = {"id": self._count, "method": method, "params": parameters}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def go(self, url: str) -> None:
        """Open an address."""
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Run a script in the page and give its value."""
        result = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = 30) -> None:
        """Wait until a script is true, across pages."""
        end = time.monotonic() + seconds
        while True:
            try:
                if self.run(script):
                    return
            except AssertionError:  # the page went away meanwhile
                pass
            if time.monotonic() > end:
                raise AssertionError(f"{script}: {self.run('location.href + document.body.innerText')[:1000]}")
            time.sleep(0.1)


@pytest.fixture
def page() -> Iterator[Page]:
    """A tab of a browser of its own."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium: .ci/run installs it")
    folder = Path(tempfile.mkdtemp(prefix="infraxys-chromium-", dir="/var/tmp"))
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [program, *OPTIONS, *root, f"--user-data-dir={folder / 'profile'}"],
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env={**os.environ, "HOME": str(folder)},
            start_new_session=True,
        )  # fmt: skip
    try:
        with connect(address_of(folder / "profile" / "DevToolsActivePort"), max_size=None, proxy=None) as socket:
            yield Page(socket)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it has processes of its own
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def address_of(file: Path) -> str:
    """Wait for the file in which the browser says where it listens."""
    end = time.monotonic() + 60
    while not file.exists() or file.read_text().count("\n") < 1:
        assert time.monotonic() < end, "the browser did not start"
        time.sleep(0.05)
    port, path = file.read_text().split()
    return f"ws://127.0.0.1:{port}{path}"
