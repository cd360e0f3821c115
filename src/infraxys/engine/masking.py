"""Keeping secrets out of what an action says: in its output, and in what the server says of it.

A secret is looked for as it is, and as programs commonly write it: base64 (wherever it begins in what was encoded, and
wrapped), hexadecimal, URL-encoded, escaped for JSON, Python, HTML and shells, with escape sequences of terminals and
line ends in between. An action that wants to give a secret away can always do it; this is against accidents.
"""

import base64
import html
import json
import re
import shlex
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

from ahocorasick_rs import BytesAhoCorasick

MASK = b"********"
MIN_SECRET = 4  # characters; shorter ones stand in every second line of a log
MIN_LINE = 6  # a line of a secret with several
MIN_ENCODED = 6
MIN_DISTINCT = 4  # characters in a part of a secret: a line of dashes is none
WHOLE = 64  # what is longer is looked for in pieces, so that little output is ever held back
PIECE = 32
MAX_HELD = 4096  # bytes of one stream, escape sequences included
TAIL = 512  # bytes of it, where there are none
LINE_ENDS = b"\r\n"
MIN_SPREAD = 8  # bytes of a secret that is found with line ends or escape sequences in it
MIN_HELD = 4  # bytes of it for which the end of a line is held back
# What may stand between the bytes of a secret: line ends, and escape sequences, the last of which may be cut off.
_ESCAPES = rb"\x1b(?:\[[0-?]*[ -/]*(?:[@-~]|\Z)|\][^\x07\x1b]*(?:\x07|\x1b\\|\x1b?\Z)|[ -/]*(?:[0-Z\\^-~]|\Z))"
_ESCAPE, _NOISE = re.compile(_ESCAPES), re.compile(rb"[\r\n]+|" + _ESCAPES)
_PLAIN = re.compile(rb"[0-9A-Za-z_.-]+\Z")  # nothing escapes these
_SPECIAL = " \t'\"\\|&;()<>!{}*[]?^$`"  # in shells
Span = tuple[int, int]


@dataclass(slots=True)
class _Stream:
    """What the next bytes of a stream may go on with. The first `done` bytes of `held` are on their way already."""

    held: bytes = b""
    done: int = 0


class Masker:
    """Replaces secrets in streams of bytes. Used by one thread at a time; `text` and `add` by any.

    It holds back what may be the beginning of a secret, at most MAX_HELD bytes of a stream, until the rest is there or
    the stream ends. Of a secret that is spread over lines the first MIN_HELD - 1 bytes may be seen.
    Nothing is worked out before the first byte that there is to mask.
    """

    def __init__(self, secrets: Iterable[str | bytes] = ()) -> None:
        self._secrets = {as_bytes(secret) for secret in secrets}
        self._finder: _Finder | None = None
        self._streams: dict[str, _Stream] = {}

    def add(self, secrets: Iterable[str | bytes]) -> None:
        """Mask these as well from now on."""
        fresh = {as_bytes(secret) for secret in secrets} - self._secrets
        if fresh:
            self._secrets = self._secrets | fresh

    def again(self) -> "Masker":
        """Give another one for the secrets of now, for streams of its own."""
        other = Masker()
        other._finder = self._find()
        other._secrets = other._finder.secrets
        return other

    def feed(self, stream: str, data: bytes) -> bytes:
        """Take bytes of a stream; gives what can go on."""
        return self._pass(stream, data, is_last=False)

    def finish(self, stream: str) -> bytes:
        """Give what was held back of a stream that has ended."""
        return self._pass(stream, b"", is_last=True)

    @property
    def is_prepared(self) -> bool:
        """Whether it is known what to look for."""
        return self._finder is not None and self._finder.secrets is self._secrets

    def prepare(self) -> None:
        """Work out what to look for, where that delays nobody."""
        self._find()

    def text(self, text: str) -> str:
        """Mask a text that is complete."""
        if not text:
            return text
        finder = self._find()
        data = text.encode(errors="surrogatepass")
        masked, _ = mask(finder, _Stream(), data, is_last=True)
        return text if masked == data else masked.decode(errors="replace")

    def _pass(self, stream: str, data: bytes, *, is_last: bool) -> bytes:
        state = self._streams.get(stream) or _Stream()
        if not data and not state.held:
            return data
        given, self._streams[stream] = mask(self._find(), state, data, is_last=is_last)
        return given

    def _find(self) -> "_Finder":
        finder, secrets = self._finder, self._secrets
        if finder is None or finder.secrets is not secrets:
            finder = self._finder = _Finder(secrets)
        return finder


