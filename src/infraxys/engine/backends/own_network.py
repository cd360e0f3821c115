"""A network of an action's own, from which nothing of the host can be reached: network `loopback-refused`.

slirp4netns, a program beside the sandbox, makes the connections of the action as if they were its own. The host's
addresses, its loopback ones among them, and those where clouds tell about a machine lead nowhere: routes in the
sandbox's network end them, which the action has no right to change. No rights on the host are needed for any of it.
"""

import asyncio
import fcntl
import ipaddress
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infraxys.engine.backends.base import StartFailed

NS_GET_USERNS = 0xB701  # of ioctl_ns(2): a descriptor of the user namespace that a namespace belongs to
READY_SECONDS = 10.0
TUN = Path("/dev/net/tun")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Link-local addresses, where most clouds answer, and those of the clouds that answer elsewhere.
METADATA = ("169.254.0.0/16", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32")
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
ADDRESS = re.compile(r"\binet (\d+\.\d+\.\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class NetworkTools:
    """The programs that it takes."""

    slirp4netns: str
    nsenter: str
    ip: str


def find_network_tools() -> NetworkTools | str:
    """Find the programs; says what is missing where something is."""
    found = []
    for name, package in (("slirp4netns", "slirp4netns"), ("nsenter", "util-linux"), ("ip", "iproute2")):
        path = shutil.which(name, path=SYSTEM_PATH)
        if path is None:
            return f"{name} is not installed: apt-get install {package}"
        found.append(path)
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"{TUN} cannot be used by this account: modprobe tun; chmod 666 {TUN}"
    return NetworkTools(*found)


def own_resolver(paths: Iterable[Path] = RESOLVERS) -> str:
    """Give resolver settings that work there: of the host's name servers those that are not on the host itself."""
    for path in paths:
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        usable = [line for line in lines if is_elsewhere(line)]
        if usable:
            rest = [line for line in lines if line.split()[:1] in (["search"], ["options"], ["domain"])]
            return "".join(f"{line}\n" for line in (*rest, *usable))
    return ""


def is_elsewhere(line: str) -> bool:
    """Whether a line of the settings names a server that is not on this host. There is no IPv6."""
    words = line.split()
    if len(words) < 2 or words[0] != "nameserver":
        return False
    try:
        address = ipaddress.IPv4Address(words[1])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)


class OwnNetwork:
    """The network of one sandbox. `open` before anything of the action runs, `close` when it has ended."""

    def __init__(self, tools: NetworkTools, *, is_other_account: bool) -> None:
        self._tools, self._is_other_account = tools, is_other_account
        self._process: Process | None = None
        self._exit: int | None = None

    async def open(self, sandbox: int) -> None:
        """Connect the sandbox whose first process this is. Raises StartFailed."""
        try:
            await self._mapped(sandbox)
            network = os.open(f"/proc/{sandbox}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                owner = fcntl.ioctl(network, NS_GET_USERNS)
                try:
                    await self._close_routes(owner, network)
                    await self._connect(owner, network)
                finally:
                    os.close(owner)
            finally:
                os.close(network)
        except (OSError, TimeoutError) as error:
            await self.close()
            raise StartFailed(f"the network 'loopback-refused' could not be made: {error}") from error

    async def _mapped(self, sandbox: int) -> None:
        """Wait until the sandbox has its account: before that nobody has rights in it. Raises OSError, TimeoutError."""
        path = Path(f"/proc/{sandbox}/uid_map")
        async with asyncio.timeout(READY_SECONDS):
            while not path.read_text():  # noqa: ASYNC110, ASYNC240 - of the kernel, which tells nobody of a change
                await asyncio.sleep(0.001)

    async def _close_routes(self, owner: int, network: int) -> None:
        """End everything that leads to the host or to what knows about it. Raises OSError."""
        listing = await asyncio.create_subprocess_exec(
            self._tools.ip, "-o", "-4", "address", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
        )
        said, _ = await listing.communicate()
        own = {f"{address}/32" for address in ADDRESS.findall(said.decode()) if not address.startswith("127.")}
        routes = "".join(f"route add blackhole {target}\n" for target in sorted({*METADATA, *own}))
        # Root becomes who the sandbox is; anybody else is that already, and may not change its groups.
        keep = () if self._is_other_account else ("--preserve-credentials",)
        where = (f"--user=/proc/self/fd/{owner}", f"--net=/proc/self/fd/{network}")
        entering = await asyncio.create_subprocess_exec(
            self._tools.nsenter, *where, *keep, self._tools.ip, "-batch", "-",
            stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, pass_fds=(owner, network),
        )  # fmt: skip
        await entering.communicate(routes.encode())
        if listing.returncode != 0 or entering.returncode != 0:
            raise OSError("the routes to the host could not be closed")

    async def _connect(self, owner: int, network: int) -> None:
        """Start the program that makes the connections. Raises OSError and TimeoutError."""
        ready, ready_end = os.pipe()
        exit_end, self._exit = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                self._tools.slirp4netns, "--configure", "--mtu=65520", "--disable-host-loopback", "--disable-dns",
                "--enable-sandbox", "--enable-seccomp", f"--ready-fd={ready_end}", f"--exit-fd={exit_end}",
                "--netns-type=path", f"--userns-path=/proc/self/fd/{owner}", f"/proc/self/fd/{network}", "tap0",
                stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, pass_fds=(owner, network, ready_end, exit_end),
            )  # fmt: skip
        finally:
            os.close(ready_end)
            os.close(exit_end)
        try:
            async with asyncio.timeout(READY_SECONDS):
                if await asyncio.to_thread(os.read, ready, 1) != b"1":
                    raise OSError("slirp4netns does not work here")
        except TimeoutError:
            self._kill()  # which ends the read
            raise
        finally:
            os.close(ready)

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """End it."""
        if self._exit is not None:
            os.close(self._exit)
            self._exit = None
        if self._process is not None:
            self._kill()
            await self._process.wait()
