"""Hostile input to our own readers costs time and memory in proportion (hostile.md D1, D2)."""

import time
import tracemalloc
from contextlib import suppress

import pytest

from infraxys.engine.feedback import lenient
from infraxys.engine.feedback.lenient import NotReadable
from infraxys.engine.feedback.stream import MAX_BLOCK, FeedbackStream
from infraxys.spec.json_source import MAX_BYTES, MAX_VALUES, parse


@pytest.mark.parametrize(
    "data",
    [
        b'"\\' * (MAX_BYTES // 2),
        b'"' * MAX_BYTES,
        b"\\" * MAX_BYTES,
        b"[" * MAX_BYTES,
        b"{" * MAX_BYTES,
        b'{"a":' * (MAX_BYTES // 5),
        b" " * MAX_BYTES,
        b"1" * MAX_BYTES,
        b"\xff" * MAX_BYTES,
        b"\0" * MAX_BYTES,
        b"[" + b"1," * (MAX_BYTES // 2 - 2),
        b"{" + b'"a":1,' * (MAX_VALUES - 2) + b'"a":1}',
        b'["' + b"\\ud800\\udc00" * (MAX_BYTES // 12 - 2) + b'\\ud800"]',
        b'{"a":"' + b"\\n" * (MAX_BYTES // 2 - 10) + b'","a":1}',
        b"[" + b'"' + b"a" * 10,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_a_file_of_hostile_bytes_costs_seconds_at_most(data: bytes) -> None:
    start = time.process_time()
    _, problems = parse(data, "f.json")
    assert time.process_time() - start < 10
    assert problems[0].code


@pytest.mark.parametrize(
    "chunk",
    [b"<FEEDBACK>\n", b"<FEEDBACK>\nx", b"x" * 1000, b"\n<FEED", b"<CLIENT-FEEDBACK>", b" ", b"</FEEDBACK>\r"],
    ids=str,
)
def test_a_stream_of_requests_keeps_its_memory(chunk: bytes) -> None:
    reader = FeedbackStream()
    reader.feed(b"<FEEDBACK>\n")
    data = chunk * (64 * 1024 // len(chunk))
    tracemalloc.start()
    for _ in range(40):
        reader.feed(data)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 2.5 * MAX_BLOCK


@pytest.mark.parametrize(
    ("line", "least"),
    [(b"plain output of an action, a line of it\n", 500), (b"<FEEDBACK>\n", 5), (b"<FEEDBACK>", 50)],
)
def test_a_stream_of_requests_is_fast(line: bytes, least: int) -> None:
    data = line * (64 * 1024 // len(line))
    best = 0.0
    for _ in range(5):
        reader = FeedbackStream()
        started = time.perf_counter()
        for _ in range(40):
            reader.feed(data)
        best = max(best, 40 * len(data) / (time.perf_counter() - started) / 1e6)
    assert best > least


@pytest.mark.parametrize(
    "text",
    ["[" * 1_000_000, "{'a':" * 200_000, "{" + "'a'," * 250_000, "'" + "\\" * 999_999, "1" * 1_000_000,
     "/*" * 500_000, "[" + "1," * 500_000, "#" * 1_000_000, "{'" + "\\n" * 400_000 + "': 1}"],
    ids=lambda text: text[:4],
)  # fmt: skip
def test_what_a_request_holds_is_read_in_the_time_that_its_length_allows(text: str) -> None:
    started = time.process_time()
    with suppress(NotReadable):
        lenient.parse(text)
    assert time.process_time() - started < 5
