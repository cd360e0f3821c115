from dataclasses import replace
from pathlib import Path

import pytest

from infraxys.engine.backends.base import ActionSpec, Limits, Mount
from infraxys.engine.backends.command_line import (
    SHELL,
    Descriptors,
    HostFacts,
    build_command,
    check_environment,
    sandbox_options,
    split_mounts,
)

FACTS = HostFacts(bwrap="/usr/bin/bwrap", setpriv="/usr/bin/setpriv", merged_usr=True, etc=Path("/var/work/etc"))
NUMBERS = Descriptors(seccomp=5, status=6, gate=7)
ACTION = ActionSpec("run", "step", ("bash", "-c", "true"), {"PASSWORD": "secret"}, "/root")


def build(action: ActionSpec = ACTION, facts: HostFacts = FACTS, join_files: tuple[str, ...] = ()) -> list[str]:
    return build_command(facts, action, NUMBERS, uid=1001, gid=1000, join_files=join_files)


def pairs(options: list[str], name: str) -> list[tuple[str, str]]:
    return [(options[i + 1], options[i + 2]) for i, word in enumerate(options) if word == name]


def test_the_launcher_changes_the_account_before_bubblewrap_and_the_gate_stands_before_the_command() -> None:
    command = build()
    setpriv, bwrap = command.index("/usr/bin/setpriv"), command.index("/usr/bin/bwrap")
    assert setpriv < bwrap
    assert command[setpriv + 1 : bwrap] == ["--reuid=1001", "--regid=1000", "--clear-groups", "--"]
    assert command[-len(SHELL) - 5 :] == ["--", *SHELL, "7", "bash", "-c", "true"]


def test_without_root_there_is_no_change_of_account() -> None:
    assert "/usr/bin/setpriv" not in build_command(FACTS, ACTION, NUMBERS, uid=None, gid=None)


@pytest.mark.parametrize(
    "options",
    [
        ["--unshare-user", "--uid", "0", "--gid", "0", "--disable-userns"],
        ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "infraxys"],
        ["--die-with-parent", "--cap-drop", "ALL", "--cap-add", "CAP_DAC_OVERRIDE", "--new-session"],
        ["--remount-ro", "/", "--chdir", "/root"],
        ["--json-status-fd", "6", "--seccomp", "5"],
    ],
)
def test_every_binding_option_is_there(options: list[str]) -> None:
    command = build()
    start = command.index(options[0]) if options[0] != "--remount-ro" else len(command) - command[::-1].index("/") - 2
    assert command[start : start + len(options)] == options


def test_no_secret_is_on_the_command_line_and_nothing_is_set_by_it() -> None:
    command = build()
    assert not any("secret" in word for word in command)
    assert "--setenv" not in command
    assert "--clearenv" not in command


def test_the_network_is_cut_off_only_on_request() -> None:
    assert "--unshare-net" not in build(replace(ACTION, network=True))
    assert "--unshare-net" in build(replace(ACTION, network=False))


def test_a_network_of_its_own_has_name_servers_of_its_own() -> None:
    facts = replace(FACTS, own_resolver=Path("/var/work/own.conf"))
    own = build(replace(ACTION, network=True, is_loopback_refused=True), facts=facts)
    assert "--unshare-net" in own
    place = own.index("/var/work/own.conf")
    assert own[place - 1 : place + 2] == ["--ro-bind", "/var/work/own.conf", "/etc/resolv.conf"]
    assert own.index("/etc") < place
    for action in (replace(ACTION, network=False, is_loopback_refused=True), replace(ACTION, network=True)):
        assert "/var/work/own.conf" not in build(action, facts=facts)


def test_only_an_interactive_action_has_a_controlling_terminal_and_it_is_made_inside() -> None:
    facts = replace(FACTS, setsid="/usr/bin/setsid")
    plain, interactive = build(facts=facts), build(replace(ACTION, is_interactive=True), facts=facts)
    assert "--new-session" in plain
    assert "/usr/bin/setsid" not in plain
    assert "--new-session" not in interactive
    inside = len(interactive) - interactive[::-1].index("--")
    assert interactive[inside : inside + 3] == ["/usr/bin/setsid", "-c", "/bin/bash"]
    with pytest.raises(ValueError, match="setsid"):
        build(replace(ACTION, is_interactive=True), facts=FACTS)


