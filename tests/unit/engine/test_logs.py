"""Logs: nothing is repeated and nothing skipped, whatever the chunks and wherever a reader starts."""

import asyncio
import errno
import hashlib
import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from factories.examples import examples
from infraxys.engine import logs
from infraxys.engine.logs import (
    FRAME,
    LINE_BYTES,
    LogReader,
    LogWriter,
    incomplete,
    index_path,
    recover,
    split_lines,
    to_ndjson,
)

CHUNKS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["stdout", "stderr"]),
        st.one_of(
            st.binary(max_size=40), st.sampled_from([b"line\n", "é€😀\n".encode(), b"\xf0\x9f", b"\x98\x80\n", b"\r\n"])
        ),
        st.booleans(),
    ),
    max_size=25,
)
MANY = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 30))


def fresh(path: Path) -> Path:
    path.unlink(missing_ok=True)
    index_path(path).unlink(missing_ok=True)
    return path


@given(CHUNKS, st.integers(0, 400))
@MANY
def test_a_reader_gets_every_byte_once_wherever_it_starts(tmp_path: Path, chunks: list[Any], start: int) -> None:
    path = fresh(tmp_path / "a.log")
    whole = b"".join(data for _, _, data, _ in chunks)
    start = min(start, len(whole))

    async def scenario() -> None:
        writer = LogWriter(path)
        reader = LogReader(path, writer)
        received = bytearray()

        async def follow() -> None:
            async for offset, data in reader.follow(start):
                assert offset == start + len(received)
                received.extend(data)

        following = asyncio.create_task(follow())
        for step, stream, data, is_flushed in chunks:
            writer.write(step, stream, data)
            if is_flushed:
                writer.flush()
                await asyncio.sleep(0)
        end = writer.close()
        await following
        assert bytes(received) == whole[start:]
        assert (end.length, end.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
        assert recover(path) == end

    run(scenario())


@given(CHUNKS, st.integers(0, 400))
@MANY
def test_records_are_the_bytes_of_the_log_with_exact_offsets(tmp_path: Path, chunks: list[Any], start: int) -> None:
    path = fresh(tmp_path / "a.log")
    owners = [(step, stream) for step, stream, data, _ in chunks for _ in data]
    whole = b"".join(data for _, _, data, _ in chunks)
    start = min(start, len(whole))

    async def write() -> None:
        writer = LogWriter(path)
        for step, stream, data, is_flushed in chunks:
            writer.write(step, stream, data)
            if is_flushed:
                writer.flush()
        writer.close()

    run(write())
    records = list(LogReader(path).records(start))
    offsets = [record["offset"] for record in records]
    assert offsets == sorted(set(offsets))
    assert (offsets or [start])[0] == start
    for record, end in zip(records, [*offsets[1:], len(whole)], strict=bool(records)):
        begin = record["offset"]
        assert record["text"] == whole[begin:end].decode(errors="replace")
        assert set(owners[begin:end]) == {(record["step"], record["stream"])}
        assert whole[begin:end].find(b"\n") in {-1, end - begin - 1}
    for step in range(3):
        mine = bytes(byte for byte, owner in zip(whole, owners, strict=True) if owner[0] == step)
        assert b"".join(LogReader(path).steps_text(step)) == mine


@given(st.text(max_size=30), st.integers(0, 200))
def test_a_cut_at_a_whole_character_leaves_text_on_both_sides(text: str, cut: int) -> None:
    data = text.encode()
    left = data[: min(cut, len(data))]
    assert left[: len(left) - incomplete(left)].decode() == data[: len(left) - incomplete(left)].decode()


@pytest.mark.parametrize(
    ("data", "count"),
    [(b"", 0), (b"a", 0), (b"\xc3", 1), (b"\xc3\xa9", 0), (b"\xe2\x82", 2), (b"\xf0\x9f\x98", 3),
     (b"\xf0\x9f\x98\x80", 0), (b"\x80\x80\x80\x80", 0), (b"\xff", 1)],
)  # fmt: skip
def test_incomplete_characters_are_counted(data: bytes, count: int) -> None:
    assert incomplete(data) == count


def test_a_line_that_arrives_in_pieces_is_one_record_with_the_time_of_its_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([100.0, 200.0, 300.0])
    monkeypatch.setattr(logs.time, "time", lambda: next(times))

    async def write() -> None:
        writer = LogWriter(tmp_path / "a.log")
        for data in (b"one ", b"line\nnext ", b"one\n"):
            writer.write(0, "stdout", data)
            writer.flush()
        writer.close()

    run(write())
    found = [(item["offset"], item["time"], item["text"]) for item in LogReader(tmp_path / "a.log").records()]
    assert found == [(0, 100.0, "one line\n"), (9, 200.0, "next one\n")]


def test_a_very_long_line_is_cut_between_characters(tmp_path: Path) -> None:
    text = "a" + "é" * LINE_BYTES

    async def write() -> None:
        writer = LogWriter(tmp_path / "a.log")
        writer.write(0, "stdout", text.encode())
        writer.close()

    run(write())
    records = list(LogReader(tmp_path / "a.log").records())
    assert len(records) == 3
    assert "".join(str(item["text"]) for item in records) == text


def test_records_end_where_they_are_asked_to(tmp_path: Path) -> None:
    async def write() -> None:
        writer = LogWriter(tmp_path / "a.log")
        writer.write(0, "stdout", b"one\ntwo\n")
        writer.close()

    run(write())
    reader = LogReader(tmp_path / "a.log")
    first = [item["text"] for item in reader.records(end=6)]
    assert [*first, *(item["text"] for item in reader.records(6))] == ["one\n", "tw", "o\n"]
    assert json.loads(to_ndjson(next(reader.records())))["stream"] == "stdout"


def test_bytes_are_on_file_within_the_flush_time(tmp_path: Path) -> None:
    async def scenario() -> bytes:
        writer = LogWriter(tmp_path / "a.log")
        writer.write(0, "stdout", b"soon")
        assert LogReader(tmp_path / "a.log", writer).read(0) == b""
        await writer.changed()
        found = (tmp_path / "a.log").read_bytes()
        writer.close()
        return found

    assert run(scenario()) == b"soon"


def test_what_is_beyond_the_limit_is_counted_and_the_digest_stays_right(tmp_path: Path) -> None:
    async def scenario() -> logs.LogEnd:
        writer = LogWriter(tmp_path / "a.log", max_bytes=10)
        writer.write(0, "stdout", b"0123456")
        writer.write(0, "stdout", b"789abcdef")
        writer.write(0, "stdout", b"more")
        return writer.close()

    end = run(scenario())
    data = (tmp_path / "a.log").read_bytes()
    assert data == b"0123456789\n[infraxys] the log is longer than allowed: 10 bytes were not kept\n"
    assert (end.length, end.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_what_the_server_says_stands_on_lines_of_its_own_also_beyond_the_limit(tmp_path: Path) -> None:
    async def scenario() -> None:
        writer = LogWriter(tmp_path / "a.log", max_bytes=4)
        writer.write(0, "stdout", b"four")
        writer.note(0, "said\n")
        writer.note(1, "again\n")
        writer.close()

    run(scenario())
    assert (tmp_path / "a.log").read_bytes() == b"four\nsaid\nagain\n"
    records = LogReader(tmp_path / "a.log").records()
    assert [(item["step"], item["stream"]) for item in records][-1] == (1, "server")


def test_a_log_is_continued_after_its_writer_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.log"

    async def first() -> None:
        writer = LogWriter(path)
        writer.write(0, "stdout", b"before\n")
        writer.close()  # leaves what a killed one leaves

    async def second() -> logs.LogEnd:
        writer = LogWriter(path)
        writer.write(1, "stderr", b"after\n")
        return writer.close()

    run(first())
    with index_path(path).open("ab") as index:  # a frame whose bytes did not arrive, and half of another
        index.write(FRAME.pack(7, 1.0, 5, 0) + b"\0\0\0")
    assert run(second()) == recover(path)
    found = [(item["offset"], item["step"], item["text"]) for item in LogReader(path).records()]
    assert found == [(0, 0, "before\n"), (7, 1, "after\n")]


def test_a_log_without_its_index_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    assert [item["text"] for item in LogReader(tmp_path / "a.log").records()] == ["one\n", "two\n"]
    assert list(LogReader(tmp_path / "none.log").records()) == []
    assert LogReader(tmp_path / "none.log").length == 0
    assert recover(tmp_path / "none.log").length == 0


def test_a_full_disk_loses_output_but_never_the_agreement_of_offsets_and_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.log"
    real = os.write

    def half(descriptor: int, data: Any) -> int:
        if bytes(data[-5:]) == b"lost\n":
            real(descriptor, data[:3])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    async def scenario() -> logs.LogEnd:
        writer = LogWriter(path)
        monkeypatch.setattr(logs.os, "write", half)
        for data in (b"kept\n", b"partly lost\n", b"kept again\n"):
            writer.write(0, "stdout", data)
            writer.flush()
        return writer.close()

    end = run(scenario())
    assert path.read_bytes().startswith(b"kept\nparkept again\n")
    assert path.read_bytes().endswith(b"[infraxys] the log could not be written for a while: 9 bytes were not kept\n")
    assert end == recover(path)
    assert "".join(str(item["text"]) for item in LogReader(path).records()) == path.read_text()


def test_a_disk_that_stays_full_is_told_with_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def scenario() -> logs.LogEnd:
        writer = LogWriter(tmp_path / "a.log")
        writer.write(0, "stdout", b"kept\n")
        writer.flush()
        monkeypatch.setattr(logs.os, "write", refuse)
        writer.write(0, "stdout", b"lost\n")
        return writer.close()

    end = run(scenario())
    assert (end.length, end.lost) == (5, 5)
    assert (tmp_path / "a.log").read_bytes() == b"kept\n"


def test_an_action_that_changes_streams_with_every_byte_does_not_blow_up_the_index(tmp_path: Path) -> None:
    async def write() -> None:
        writer = LogWriter(tmp_path / "a.log")
        for number in range(100_000):
            writer.write(0, "stderr" if number % 2 else "stdout", b"x")
        writer.close()

    run(write())
    assert index_path(tmp_path / "a.log").stat().st_size < 100_000 // 4 + logs.FREE_INDEX_BYTES + 10 * FRAME.size
    assert len(b"".join(LogReader(tmp_path / "a.log").steps_text(0))) == 100_000


def test_a_running_log_is_given_up_to_the_last_whole_character(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, int]:
        writer = LogWriter(tmp_path / "a.log")
        reader = LogReader(tmp_path / "a.log", writer)
        writer.write(0, "stdout", b"ab\xe2\x82")
        writer.flush()
        running = reader.whole_characters(reader.length)
        writer.close()
        return running, reader.whole_characters(reader.length)

    assert run(scenario()) == (2, 4)


def test_the_tail_says_whether_there_was_more(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"0123456789")
    assert LogReader(tmp_path / "a.log").tail(4) == (b"6789", True)
    assert LogReader(tmp_path / "a.log").tail(10) == (b"0123456789", False)


@given(st.binary(max_size=200))
def test_lines_are_cut_after_newlines_only(data: bytes) -> None:
    lines = split_lines(data)
    assert b"".join(lines) == data
    assert all(line.find(b"\n") in {-1, len(line) - 1} for line in lines)
