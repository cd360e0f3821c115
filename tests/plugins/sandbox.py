"""Real sandboxes as fixtures, each with the host's bubblewrap and with the packaged one."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from factories.sandbox import Sandbox, prepared_sandbox
from infraxys.engine.backends.cgroups import Cgroups
from infraxys.engine.backends.host import hand_over, install_packaged_bwrap


@pytest.fixture(scope="module", params=["host", "packaged"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    folder = Path(tempfile.mkdtemp(prefix="infraxys-bwrap-", dir="/var/tmp"))
    folder.chmod(0o755)
    bwrap = shutil.which("bwrap") if request.param == "host" else install_packaged_bwrap(folder / "bin")
    if bwrap is None:
        pytest.skip(f"no {request.param} bubblewrap")
    try:
        with prepared_sandbox(str(bwrap)) as prepared:
            yield prepared
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def system(sandbox: Sandbox) -> Path:
    """The folder shown read-only at the fixed path; as open on the host as it could be by mistake."""
    folder = sandbox.folder("system")
    (folder / "arguments.json").write_text('{"a": 1}')
    (folder / "arguments.json").chmod(0o666)
    uid, gid = sandbox.backend.accounts.uid(0), sandbox.backend.accounts.gid
    if uid is not None and gid is not None:
        hand_over(folder, uid, gid)
    return folder


@pytest.fixture(params=["groups", "no groups"])
def limited(request: pytest.FixtureRequest, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox, with the control groups of the host and without any."""
    if request.param == "no groups":
        monkeypatch.setattr(sandbox.backend, "_groups", [None] * 8)
        monkeypatch.setattr(sandbox.backend, "_cgroups", Cgroups(0))
    elif sandbox.backend.limits_by == "rlimits":
        pytest.skip("no control groups here")
    return sandbox