def mask_json(masker: Masker, text: str) -> str:
    """Mask a JSON text; as a text in JSON where it would not be JSON any more, as when a number is a secret."""
    masked = masker.text(text)
    if masked != text:
        try:
            json.loads(masked)
        except ValueError:
            return json.dumps(masked)
    return masked


def mask(finder: "_Finder", state: _Stream, data: bytes, *, is_last: bool) -> tuple[bytes, _Stream]:
    """Give what of a stream can go on, masked, and what is kept of it."""
    data = state.held + data
    spans, keep, context = finder.look(data)
    if is_last:
        keep = context = len(data)
    place = state.done
    if not spans and not place and context == keep:
        return data[:keep], _Stream(data[keep:])
    parts: list[bytes] = []
    for start, end in joined(spans):
        if start >= keep:
            break
        if end > place:
            parts += (data[place:start] if start > place else b"", MASK)
            place = end
    if place < keep:
        parts.append(data[place:keep])
        place = keep
    context = min(context, place)
    return b"".join(parts), _Stream(data[context:], place - context)


def joined(spans: list[Span]) -> Iterator[Span]:
    """Give spans in order, those that touch as one."""
    spans.sort()
    start, end = -1, -1
    for first, last in spans:
        if first > end:
            if end >= 0:
                yield start, end
            start, end = first, last
        else:
            end = max(end, last)
    if end >= 0:
        yield start, end


class _Words:
    """Forms that are looked for together."""

    def __init__(self, forms: Iterable[bytes]) -> None:
        self._forms = sorted(forms)
        self._automaton = BytesAhoCorasick(self._forms) if self._forms else None
        self._longest = max(map(len, self._forms), default=0)
        self._starts = BytesAhoCorasick({form[:2] for form in self._forms}) if self._forms else None
        self._firsts = {form[:1] for form in self._forms}

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return self._automaton is not None

    def matches(self, data: bytes) -> list[Span]:
        """Give every place of a form."""
        if self._automaton is None:
            return []
        return [(start, end) for _, start, end in self._automaton.find_matches_as_indexes(data, overlapping=True)]

    def beginning(self, data: bytes) -> int:
        """Give from where on the end of `data` may be the beginning of a form; its length where it is none."""
        size = len(data)
        if self._starts is not None:
            first = max(0, size - self._longest + 1)
            for _, start, _ in self._starts.find_matches_as_indexes(data[first:], overlapping=True):
                rest = data[first + start :]
                # Sorted: right behind where it would be stands what begins with it, if anything does.
                index = bisect_right(self._forms, rest)
                if index < len(self._forms) and self._forms[index].startswith(rest):
                    return first + start
            if data[-1:] in self._firsts:
                return size - 1
        return size


class _Finder:
    """Finds the forms of secrets in bytes: short ones as they are, others also with line ends and colours in them."""

    def __init__(self, secrets: set[bytes]) -> None:
        self.secrets = secrets
        exact, spread = set(), set()
        for form in {form for secret in secrets for form in forms_of(secret)}:
            stripped = form.translate(None, LINE_ENDS)
            if len(stripped) >= MIN_SPREAD:
                spread.add(stripped)
            else:
                exact.add(form)
        self._exact, self._spread = _Words(exact), _Words(spread)

    def look(self, data: bytes) -> tuple[list[Span], int, int]:
        """Give where secrets are, and from where on the end of `data` is held back, and from where on kept.

        What is kept is looked at again with what comes; more than what is held back where too little of a secret is
        there to hold a line back for it.
        """
        spans, keep = self._exact.matches(data), self._exact.beginning(data)
        context = keep
        if self._spread and data:
            is_coloured = b"\x1b" in data
            if is_coloured:  # also what a sequence holds, as the title of a terminal
                spans += self._spread.matches(data)
                keep = context = min(keep, self._spread.beginning(data))
            found = self._spread.matches((_ESCAPE.sub(b"", data) if is_coloured else data).translate(None, LINE_ENDS))
            if found:
                _, place_of = without_noise(data)
                spans += ((place_of(start), place_of(end - 1) + 1) for start, end in found)
            size, place = self._tail(data, is_coloured=is_coloured)
            context = min(context, place)
            if size >= MIN_HELD or b"\n" not in data[place:]:
                keep = min(keep, place)
        return spans, keep, context

    def _tail(self, data: bytes, *, is_coloured: bool) -> Span:
        """Give how much of a spread form the end of `data` has, and where it begins."""
        if is_coloured:
            start = max(0, len(data) - MAX_HELD)
            tail, place_of = without_noise(data[start:])
            beginning = self._spread.beginning(tail)
            return len(tail) - beginning, start + place_of(beginning) if beginning < len(tail) else len(data)
        tail = data[-TAIL:].translate(None, LINE_ENDS)
        size = missing = len(tail) - self._spread.beginning(tail)
        place = len(data)
        while missing:
            place -= 1
            missing -= data[place] not in LINE_ENDS
        return size, place


