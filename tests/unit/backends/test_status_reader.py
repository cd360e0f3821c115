import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infraxys.engine.backends.execution import STATUS_BYTES, StatusReader

LINES = b'{ "child-pid": 4711, "mnt-namespace": 1 }\n{ "exit-code": 3 }\n'


@given(st.lists(st.integers(0, len(LINES)), max_size=8))
def test_the_lines_may_arrive_in_any_pieces(cuts: list[int]) -> None:
    reader = StatusReader()
    edges = [0, *sorted(cuts), len(LINES)]
    for start, end in itertools.pairwise(edges):
        reader.feed(LINES[start:end])
    assert (reader.child, reader.is_exit_reported) == (4711, True)


def test_half_a_line_says_nothing() -> None:
    reader = StatusReader()
    reader.feed(b'{ "child-pid": 47')
    assert reader.child is None
    reader.feed(b'11 }\n{ "exit-code"')
    assert (reader.child, reader.is_exit_reported) == (4711, False)


@pytest.mark.parametrize(
    "line", [b"\n", b"nonsense\n", b"[1]\n", b"3\n", b"null\n", b"\xff\xfe\n", b'{"child-pid": "1"}\n']
)
def test_a_line_that_is_no_status_is_skipped(line: bytes) -> None:
    reader = StatusReader()
    reader.feed(line + LINES)
    assert (reader.child, reader.is_exit_reported) == (4711, True)


def test_a_line_without_end_is_not_kept_whole() -> None:
    reader = StatusReader()
    for _ in range(20):
        reader.feed(b"x" * 65536)
    assert len(reader._rest) <= STATUS_BYTES
