"""The Docker-compatible HTTP API, over a Unix socket: what of it executing an action needs."""

import asyncio
import base64
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from infraxys.engine.backends.base import Chunk, Credentials, Image, Stream
from infraxys.engine.backends.remote import RemoteError

VERSION = "v1.41"  # of Docker 20.10 and podman 3 and newer
SECONDS = 60.0  # for one answer; podman creates one container at a time
HEAD_BYTES = 64 * 1024
READ_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024
LINE_BYTES = 1024 * 1024
FRAME_HEAD = 8
ATTACH = "stream=1&stdin=1&stdout=1&stderr=1"

Answer = dict[str, Any]


class ApiError(RemoteError):
    """What the container engine says."""


class ContainerApi:
    """Speaks to the container engine at a socket. Methods raise ApiError."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        transport = httpx2.AsyncHTTPTransport(uds=str(socket), limits=httpx2.Limits(max_connections=None))
        self._client = httpx2.AsyncClient(transport=transport, base_url="http://engine", timeout=SECONDS)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def version(self) -> Answer:
        """Ask who answers."""
        answer: Answer = await self._call("GET", "/version")
        return answer

    async def info(self) -> Answer:
        """Ask what it can do."""
        answer: Answer = await self._call("GET", "/info")
        return answer

    async def find_image(self, reference: str) -> Answer | None:
        """Give what is known of an image that is here already."""
        try:
            answer: Answer = await self._call("GET", f"/images/{quote(reference, safe='')}/json")
        except ApiError as error:
            if error.status == httpx2.codes.NOT_FOUND:
                return None
            raise
        return answer

    async def pull(self, image: Image) -> None:
        """Fetch an image from its registry; takes as long as it takes."""
        headers = {"X-Registry-Auth": encode_credentials(image.credentials)} if image.credentials else {}
        timeout = httpx2.Timeout(SECONDS, read=None)
        parameters = {"fromImage": image.reference}
        url = f"/{VERSION}/images/create"
        try:
            async with self._client.stream("POST", url, params=parameters, headers=headers, timeout=timeout) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise refusal(answer)
                rest = b""
                async for data in answer.aiter_bytes():
                    *lines, rest = (rest + data).split(b"\n")
                    check_progress(lines)
                    rest = rest[-LINE_BYTES:]
                check_progress([rest])
        except httpx2.HTTPError as error:
            raise unanswered(error) from error

    async def create(self, name: str, body: Answer) -> str:
        """Make a container; gives its id."""
        try:
            answer = await self._call("POST", "/containers/create", params={"name": name}, json=body)
        except ApiError as error:
            if "init binary not found" in str(error):  # podman's is a package that it only recommends
                raise ApiError("the engine has no init for containers: install catatonit", error.status) from error
            raise
        return str(answer["Id"])

    async def start(self, container: str) -> None:
        """Let a container begin."""
        await self._call("POST", f"/containers/{container}/start")

    async def state(self, container: str) -> Answer:
        """Give the `State` of a container."""
        answer: Answer = (await self._call("GET", f"/containers/{container}/json"))["State"]
        return answer

    async def kill(self, container: str, signal: str) -> None:
        """Signal the first process of a container; nothing happens for one that has ended."""
        await self._call("POST", f"/containers/{container}/kill", params={"signal": signal}, accepted=(404, 409))

    async def resize(self, container: str, columns: int, rows: int) -> None:
        """Change the size of a container's terminal."""
        await self._call("POST", f"/containers/{container}/resize", params={"w": columns, "h": rows})

    async def remove(self, container: str) -> None:
        """Kill and remove a container with its volumes; nothing happens for one that is not there."""
        parameters = {"force": "true", "v": "true"}
        await self._call("DELETE", f"/containers/{container}", params=parameters, accepted=(404,))

    async def find_containers(self, label: str) -> list[str]:
        """Give the ids of all containers with a label `name=value`, running or not."""
        filters = json.dumps({"label": [label]})
        answer = await self._call("GET", "/containers/json", params={"all": "true", "filters": filters})
        return [str(one["Id"]) for one in answer]

    async def attach(self, container: str) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter]":
        """Take over the standard streams of a container, best before it starts: then nothing of them is missed."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=READ_BYTES)
        except OSError as error:
            raise unanswered(error) from error
        try:
            await upgrade(reader, writer, f"/{VERSION}/containers/{container}/attach?{ATTACH}")
        except BaseException as error:
            writer.close()
            if isinstance(error, OSError | EOFError | asyncio.LimitOverrunError):
                raise unanswered(error) from error
            raise
        return reader, writer

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: object = None,
        accepted: tuple[int, ...] = (),
    ) -> Any:
        try:
            answer = await self._client.request(method, f"/{VERSION}{path}", params=params, json=json)
        except httpx2.HTTPError as error:
            raise unanswered(error) from error
        if answer.is_error and answer.status_code not in accepted:
            raise refusal(answer)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            return None


async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> None:
    """Ask to use a connection for a container's streams. Raises ApiError, OSError, EOFError, LimitOverrunError."""
    lines = (f"POST {target} HTTP/1.1", "Host: engine", "Connection: Upgrade", "Upgrade: tcp", "Content-Length: 0")
    writer.write("\r\n".join((*lines, "", "")).encode())
    async with asyncio.timeout(SECONDS):
        answer = await reader.readuntil(b"\r\n\r\n")
        _, status, *words = answer.split(b"\r\n", 1)[0].split(b" ", 2)
        if status not in {b"101", b"200"}:
            said = message_in(await reader.read(HEAD_BYTES))
            raise ApiError(said or b" ".join(words).decode(errors="replace"), int(status))


