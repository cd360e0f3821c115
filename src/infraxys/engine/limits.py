"""What an action may use: what its packet file asks for, what its project gives, and what the server allows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from infraxys.engine.backends.base import Limits

Network = Literal["on", "loopback-refused", "off"]
NETWORKS: tuple[Network, ...] = ("on", "loopback-refused", "off")  # each allows less than the one before
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a packet file or a project says; None is nothing. Sizes are bytes."""

    memory_bytes: int | None = None
    processes: int | None = None
    cpus: float | None = None
    tmp_bytes: int | None = None
    home_bytes: int | None = None
    file_bytes: int | None = None
    open_files: int | None = None
    network: Network | None = None


NO_WISHES = Wishes()
# Of everything that a packet file can ask for, how it is written there and how it is called here.
WRITTEN = {
    "memoryBytes": "memory_bytes",
    "processes": "processes",
    "cpus": "cpus",
    "tmpBytes": "tmp_bytes",
    "homeBytes": "home_bytes",
    "fileBytes": "file_bytes",
    "openFiles": "open_files",
}


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an action gets, or the most that one can get."""

    limits: Limits
    network: Network = "on"


def read_wishes(written: Mapping[str, Any]) -> Wishes:
    """Read what a project says, in the names of files and of the API."""
    limits = {name: written.get(key) for key, name in WRITTEN.items()}
    return Wishes(**limits, network=written.get("network"))


def narrowest(wishes: Iterable[Wishes]) -> Wishes:
    """Give what holds where several say something: of each the smallest."""
    found = NO_WISHES
    for one in wishes:
        if found is NO_WISHES:
            found = one
        else:
            limits = {name: smaller(getattr(found, name), getattr(one, name)) for name in WRITTEN.values()}
            found = Wishes(**limits, network=stricter(found.network, one.network))
    return found


def allow(packet: Wishes, project: Wishes, usual: Allowance, most: Allowance) -> tuple[Allowance, tuple[str, ...]]:
    """Give what an action gets, and for everything that it asked for and does not get a sentence.

    What the packet file does not say, the project does, and what neither says is as usual. Nobody gets more than the
    project says or than the server allows at most.
    """
    if packet == NO_WISHES and project == NO_WISHES:
        return usual, ()
    values: dict[str, Any] = {}
    refused = []
    for written, name in WRITTEN.items():
        asked, given, most_of_all = getattr(packet, name), getattr(project, name), getattr(most.limits, name)
        ceiling = smaller(given, most_of_all)
        wanted = next((value for value in (asked, given) if value is not None), getattr(usual.limits, name))
        values[name] = smaller(wanted, ceiling)
        if asked is not None and ceiling is not None and asked > ceiling:
            refused.append(f"{written}: {asked:.12g} was asked for, {ceiling:.12g} is the most that is allowed here")
    at_most = stricter(project.network, most.network)
    network = stricter(packet.network or project.network or usual.network, at_most) or "off"
    if packet.network is not None and network != packet.network:
        refused.append(f"network: '{packet.network}' was asked for, '{network}' is the most that is allowed here")
    return Allowance(replace(usual.limits, **values), network), tuple(refused)


def smaller(one: N | None, other: N | None) -> N | None:
    """Give the smaller of two numbers; None is no limit."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def stricter(one: Network | None, other: Network | None) -> Network | None:
    """Give what of two allows less; None says nothing."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other, key=NETWORKS.index)