def without_noise(data: bytes) -> "tuple[bytes, Places]":
    """Leave out escape sequences and line ends, a last sequence also when it is not complete."""
    parts = []
    offsets, removed = [0], [0]
    place = 0
    length = 0
    for match in _NOISE.finditer(data):
        parts.append(data[place : match.start()])
        length += match.start() - place
        place = match.end()
        offsets.append(length)
        removed.append(place - length)
    parts.append(data[place:])
    return b"".join(parts), Places(offsets, removed)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the bytes that are left were before: from `offsets[i]` on, `removed[i]` bytes further."""

    offsets: list[int]
    removed: list[int]

    def __call__(self, offset: int) -> int:
        """Give the place of a byte."""
        return offset + self.removed[bisect_right(self.offsets, offset) - 1]


def as_bytes(secret: str | bytes) -> bytes:
    """Give a secret as an action has it."""
    return secret.encode(errors="surrogatepass") if isinstance(secret, str) else secret


def forms_of(secret: bytes) -> Iterator[bytes]:
    """Give everything that is looked for because of a secret."""
    secret = secret.strip(b"\r\n")
    if len(secret.strip()) < MIN_SECRET:
        return
    lines = [line.strip() for line in secret.splitlines()]
    whole = {secret, secret.replace(b"\n", b"\r\n")} | set(written_forms(secret))
    for form in whole:
        yield from pieces(form)
    if len(lines) > 1:
        for line in lines:
            if is_telling(line, MIN_LINE):
                for form in {line, *written_forms(line)}:
                    yield from pieces(form)


def written_forms(secret: bytes) -> Iterator[bytes]:
    """Give how programs write a secret."""
    yield from base64_forms(secret)
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    if _PLAIN.match(secret):
        return
    yield quote(secret, safe="").encode()
    yield quote(secret).encode()
    yield quote_plus(secret).encode()
    yield re.sub(rb"%[0-9A-F]{2}", lambda found: found[0].lower(), quote(secret, safe="").encode())
    text = secret.decode(errors="replace")
    if "\ufffd" not in text:
        for written in escaped_forms(text):
            yield written.encode()


def escaped_forms(text: str) -> Iterator[str]:
    """Give a text as the inside of strings and words of common languages."""
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield json.dumps(text)[1:-1].replace("/", "\\/")
    yield json.dumps(json.dumps(text)[1:-1])[1:-1]
    yield repr(text)[1:-1]
    yield html.escape(text)
    yield shlex.quote(text)[1:-1] if "'" in text else text
    yield text.replace("'", "'\\''")  # as `set -x` prints it
    for special in (_SPECIAL, f"{_SPECIAL},"):  # as `printf %q`, with the comma in newer ones
        yield re.sub(f"([{re.escape(special)}])", r"\\\1", text)


def base64_forms(secret: bytes) -> Iterator[bytes]:
    """Give what of a secret does not depend on its neighbours, for each of the places where it can begin."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        core = encoded[(8 * shift + 5) // 6 : 8 * (shift + len(secret)) // 6]
        if len(core) >= MIN_ENCODED - 1:
            yield core
            yield core.translate(_URL_SAFE)
    encoded = base64.b64encode(secret)
    yield from (encoded, encoded.rstrip(b"="), encoded.translate(_URL_SAFE), encoded.translate(_URL_SAFE).rstrip(b"="))


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def pieces(form: bytes) -> Iterator[bytes]:
    """Give a form whole, or as pieces where it is long; the last ends where it ends."""
    if len(form) <= WHOLE:
        yield form
        return
    for piece in (*split(form[: len(form) // PIECE * PIECE], PIECE), form[-PIECE:]):
        if is_telling(piece.strip(), MIN_LINE):
            yield piece


def split(data: bytes, size: int) -> list[bytes]:
    """Cut into parts of a size; the last may be shorter."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def is_telling(part: bytes, least: int) -> bool:
    """Whether a part of a secret is long and various enough to be taken for nothing else."""
    return len(part) >= least and len(set(part)) >= MIN_DISTINCT