def test_every_tmpfs_has_a_size() -> None:
    options = build(replace(ACTION, limits=Limits(tmp_bytes=111, home_bytes=222)))
    sizes = {options[i + 1]: options[i - 1] for i, word in enumerate(options) if word == "--tmpfs"}
    assert sizes == {
        "/dev/shm": "67108864",
        "/tmp": "111",
        "/root": "222",
        "/var/tmp": "16777216",
        "/run": "1048576",
        "/tmp/infraxys": "65536",
    }
    assert all(options[i - 2] == "--size" for i, word in enumerate(options) if word == "--tmpfs")


def test_mounts_below_the_fixed_path_come_before_it_is_sealed_and_others_after_it() -> None:
    mounts = (
        Mount(Path("/w/cache"), "/cache/x", writable=True),
        Mount(Path("/w/env"), "/tmp/infraxys/environments/env"),
        Mount(Path("/w/instance"), "/tmp/infraxys/environments/env/c/i", writable=True),
        Mount(Path("/w/other"), "/tmp/infraxys-other"),
    )
    options = sandbox_options(FACTS, replace(ACTION, mounts=mounts), NUMBERS)
    order = [
        options.index(word)
        for word in (
            "/tmp/infraxys/environments/env",
            "/tmp/infraxys/environments/env/c/i",
            "/cache/x",
            "/tmp/infraxys-other",
        )
    ]
    seal = next(i for i, word in enumerate(options) if word == "--remount-ro" and options[i + 1] == "/tmp/infraxys")
    assert order[0] < order[1] < seal < order[2] < order[3] < len(options) - 1 - options[::-1].index("--remount-ro")
    assert ("/w/instance", "/tmp/infraxys/environments/env/c/i") in pairs(options, "--bind")
    assert ("/w/env", "/tmp/infraxys/environments/env") in pairs(options, "--ro-bind")


@pytest.mark.parametrize(
    "target",
    ["", "x", "x/y", "/", "//etc", "/a/../etc", "/a/", "/a//b", "/./a", "/usr", "/usr/lib/x", "/etc", "/proc/1",
     "/dev/x", "/sys", "/bin", "/lib64/x", "/tmp", "/tmp/infraxys", "/tmp/infraxys/../x", "/a\0b"],
)  # fmt: skip
def test_a_target_that_is_not_plain_or_covers_the_system_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="mount"):
        split_mounts([Mount(Path("/w"), target)])


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "BASH_FUNC_x%%", "ENV", "GCONV_PATH"])
def test_variables_that_act_before_the_sandbox_stands_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be given to an action"):
        check_environment({name: "x"})


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("a=b", "x"), ("a\0", "x"), ("a", "x\0y")])
def test_what_cannot_be_a_variable_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="character that no variable can have"):
        check_environment({name: value})


def test_ordinary_variables_are_let_through() -> None:
    check_environment({"PATH": "/bin", "HOME": "/root", "ENVIRONMENT": "x", "OLD_LD": "y", "a-b": "z", "EMPTY": ""})


def test_groups_hold_the_limits_where_there_are_groups() -> None:
    with_groups = build(join_files=("/g/pids/cgroup.procs", "/g/memory/cgroup.procs"))
    assert with_groups[4:12] == [
        "/g/pids/cgroup.procs",
        "/g/memory/cgroup.procs",
        "--",
        "4096",
        "0",
        "0",
        "0",
        "/usr/bin/setpriv",
    ]


def test_resource_limits_hold_them_elsewhere() -> None:
    limits = Limits(memory_bytes=1024 * 1000, processes=7, open_files=8, file_bytes=5120)
    without = build(replace(ACTION, limits=limits), replace(FACTS, other_threads=100))
    assert without[4:9] == ["--", "8", "107", "10", "1000"]


def test_a_host_without_merged_usr_shows_its_own_folders() -> None:
    options = sandbox_options(replace(FACTS, merged_usr=False), ACTION, NUMBERS)
    assert pairs(options, "--ro-bind-try") == [(f"/{name}", f"/{name}") for name in ("bin", "sbin", "lib", "lib64")]
    assert "--symlink" not in options


def test_extra_tools_are_shown_read_only_at_their_own_path_and_cannot_cover_the_fixed_path() -> None:
    options = sandbox_options(replace(FACTS, extra_read_only=(Path("/opt/tools"),)), ACTION, NUMBERS)
    assert ("/opt/tools", "/opt/tools") in pairs(options, "--ro-bind")
    assert options.index("/opt/tools") < options.index("/tmp/infraxys")
