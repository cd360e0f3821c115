import os
from pathlib import Path

import pytest

from infraxys.engine.backends.base import Limits
from infraxys.engine.backends.cgroups import SlotGroup, detect, parse_own_groups, read_counter

HYBRID = """\
9:name=systemd:/
8:pids:/
4:memory:/deep/below
2:cpu,cpuacct:/
0::/
"""


def make_files(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for folder in ("pids", "memory/deep/below", "cpu"):
        make_files(tmp_path / folder, cgroup__procs="")
    return tmp_path


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    make_files(tmp_path, cgroup__controllers="cpu memory pids")
    make_files(
        tmp_path / "service",
        cgroup__controllers="cpu memory pids io",
        cgroup__subtree_control="",
        cgroup__type="domain",
        cgroup__procs="41\n42\n",
    )
    make_files(tmp_path / "service" / "infraxys-server", cgroup__procs="")
    return tmp_path


def test_own_groups_are_read_for_both_versions() -> None:
    assert parse_own_groups(HYBRID) == {
        "name=systemd": "/", "pids": "/", "memory": "/deep/below", "cpu": "/", "cpuacct": "/", "": "/",
    }  # fmt: skip
    assert parse_own_groups("0::/user.slice/a:b\n") == {"": "/user.slice/a:b"}
    assert parse_own_groups("") == {}


def test_version_1_groups_are_made_below_the_servers_own(version_1: Path) -> None:
    groups = detect("prefix", version_1, parse_own_groups(HYBRID))
    assert groups.version == 1
    slot = groups.slot(3)
    assert slot is not None
    assert slot.directories["memory"] == version_1 / "memory/deep/below/prefix-3"
    assert all(directory.is_dir() for directory in slot.directories.values())


def test_version_1_without_memory_is_not_enough(version_1: Path) -> None:
    own = parse_own_groups(HYBRID)
    del own["memory"]
    assert detect("prefix", version_1, own).version == 0


def test_a_process_joins_the_cpu_group_only_when_the_cpu_is_limited(version_1: Path) -> None:
    slot = detect("prefix", version_1, parse_own_groups(HYBRID)).slot(0)
    assert slot is not None
    assert [Path(path).parts[-3] for path in slot.join_files(Limits())] == ["pids", "below"]
    assert len(slot.join_files(Limits(cpus=0.5))) == 3


def test_version_1_limits_are_written_once_and_again_when_they_differ(version_1: Path) -> None:
    slot = detect("prefix", version_1, parse_own_groups(HYBRID)).slot(0)
    assert slot is not None
    slot.apply(Limits(memory_bytes=1000, processes=7, cpus=0.5))
    pids = slot.directories["pids"] / "pids.max"
    assert pids.read_text() == "7"
    assert (slot.directories["memory"] / "memory.limit_in_bytes").read_text() == "1000"
    assert (slot.directories["memory"] / "memory.memsw.limit_in_bytes").read_text() == "1000"
    assert (slot.directories["cpu"] / "cpu.cfs_quota_us").read_text() == "50000"
    pids.write_text("changed by somebody")
    slot.apply(Limits(memory_bytes=1000, processes=7, cpus=0.5))
    assert pids.read_text() == "changed by somebody"
    slot.apply(Limits(memory_bytes=1000, processes=8))
    assert pids.read_text() == "8"
    assert (slot.directories["cpu"] / "cpu.cfs_quota_us").read_text() == "-1"


def test_version_2_moves_the_server_to_a_leaf_and_hands_the_controllers_down(version_2: Path) -> None:
    groups = detect("prefix", version_2, {"": "/service"})
    assert groups.version == 2
    assert (version_2 / "service" / "infraxys-server" / "cgroup.procs").read_text() == "42"  # the last one moved
    assert (version_2 / "service" / "cgroup.subtree_control").read_text() == "+memory +pids +cpu +io"


def test_version_2_after_a_restart_does_not_nest_deeper(version_2: Path) -> None:
    (version_2 / "service" / "cgroup.subtree_control").write_text("memory pids cpu io")
    groups = detect("prefix", version_2, {"": "/service/infraxys-server"})
    assert groups.parents == {"all": version_2 / "service"}
    assert (version_2 / "service" / "infraxys-server" / "cgroup.procs").read_text() == ""


def test_version_2_limits(version_2: Path) -> None:
    slot = detect("prefix", version_2, {"": "/service"}).slot(1)
    assert slot is not None
    slot.apply(Limits(memory_bytes=1000, processes=7, cpus=1.5))
    group = version_2 / "service" / "prefix-1"
    assert {path.name: path.read_text() for path in group.iterdir()} == {
        "memory.max": "1000", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "7",
        "cpu.max": "150000 100000", "io.weight": "50",
    }  # fmt: skip
    slot.apply(Limits(memory_bytes=1000, processes=7))
    assert (group / "cpu.max").read_text() == "max 100000"


def test_version_2_without_the_pids_controller_is_not_enough(version_2: Path) -> None:
    (version_2 / "service" / "cgroup.controllers").write_text("memory")
    assert detect("prefix", version_2, {"": "/service"}).version == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_group_of_somebody_else_is_not_used(version_2: Path) -> None:
    (version_2 / "service").chmod(0o555)
    assert detect("prefix", version_2, {"": "/service"}).version == 0


def test_a_host_without_groups_has_none(tmp_path: Path) -> None:
    groups = detect("prefix", tmp_path, {})
    assert groups.version == 0
    assert groups.slot(0) is None
    assert groups.leftovers() == []


def test_leftovers_are_those_of_the_same_prefix(version_1: Path) -> None:
    groups = detect("prefix", version_1, parse_own_groups(HYBRID))
    groups.slot(0)
    detect("other", version_1, parse_own_groups(HYBRID)).slot(1)
    (left,) = groups.leftovers()
    assert {directory.name for directory in left.directories.values()} == {"prefix-0"}
    left.remove()
    assert groups.leftovers() == []


def test_out_of_memory_is_a_kill_since_the_last_look(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 3\noom_kill 2\n")
    group = SlotGroup(2, {"all": tmp_path})
    group.apply(Limits())
    assert not group.was_out_of_memory()
    events.write_text("low 0\noom 4\noom_kill 3\n")
    assert group.was_out_of_memory()
    assert not group.was_out_of_memory()


def test_a_counter_that_is_not_there_is_zero(tmp_path: Path) -> None:
    assert read_counter(tmp_path / "none", "oom_kill") == 0
    (tmp_path / "file").write_text("oom_kill_disable 1\nunder_oom 0\n")
    assert read_counter(tmp_path / "file", "oom_kill") == 0


def test_processes_of_a_group_are_read(tmp_path: Path) -> None:
    group = SlotGroup(1, {"memory": tmp_path / "none", "pids": make_files(tmp_path / "pids", cgroup__procs="12\n13\n")})
    assert group.processes() == [12, 13]
    assert SlotGroup(2, {"all": tmp_path / "none"}).processes() == []
