"""`./infraxys` of a checkout, before there is anything but Python: what it says where something is missing."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.server import ROOT

SCRIPT = (ROOT / "infraxys").read_text()
WITHOUT_PIP = sys.executable  # uv makes environments without it
WITH_PIP = getattr(sys, "_base_executable", "")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files of a checkout that the bootstrap looks at."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / "infraxys", folder)
    return folder


def start(python: str, checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    command = [python, str(checkout / "infraxys"), "version"]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**kept, **environment}, cwd=checkout
    )


def said_in_one_line(done: "subprocess.CompletedProcess[str]") -> str:
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.strip().splitlines()
    return line


def test_an_older_python_is_told_which_one_is_needed() -> None:
    """It has to read the whole file, and must not come to what it does not understand."""
    body = ast.parse(SCRIPT, feature_version=(3, 7)).body
    check = next(index for index, part in enumerate(body) if isinstance(part, ast.If))
    assert not any(isinstance(part, ast.FunctionDef | ast.ClassDef | ast.AnnAssign) for part in body[:check])
    pretend = f"import sys; sys.version_info = (3, 8, 18); exec(compile({SCRIPT!r}, 'infraxys', 'exec'))"
    done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True, check=False, timeout=60)
    assert said_in_one_line(done).startswith("infraxys: Python 3.11 or newer is needed, this is 3.8.18. Start it as: ")


def test_a_machine_without_git_is_told_so(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    said = said_in_one_line(start(WITHOUT_PIP, checkout, PATH=str(tmp_path / "bin")))
    assert said.startswith("infraxys: git is not installed. Install it (Debian: apt-get install git)")


def test_a_python_without_pip_is_told_so(checkout: Path) -> None:
    said = said_in_one_line(start(WITHOUT_PIP, checkout))
    assert said.startswith("infraxys: this Python has no pip. Install it (Debian: apt-get install python3-pip)")


def test_a_checkout_that_cannot_be_written_is_named(checkout: Path) -> None:
    (checkout / ".venv.lock").mkdir()  # also root cannot open a folder for writing
    said = said_in_one_line(start(WITHOUT_PIP, checkout))
    assert said.startswith(f"infraxys: cannot install into {checkout}/.venv: Is a directory; the checkout has to be")


def test_without_a_network_the_package_index_is_named(checkout: Path) -> None:
    probe = subprocess.run([WITH_PIP, "-m", "pip", "--version"], capture_output=True, check=False) if WITH_PIP else None
    if probe is None or probe.returncode != 0:
        pytest.skip("this Python has no pip")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull}
    done = start(WITH_PIP, checkout, **nowhere)
    assert (done.returncode, done.stdout) == (1, "")
    assert "infraxys: Installing uv failed. Is the package index reachable (network, proxy, pip config" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Retrying" not in done.stderr
