"""Finding requests in output: whatever comes, however it is cut."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories.examples import examples
from infraxys.engine.feedback import stream
from infraxys.engine.feedback.stream import MAX_BLOCK, MAX_LINE, Block, ClientLine, FeedbackStream, Piece, Rejected

WORDS = [
    b"<FEEDBACK>", b"</FEEDBACK>", b"<CLIENT-FEEDBACK>", b"</CLIENT-FEEDBACK>", b"FEEDBACK>", b"<", b"\n", b"\n", b"\r",
    b" ", b"\t", b" " * 70, b"\0", b"\xff", b"text", b"{'a': 1}", b"a\n<FEEDBACK>\nb\n</FEEDBACK>\n",
]  # fmt: skip


def read(chunks: list[bytes]) -> list[Piece]:
    """Give what comes out, with neighbouring output put together."""
    reader = FeedbackStream()
    pieces: list[Piece] = []
    for piece in [piece for chunk in chunks for piece in reader.feed(chunk)] + reader.finish():
        if isinstance(piece, bytes) and pieces and isinstance(pieces[-1], bytes):
            pieces[-1] += piece
        elif piece:
            pieces.append(piece)
    assert not reader.is_holding
    return pieces


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


def whole(pieces: list[Piece]) -> bytes:
    """Give everything that came out as it went in, but for ends of lines behind requests."""
    return b"".join(
        piece if isinstance(piece, bytes) else b"" if isinstance(piece, ClientLine) else piece.raw for piece in pieces
    )


class TestFraming:
    def test_a_request_is_taken_out_of_the_output(self) -> None:
        pieces = read([b"before\n  <FEEDBACK>\nui interaction\na=b\n </FEEDBACK>\nafter\n"])
        request = Block(b"ui interaction\na=b\n", b"  <FEEDBACK>\nui interaction\na=b\n </FEEDBACK>")
        assert pieces == [b"before\n", request, b"after\n"]

    def test_lines_may_end_as_on_a_terminal(self) -> None:
        assert read([b"<FEEDBACK>\r\n{}\r\n</FEEDBACK>\r\nafter\r\n"])[1:] == [b"after\r\n"]

    @pytest.mark.parametrize(
        "output",
        [
            b"echo <FEEDBACK>\nx\n</FEEDBACK>\n",
            b"<FEEDBACK>x\n</FEEDBACK>\n",
            b"<feedback>\nx\n</feedback>\n",
            b"</FEEDBACK>\n",
            b"<FEEDBACK>\nnever ends\n",
            b"<FEEDBACK>",
            b"<FEEDBACK>\n",
            b"x<FEEDBACK>\n</FEEDBACK>",
            b" " * 65 + b"<FEEDBACK>\nx\n</FEEDBACK>\n",
            b"<CLIENT-FEEDBACK>{}\n</CLIENT-FEEDBACK>\n",
            b"<CLIENT-FEEDBACK>" + b"x" * (MAX_LINE + 1) + b"</CLIENT-FEEDBACK>\n",
            b"<FEED", b"<", b"   ", b"\n", b"<CLIENT-FEEDBACK>",
        ],
    )  # fmt: skip
    def test_what_is_none_stays_as_it_is(self, output: bytes) -> None:
        assert read([output]) == [output]
        assert read([bytes([byte]) for byte in output]) == [output]

    def test_the_last_beginning_counts(self) -> None:
        pieces = read([b"<FEEDBACK>\nlost\n<FEEDBACK>\nfound\n</FEEDBACK>\n"])
        assert pieces == [b"<FEEDBACK>\nlost\n", Block(b"found\n", b"<FEEDBACK>\nfound\n</FEEDBACK>")]

    def test_what_is_told_to_browsers_stays_in_the_output(self) -> None:
        line = b'<CLIENT-FEEDBACK>{"a": 1}</CLIENT-FEEDBACK>\n'
        assert read([b"x\n" + line + b"y"]) == [b"x\n" + line, ClientLine(b'{"a": 1}'), b"y"]

    def test_one_that_is_too_long_is_output_and_so_is_what_follows(self) -> None:
        output = b"<FEEDBACK>\n" + b"x" * MAX_BLOCK + b"\n</FEEDBACK>\nafter\n"
        first, rest = read([output])
        assert isinstance(first, Rejected)
        assert (len(first.raw), whole([first, rest])) == (MAX_BLOCK, output)

    def test_a_beginning_that_is_kept_back_can_be_given_up(self) -> None:
        reader = FeedbackStream()
        assert reader.feed(b"a\n<FEED") == [b"a\n"]
        assert reader.is_holding
        assert reader.finish() == [b"<FEED"]
        assert reader.feed(b"BACK>\nx\n</FEEDBACK>\n") == [b"BACK>\nx\n</FEEDBACK>\n"]


class TestAnything:
    @examples(400)
    @given(
        st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=6)), max_size=20), st.lists(st.integers(0, 400))
    )
    def test_how_it_is_cut_does_not_matter(self, words: list[bytes], places: list[int]) -> None:
        data = b"".join(words)
        assert read(cut(data, places)) == read([data])

    def test_ten_thousand_streams(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "MAX_BLOCK", 60)  # so that the limit is met
        random_ = random.Random(5)
        for _ in range(10_000):
            data = b"".join(random_.choice(WORDS) for _ in range(random_.randrange(16)))
            pieces = read(cut(data, [random_.randrange(400) for _ in range(random_.randrange(6))]))
            assert pieces == read([data])
            assert whole(pieces).translate(None, b"\r\n") == data.translate(None, b"\r\n")
