"""Which folders of a machine may be shown to actions."""

from pathlib import Path

import pytest

from factories.plans import make_context, make_plan
from infraxys.engine.backends.base import BackendUnavailable, Mount
from infraxys.server.caches.host_mounts import HostMounts


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "data"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def configured(setting: str, ours: Path, mode: str = "developer") -> tuple[HostMounts, ...]:
    return HostMounts.configured(setting, mode, (ours,))


def test_nothing_is_shown_without_the_setting(ours: Path) -> None:
    assert configured("", ours) == configured(" , ", ours, mode="server") == ()


def test_folders_are_shown_read_only_unless_asked_for(ours: Path, source: Path) -> None:
    (mounts,) = configured(f"a={source},.ssh={source}:rw", ours)
    assert mounts.mounts == (
        Mount(source, "/host/a", writable=False, keeps_owner=True),
        Mount(source, "/host/.ssh", writable=True, keeps_owner=True),
    )
    plan = make_plan({"x.sh": ""})
    assert mounts.attach(plan, plan.steps[0], make_context()).mounts == mounts.mounts
    read_only = mounts.attach(plan, plan.steps[0], make_context(reads_only=True)).mounts
    assert not any(mount.writable for mount in read_only)


def test_a_link_is_shown_as_what_it_points_to_at_the_start(ours: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    (mounts,) = configured(f"a={tmp_path / 'link'}", ours)
    assert mounts.mounts[0].source == source


@pytest.mark.parametrize(
    "setting",
    [
        "a=/", "a=/proc", "a=/proc/self", "a=/sys", "a=/dev", "a=/etc", "a=/etc/ssl", "a=/run", "a=/../", "a=relative",
        "a=", "=/usr", "/usr", "a b=/usr", "..=/usr", "a/b=/usr", "a=/nothing/there", "a=/usr,a=/opt", "a=/bin/sh",
        "a={ours}", "a={ours}/keys", "a={above}", "a={above}:rw", "a={link}",
    ],
)  # fmt: skip
def test_what_must_not_be_shown_is_refused(ours: Path, tmp_path: Path, setting: str) -> None:
    (ours / "keys").mkdir()
    (tmp_path / "link").symlink_to(ours)
    written = setting.format(ours=ours, above=ours.parent, link=tmp_path / "link")
    with pytest.raises(BackendUnavailable, match="host_mounts"):
        configured(written, ours)


def test_server_mode_shows_nothing(ours: Path, source: Path) -> None:
    with pytest.raises(BackendUnavailable, match="developer mode only"):
        configured(f"a={source}", ours, mode="server")
