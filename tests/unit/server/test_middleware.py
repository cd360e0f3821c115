"""What happens to requests before routing."""

import asyncio
import json

import pytest
from starlette.types import Message, Receive, Scope, Send

from infraxys.server.errors import BadRequest, NotFound, Problem, Unprocessable
from infraxys.server.middleware import BodyLimit, LoopbackOnly, RequestEdge, checked_path, problem_response
from infraxys.server.paths import SegmentConvertor


@pytest.mark.parametrize(
    "path",
    ["/api/v1/runs", "/a/feature%2Fa%2Fb/c", "/a/feature%2fa%2fb/c", "/a/%252f", "/a/b%20c", "/a/%C3%BC", "/a/;x"],
)
def test_good_paths_stay_as_they_were_sent(path: str) -> None:
    assert checked_path(path.encode()) == path


@pytest.mark.parametrize("path", ["/a/../b", "/a/%2e%2e/b", "/a/%2E./b", "/a/./b", "//a", "/a//b"])
def test_paths_that_could_mean_two_things_are_404(path: str) -> None:
    with pytest.raises(NotFound):
        checked_path(path.encode())


@pytest.mark.parametrize(
    "path", [b"/a%", b"/a%zz", b"/a%00", b"/%0a", b"/%ff", b"/%c0%af", b"/\xff", b"/%ed%a0%bd", b"/" + b"a" * 9000]
)
def test_paths_that_cannot_be_read_are_400(path: bytes) -> None:
    with pytest.raises(BadRequest):
        checked_path(path)


def test_segments_are_decoded_once() -> None:
    convertor = SegmentConvertor()
    assert convertor.convert("%252f") == "%2f"
    assert convertor.convert(convertor.to_string("feature/a b")) == "feature/a b"


async def _ok(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, then answer; refusals become answers as in the application."""
    try:
        while (await receive()).get("more_body"):
            pass
    except Problem as problem:
        await problem_response(problem, scope["path"])(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def call(app: object, method: str = "POST", headers: dict[str, str] | None = None, chunks: int = 0) -> list[Message]:
    """Send a request with so many chunks of 100 bytes; -1 sends none and never ends."""
    scope = {
        "type": "http", "method": method, "path": "/x",
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }  # fmt: skip
    sent: list[Message] = []
    left = chunks

    async def receive() -> Message:
        nonlocal left
        if left < 0:
            await asyncio.Event().wait()
        left -= 1
        return {"type": "http.request", "body": b"x" * 100, "more_body": left > 0}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[operator]
    return sent


@pytest.mark.parametrize("host", ["localhost", "localhost:8444", "127.0.0.1:1", "[::1]:8444", "[::1]", "LOCALHOST"])
def test_b11_loopback_names_are_answered(host: str) -> None:
    assert call(LoopbackOnly(_ok), headers={"host": host})[0]["status"] == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8444", "localhost@evil", "0.0.0.0", "[::2]"],
)
def test_b11_other_names_are_421(host: str) -> None:
    assert call(LoopbackOnly(_ok), headers={"host": host})[0]["status"] == 421


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a3_a_body_without_length_is_bounded_for_every_method(method: str) -> None:
    limited = BodyLimit(_ok, limit=250, seconds=5)
    chunked = {"transfer-encoding": "chunked"}
    assert call(limited, method, chunked, chunks=2)[0]["status"] == 200
    assert call(limited, method, chunked, chunks=3)[0]["status"] == 413


def test_a3_a_body_that_says_it_is_too_large_is_not_read() -> None:
    assert call(BodyLimit(_ok, limit=250, seconds=5), headers={"content-length": "251"}, chunks=-1)[0]["status"] == 413


def test_a3_a_body_that_does_not_arrive_is_408() -> None:
    limited = BodyLimit(_ok, limit=250, seconds=0.01)
    assert call(limited, headers={"content-length": "10"}, chunks=-1)[0]["status"] == 408


@pytest.mark.parametrize(
    ("given", "is_kept"), [("abc-1.2:3", True), ("a b", False), ("x" * 129, False), ("a\n", False)]
)
def test_a5_only_plain_request_ids_are_answered(given: str, is_kept: bool) -> None:  # noqa: FBT001 - a parameter of the test
    headers = dict(call(RequestEdge(_ok, has_tls=True), headers={"x-request-id": given})[0]["headers"])
    assert (headers[b"x-request-id"] == given.encode()) is is_kept
    assert headers[b"strict-transport-security"]


def test_without_tls_nothing_is_said_about_tls() -> None:
    assert b"strict-transport-security" not in dict(call(RequestEdge(_ok, has_tls=False))[0]["headers"])


def test_a_refusal_may_repeat_half_a_surrogate_pair() -> None:
    answer = problem_response(Unprocessable("\ud83d: unknown", errors=[{"loc": "\ud83d", "message": "unknown"}]), "/x")
    body = json.loads(answer.body)
    assert body["message"] == body["detail"] == "\ud83d: unknown"
    assert (body["status"], body["code"], body["instance"]) == (422, "validation_failed", "/x")
