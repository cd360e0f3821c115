"""What an action gets of what it asks for."""

from dataclasses import fields

import pytest

from infraxys.engine.backends.base import Limits
from infraxys.engine.limits import NO_WISHES, WRITTEN, Allowance, Wishes, allow, narrowest, read_wishes
from infraxys.engine.planner import wishes_of
from infraxys.spec.models import ActionLimits, PacketFile

USUAL = Allowance(Limits(memory_bytes=1000, processes=100), "on")
MOST = Allowance(Limits(memory_bytes=4000, processes=100, cpus=2), "on")


def given(packet: Wishes = NO_WISHES, project: Wishes = NO_WISHES, usual: Allowance = USUAL) -> Allowance:
    return allow(packet, project, usual, MOST)[0]


def test_every_limit_of_the_sandbox_can_be_asked_for_in_files_and_by_the_api() -> None:
    names = {item.name for item in fields(Limits)}
    assert set(WRITTEN.values()) == names
    assert set(ActionLimits.model_fields) == names
    assert {item.name for item in fields(Wishes)} == {*names, "network"}


def test_who_asks_for_nothing_gets_the_usual() -> None:
    assert given() is USUAL


def test_who_asks_for_less_gets_less_and_who_asks_for_more_gets_it_up_to_the_most() -> None:
    assert given(Wishes(memory_bytes=10)).limits.memory_bytes == 10
    assert given(Wishes(memory_bytes=3000)).limits.memory_bytes == 3000
    allowed, refused = allow(Wishes(memory_bytes=5000, cpus=8, processes=7), NO_WISHES, USUAL, MOST)
    assert (allowed.limits.memory_bytes, allowed.limits.cpus, allowed.limits.processes) == (4000, 2, 7)
    assert refused == (
        "memoryBytes: 5000 was asked for, 4000 is the most that is allowed here",
        "cpus: 8 was asked for, 2 is the most that is allowed here",
    )


def test_what_a_project_says_is_what_its_actions_get_and_the_most_that_they_can_ask_for() -> None:
    project = Wishes(memory_bytes=2000, open_files=50)
    assert given(project=project).limits.memory_bytes == 2000
    assert given(project=project).limits.open_files == 50
    assert given(Wishes(memory_bytes=3000), project).limits.memory_bytes == 2000
    assert given(Wishes(memory_bytes=10), project).limits.memory_bytes == 10


def test_a_project_cannot_give_more_than_the_server_allows() -> None:
    assert given(project=Wishes(memory_bytes=9000)).limits.memory_bytes == 4000
    assert given(Wishes(memory_bytes=9000), Wishes(memory_bytes=8000)).limits.memory_bytes == 4000


def test_of_several_projects_the_smallest_counts_whichever_is_above() -> None:
    upper, lower = Wishes(memory_bytes=10, cpus=2, network="off"), Wishes(memory_bytes=20, processes=5, network="on")
    expected = Wishes(memory_bytes=10, processes=5, cpus=2, network="off")
    assert narrowest([upper, lower]) == narrowest([lower, upper]) == expected
    assert narrowest([]) == NO_WISHES


@pytest.mark.parametrize(
    ("packet", "project", "usual", "most", "network"),
    [
        (None, None, "on", "on", "on"),
        (None, None, "off", "on", "off"),
        ("on", None, "off", "on", "on"),
        ("on", None, "off", "off", "off"),
        ("on", "off", "on", "on", "off"),
        ("off", "on", "on", "on", "off"),
        (None, "loopback-refused", "on", "on", "loopback-refused"),
        (None, "on", "off", "loopback-refused", "loopback-refused"),
        ("loopback-refused", "off", "on", "on", "off"),
    ],
)
def test_of_networks_the_one_that_allows_less_bounds_the_other(
    packet: str | None, project: str | None, usual: str, most: str, network: str
) -> None:
    allowed, refused = allow(
        Wishes(network=packet),  # type: ignore[arg-type]
        Wishes(network=project),  # type: ignore[arg-type]
        Allowance(Limits(), usual),  # type: ignore[arg-type]
        Allowance(Limits(), most),  # type: ignore[arg-type]
    )
    assert allowed.network == network
    assert bool(refused) == (packet is not None and packet != network)


def test_wishes_are_read_in_the_names_of_the_api_and_of_packet_files() -> None:
    written = {"memoryBytes": 2**24, "cpus": 1, "network": "off"}
    assert read_wishes(written) == Wishes(memory_bytes=2**24, cpus=1, network="off")
    file = PacketFile.model_validate(
        {"filename": "a.sh", "limits": {"memoryBytes": 2**24, "cpus": 1}, "network": "off"}
    )
    assert wishes_of(file) == read_wishes(written)
    assert wishes_of(PacketFile.model_validate({"filename": "a.sh"})) is NO_WISHES