def unanswered(error: Exception) -> ApiError:
    """Say that the engine cannot be reached."""
    return ApiError(f"the container engine does not answer: {str(error) or type(error).__name__}")


def refusal(answer: httpx2.Response) -> ApiError:
    """Give what the engine said when it refused."""
    return ApiError(message_in(answer.content) or f"status {answer.status_code}", answer.status_code)


def message_in(said: bytes) -> str:
    """Give the words for people in a refusal."""
    try:
        message = json.loads(said)["message"]
    except (ValueError, TypeError, KeyError):
        message = said[:1000].decode(errors="replace")
    return str(message)


def check_progress(lines: list[bytes]) -> None:
    """Raise ApiError when one of the lines that report on a pull is an error; the status was sent before."""
    for line in lines:
        try:
            said = json.loads(line) if line.strip() else {}
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("error"):
            raise ApiError(str(said["error"]))


def encode_credentials(credentials: Credentials) -> str:
    """Write credentials as the engine wants them in a header."""
    content = {
        "username": credentials.username,
        "password": credentials.password,
        "serveraddress": credentials.registry,
    }
    if credentials.identity_token:
        content = {"identitytoken": credentials.identity_token, "serveraddress": credentials.registry}
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


class Frames:
    """Parts the one stream of an attached container into its two; a terminal has only one."""

    def __init__(self, *, is_terminal: bool = False) -> None:
        self._is_terminal = is_terminal
        self._rest = bytearray()
        self._stream, self._missing = 1, 0

    def feed(self, data: bytes) -> list[Chunk]:
        """Take what was read; gives what is complete, as long as possible."""
        if self._is_terminal:
            return pieces(1, data)
        self._rest += data
        chunks: list[Chunk] = []
        position, collected, collected_stream = 0, bytearray(), 0
        while position < len(self._rest):
            if not self._missing:
                if len(self._rest) - position < FRAME_HEAD:
                    break
                self._stream = self._rest[position]
                self._missing = int.from_bytes(self._rest[position + 4 : position + FRAME_HEAD], "big")
                position += FRAME_HEAD
                continue
            part = self._rest[position : position + self._missing]
            position += len(part)
            self._missing -= len(part)
            if self._stream != collected_stream:
                chunks += pieces(collected_stream, bytes(collected))
                collected, collected_stream = bytearray(), self._stream
            collected += part
        del self._rest[:position]
        return [*chunks, *pieces(collected_stream, bytes(collected))]


def pieces(stream: int, data: bytes) -> list[Chunk]:
    """Cut bytes into chunks."""
    name: Stream = "stderr" if stream == 2 else "stdout"
    return [Chunk(name, data[start : start + CHUNK_BYTES]) for start in range(0, len(data), CHUNK_BYTES)]


def usual_sockets() -> list[Path]:
    """Give where container engines listen on this machine, what the environment names first."""
    named = [os.environ.get(name, "") for name in ("CONTAINER_HOST", "DOCKER_HOST")]
    places = [name.removeprefix("unix://") for name in named if name.startswith("unix://")]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places += [f"{runtime}/podman/podman.sock", f"{runtime}/docker.sock"]
    places += ["/run/podman/podman.sock", "/run/docker.sock", "/var/run/docker.sock"]
    return [Path(place) for place in places]


def find_socket() -> Path | None:
    """Find the socket of a container engine that this process may use."""
    for path in usual_sockets():
        try:
            is_socket = stat.S_ISSOCK(path.stat().st_mode)
        except OSError:
            continue
        if is_socket and os.access(path, os.W_OK):
            return path
    return None
