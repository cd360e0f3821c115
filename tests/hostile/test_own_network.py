"""A network from which nothing of the host is reached (S17, G28): refused where it cannot be made, never open."""

import contextlib
import os
import socket
import subprocess
from pathlib import Path

import pytest

from factories.sandbox import Sandbox, is_gone
from infraxys.engine.backends.base import StartFailed
from infraxys.engine.backends.own_network import NetworkTools, find_network_tools, own_resolver


@pytest.fixture
def connected(sandbox: Sandbox) -> Sandbox:
    if isinstance(tools := find_network_tools(), str):
        pytest.skip(tools)
    return sandbox


def test_s17_the_host_and_its_clouds_metadata_are_not_reached(connected: Sandbox) -> None:
    with contextlib.ExitStack() as stack:
        ports = {}
        for address in ("127.0.0.1", "0.0.0.0"):
            listener = stack.enter_context(socket.create_server((address, 0)))
            ports[address] = listener.getsockname()[1]
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0infraxys-test-{os.getpid()}")
        abstract.listen()
        said = subprocess.run(["ip", "-o", "-4", "address"], capture_output=True, text=True, check=True).stdout
        own = [word.split("/")[0] for line in said.splitlines() for word in line.split()[3:4]]
        targets = [(address, port) for address in (*own, "10.0.2.2", "10.0.2.3") for port in ports.values()]
        targets += [("169.254.169.254", 80), ("100.100.100.200", 80), ("168.63.129.16", 80)]
        program = (
            "import socket, time\n"
            f"for target in {targets!r}:\n"
            "    try:\n        socket.create_connection(target, 2)\n        print('REACHED', target)\n"
            "    except OSError as error:\n        print('REFUSED', target, error)\n"
            "try:\n    socket.socket(socket.AF_UNIX).connect('\\0infraxys-test-%d')\n    print('REACHED abstract')\n"
            "except OSError as error:\n    print('REFUSED', error)\n"
            "print(open('/proc/net/dev').read().count(':'), open('/proc/net/route').read().count('tap0'))\n"
        ) % os.getpid()
        ended = connected.python(program, network=True, is_loopback_refused=True)
    assert ended.exit.code == 0
    assert "REACHED" not in ended.stdout
    assert ended.stdout.count("REFUSED") == len(targets) + 1
    assert ended.stdout.splitlines()[-1] == "2 2"


def test_the_action_cannot_open_the_routes_again(connected: Sandbox) -> None:
    script = "ip route del blackhole 169.254.0.0/16; ip link add x type dummy; ip route | grep -c blackhole"
    ended = connected.run(script, network=True, is_loopback_refused=True)
    assert int(ended.stdout) >= 5
    assert ended.stderr.count("Operation not permitted") == 2


def test_nothing_of_it_is_left(connected: Sandbox) -> None:
    for _ in range(3):
        connected.run("true", network=True, is_loopback_refused=True)
    assert is_gone(f"slirp4netns{chr(0)}--configure", 5)


def test_without_the_programs_it_is_refused(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.backend, "_network_tools", "slirp4netns is not installed")
    with pytest.raises(StartFailed, match="slirp4netns is not installed"):
        sandbox.run("echo ran", network=True, is_loopback_refused=True)
    monkeypatch.setattr(sandbox.backend, "_network_tools", NetworkTools("/bin/false", "/bin/true", "/bin/true"))
    with pytest.raises(StartFailed, match="does not work here"):
        sandbox.run("echo ran", network=True, is_loopback_refused=True)
    assert sandbox.run("echo ran").stdout == "ran\n"


def test_name_servers_on_the_host_itself_are_left_out(tmp_path: Path) -> None:
    first, second = tmp_path / "resolv.conf", tmp_path / "upstream.conf"
    first.write_text("nameserver 127.0.0.53\noptions edns0\n")
    second.write_text(
        "# from DHCP\nnameserver 169.254.169.253\nnameserver 192.0.2.53\nnameserver ::1\nsearch example\n"
    )
    assert own_resolver([first, second]) == "search example\nnameserver 192.0.2.53\n"
    assert own_resolver([first]) == own_resolver([tmp_path / "none"]) == ""
