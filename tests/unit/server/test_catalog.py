"""What the catalog keeps."""

import asyncio
import time

import pytest

from factories.snapshots import MAIN, environment, instance, snapshot, template
from infraxys.server.catalog.catalog import RETRY_SECONDS, Catalog, Checked


def catalog(text: str) -> Catalog:
    packet = {"id": "p-P", "label": "P", "attributes": [], "files": [template("x")]}
    files = {"packets/P/packet.json": packet, "packets/P/files/x": text, **environment(instance("i", "P"))}
    only = snapshot(files)
    made = Catalog(lambda _module, _commit: only, lambda _dependency: None)
    made.set_heads({MAIN: only.commit})
    return made


def check(made: Catalog) -> Checked:
    return asyncio.run(made.check(MAIN, "e-prod"))


def test_a_failed_generation_is_kept_for_a_while_and_then_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = catalog("$nothing")
    first = check(made)
    assert check(made) is first
    later = time.monotonic() + RETRY_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    again = check(made)
    assert again is not first
    assert again.generation.problems == first.generation.problems


def test_a_complete_generation_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = catalog("fine")
    first = check(made)
    later = time.monotonic() + RETRY_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert check(made) is first
