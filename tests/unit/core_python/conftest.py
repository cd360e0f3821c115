"""The library, fresh for each test, and the server that it speaks to."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from factories import core_python
from factories.core_python import Server


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    core_python.forget()
    yield
    core_python.forget()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Server:
    talk = Server(capsys)
    monkeypatch.setattr(sys, "stdin", talk)
    return talk


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the library takes for /tmp/infraxys."""
    monkeypatch.setattr(core_python.module("places"), "ROOT", str(tmp_path))
    for name in ("system/custom", "variables/INFRAXYS-CONFIG", "modules"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path
