"""`infraxys serve` as somebody meets it: the first start, what it prints, and what keeps it from starting."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.server import ServerProcess, make_folder

EXAMPLE = "local/infraxys/getting-started"


class Newcomer(ServerProcess):
    """A server with a data folder of which not even the parent exists yet, and what it printed."""

    def start(self) -> None:
        self.data = self.folder / "not there" / "yet"
        super().start()

    def modules(self) -> list[str]:
        return [item["name"] for item in self.client.get("/api/v1/modules").json()["items"]]

    def said(self) -> str:
        """Stop, and give what was printed behind the first line."""
        assert self.process.stdout is not None
        self.process.terminate()
        text = self.process.stdout.read()
        assert self.stop() == 0
        return text


@pytest.fixture
def folder() -> Iterator[Path]:
    made = make_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_two_calls_that_are_printed_can_be_pasted(folder: Path) -> None:
    newcomer = Newcomer(folder)
    assert newcomer.process.stdout is not None
    calls = [line for line in (newcomer.process.stdout.readline() for _ in range(5)) if "curl" in line]
    answers = [subprocess.run(["bash", "-c", call], capture_output=True, text=True, check=True) for call in calls]
    assert ['"status":"SUCCESS"' in answer.stdout for answer in answers] == [True, True]
    assert ["1245" in answer.stdout for answer in answers] == [True, True]
    assert newcomer.stop() == 0


def test_the_example_is_there_although_the_first_start_failed(folder: Path) -> None:
    nowhere = {"INFRAXYS_CONTAINER_SOCKET": "/nowhere/engine", "INFRAXYS_DEFAULT_IMAGE": "image"}
    with pytest.raises(AssertionError, match="the container engine does not answer"):
        Newcomer(folder, "--backend", "container", environment=nowhere)
    assert (folder / "not there" / "yet" / "db" / "infraxys.db").exists()
    newcomer = Newcomer(folder)
    assert newcomer.modules() == [EXAMPLE]
    assert newcomer.said().count("curl -k -X POST") == 2


def test_an_example_that_was_removed_stays_away_and_its_calls_are_not_printed(folder: Path) -> None:
    newcomer = Newcomer(folder)
    removed = newcomer.command("module", "remove", EXAMPLE)
    assert removed.returncode == 0, removed.stderr
    newcomer.stop()
    newcomer.start()
    assert newcomer.modules() == []
    assert newcomer.said() == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data-dir", "/proc/nothing"], "the data folder '/proc/nothing' cannot be used: No such file or directory"),
        (["--git-schemes", "https,ext"], "git_schemes: 'ext' is none of https, ssh, http, file"),
        (["--mode", "open"], "mode: Input should be 'developer' or 'server'"),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_one_line(server: ServerProcess, options: list[str], said: str) -> None:
    refused = server.command("serve", "--port", "0", *options)
    assert refused.returncode in {1, 2}
    (line,) = refused.stderr.strip().splitlines()
    assert said in line
