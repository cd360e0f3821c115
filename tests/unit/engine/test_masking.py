"""Secrets in output: found in every form, however the bytes arrive, and nothing else is touched or kept for long."""

import base64
import html
import json
import shlex
import subprocess
import urllib.parse
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories.examples import examples
from infraxys.engine.masking import MASK, MAX_HELD, MIN_HELD, PIECE, WHOLE, Masker, forms_of, mask_json

SECRET = "p4ss/w0rd+with 'quotes' & \"more\" é"
KEY = (
    "-----BEGIN PRIVATE KEY-----\n"
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"
    "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu\n"
    "-----END PRIVATE KEY-----\n"
)


def masked(masker: Masker, *chunks: bytes, stream: str = "stdout") -> bytes:
    return b"".join(masker.feed(stream, chunk) for chunk in chunks) + masker.finish(stream)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut data at places (taken modulo its length)."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


FORMS = {
    "plain": SECRET,
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 behind one byte": base64.b64encode(b":" + SECRET.encode()).decode(),
    "base64 behind two bytes": base64.b64encode(b"u:" + SECRET.encode() + b"@host").decode(),
    "base64 without padding": base64.b64encode(SECRET.encode()).decode().rstrip("="),
    "base64 for URLs": base64.urlsafe_b64encode(b"?>" + SECRET.encode()).decode(),
    "hexadecimal": SECRET.encode().hex(),
    "hexadecimal in capitals": SECRET.encode().hex().upper(),
    "URL": urllib.parse.quote(SECRET, safe=""),
    "URL with slashes": urllib.parse.quote(SECRET),
    "URL form": urllib.parse.quote_plus(SECRET),
    "JSON": json.dumps({"password": SECRET}),
    "JSON with all characters": json.dumps([SECRET], ensure_ascii=False),
    "JSON in JSON": json.dumps(json.dumps(SECRET)),
    "Python": repr({"password": SECRET}),
    "HTML": html.escape(SECRET),
    "shell": shlex.quote(SECRET),
    "escape sequences inside": "".join(f"\x1b[3{number % 8}m{letter}" for number, letter in enumerate(SECRET)),
    "a title of the terminal": f"\x1b]0;{SECRET}\x07",
}


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    def test_a_secret_is_masked_as(self, form: str) -> None:
        text = f"before {FORMS[form]} behind".encode()
        said = masked(Masker([SECRET]), text)
        assert said.startswith(b"before ")
        assert said.endswith(b" behind")
        assert MASK in said
        left = said.replace(MASK, b"")
        # What is left is what stands around it: brackets, quotes, neighbours in the same group of base64.
        assert len(left) <= len("before  behind") + (150 if "\x1b" in FORMS[form] else 24)
        assert b"p4ss" not in left

    @pytest.mark.parametrize("form", FORMS)
    def test_and_byte_by_byte(self, form: str) -> None:
        text = f"before {FORMS[form]} behind".encode()
        said = masked(Masker([SECRET]), *(text[place : place + 1] for place in range(len(text))))
        assert MASK in said
        assert said.replace(MASK, b"") == masked(Masker([SECRET]), text).replace(MASK, b"")

    def test_what_bash_prints_of_it(self) -> None:
        script = 'set -x; printf "%q\\n" "$SECRET"; echo "$SECRET" | base64; : "$SECRET"'
        done = subprocess.run(
            ["bash", "-c", script], env={"SECRET": SECRET, "LANG": "C.UTF-8"}, capture_output=True, check=True
        )
        for stream in (done.stdout, done.stderr):
            said = masked(Masker([SECRET]), stream)
            assert MASK in said
            assert b"w0rd" not in said
        assert base64.b64encode(SECRET.encode())[:20] not in masked(Masker([SECRET]), done.stdout)

    def test_every_line_of_a_key_and_its_base64_in_lines(self) -> None:
        masker = Masker([KEY])
        lines = KEY.splitlines()
        assert masked(masker, f"cat: {lines[1]}\n".encode()) == b"cat: " + MASK + b"\n"
        assert masked(masker, lines[2].encode()) == MASK
        assert masked(masker, KEY.replace("\n", "\r\n").encode()).count(b"M") == 0
        for wrapped in (base64.encodebytes(KEY.encode()), base64.encodebytes(b"key: " + KEY.encode())):
            assert len(masked(masker, wrapped).replace(MASK, b"")) < 16

    def test_parts_of_a_long_secret(self) -> None:
        secret = "".join(chr(33 + number * 7 % 93) for number in range(500))
        said = masked(Masker([secret]), secret[:300].encode())
        assert len(said.replace(MASK, b"")) < PIECE

    def test_secrets_that_overlap(self) -> None:
        masker = Masker(["abcdef-1", "def-1-ghi"])
        for places in range(12):
            data = b"<abcdef-1-ghi>"
            assert masked(masker, data[:places], data[places:]).replace(MASK, b"") == b"<>"

    def test_the_shortest_secrets_are_not_masked(self) -> None:
        assert masked(Masker(["abc", "", "   ", "\n"]), b"abc   \n") == b"abc   \n"
        assert masked(Masker(["abcd"]), b"xabcdx") == b"x" + MASK + b"x"

    def test_an_indented_or_ruled_secret_does_not_take_spaces_and_rules_with_it(self) -> None:
        secret = json.dumps({"key": "v" * 80, "other": ["x-y-z-1-2-3"]}, indent=40) + "\n" + "=" * 100
        harmless = b" " * 200 + b"=" * 90
        assert masked(Masker([secret]), harmless) == harmless


NOISE = ["\x1b[0m", "\x1b[38;5;1m", "\x1b(B"]
words = st.text(st.characters(codec="utf-8", exclude_characters="*\x1b\0\r\n"), min_size=4, max_size=100)


def reference(masker: Masker, data: bytes) -> bytes:
    """Mask a whole text by looking at every place."""
    forms = {form for secret in masker._secrets for form in forms_of(secret)}
    hidden = bytearray(len(data))
    for form in forms:
        place = data.find(form)
        while place >= 0:
            hidden[place : place + len(form)] = b"\1" * len(form)
            place = data.find(form, place + 1)
    return bytes(byte for byte, is_hidden in zip(data, hidden, strict=True) if not is_hidden)


class TestArrival:
    @examples(300)
    @given(
        secrets=st.lists(words, min_size=1, max_size=3),
        around=st.lists(st.one_of(st.integers(0, 9), st.binary(max_size=30)), min_size=1, max_size=8),
        places=st.lists(st.integers(0, 2000), max_size=20),
    )
    def test_however_output_is_cut_nothing_leaks_and_nothing_else_is_lost(
        self, secrets: list[str], around: list[int | bytes], places: list[int]
    ) -> None:
        masker = Masker(secrets)
        forms = sorted({form for secret in secrets for form in forms_of(secret.encode())}) or [b""]
        data = b"".join(forms[item * 37 % len(forms)] if isinstance(item, int) else item for item in around)
        data = data.translate(bytes.maketrans(b"*\x1b\r\n", b"+___"))
        said = masked(masker, *cut(data, places))
        assert said.replace(MASK, b"") == reference(masker, data)

    @examples(150)
    @given(data=st.binary(max_size=400), places=st.lists(st.integers(0, 400), max_size=10))
    def test_output_without_secrets_passes_unchanged_escape_sequences_included(
        self, data: bytes, places: list[int]
    ) -> None:
        assert masked(Masker(["a secret that is not in it"]), *cut(data, places)) == data

    @examples(100)
    @given(
        places=st.lists(st.integers(0, 400), max_size=12), noise=st.sampled_from(["\x1b[0m", "\x1b[38;5;1m", "\x1b(B"])
    )
    def test_escape_sequences_inside_of_a_secret_and_cut_anywhere(self, places: list[int], noise: str) -> None:
        secret = "correct-horse-battery"
        data = f"a {noise.join(secret)} b".encode()
        assert b"horse" not in masked(Masker([secret]), *cut(data, places)).replace(noise.encode(), b"")
        assert MASK in masked(Masker([secret]), *cut(data, places))

    @examples(200)
    @given(
        secret=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=10, max_size=90),
        ends=st.lists(st.integers(0, 90), min_size=1, max_size=4),
        places=st.lists(st.integers(0, 400), max_size=12),
    )
    def test_line_ends_inside_of_a_secret_and_cut_anywhere(
        self, secret: str, ends: list[int], places: list[int]
    ) -> None:
        data = b"\r\n".join(cut(secret.encode(), ends))
        said = masked(Masker([secret]), *cut(b"- " + data + b" -", places))
        assert MASK in said
        assert len(said.replace(MASK, b"").translate(None, b"\r\n")) <= len("-  -") + MIN_HELD - 1

    def test_a_line_is_not_held_back_for_little_at_its_end(self) -> None:
        masker = Masker(["e-horse-battery"])
        assert masker.feed("stdout", b"done\n") == b"done\n"
        assert masker.feed("stdout", b"done\n") == b"done\n"
        assert masked(masker, b"-horse-battery") == MASK

    def test_streams_do_not_mix(self) -> None:
        masker = Masker(["correct-horse"])
        assert masker.feed("stdout", b"x correct-") == b"x "
        assert masker.feed("stderr", b"horse\n") == b"horse\n"
        assert masker.feed("stdout", b"house\n") == b"correct-house\n"

    def test_only_what_may_be_the_beginning_of_a_secret_is_held_back(self) -> None:
        masker = Masker(["correct-horse"])
        assert masker.feed("stdout", b"Password: ") == b"Password: "
        assert masker.feed("stdout", b"cor") == b""
        assert masker.finish("stdout") == b"cor"
        assert masker.finish("stdout") == b""

    def test_what_is_held_back_is_bounded(self) -> None:
        masker = Masker(["correct-horse" * 100])
        held = 0
        for _ in range(50):
            data = b"correct-horse" * 10
            held += len(data) - len(masker.feed("stdout", data))
            assert len(masker._streams["stdout"].held) <= WHOLE
        escape = b"correct-horse-"[:9] + b"\x1b]" + b"x" * 1000
        for _ in range(20):
            masker.feed("stderr", escape)
            assert len(masker._streams["stderr"].held) <= MAX_HELD + len(escape)

    def test_a_secret_that_is_added_is_masked_from_then_on_with_those_before(self) -> None:
        masker = Masker(["first-secret"])
        assert masker.feed("stdout", b"second-secret ") == b"second-secret "
        masker.add(["second-secret"])
        assert masked(masker, b"first-secret second-secret") == MASK + b" " + MASK

    def test_json_stays_json(self) -> None:
        masker = Masker(["s3cret-é", "123456"])
        assert json.loads(mask_json(masker, json.dumps({"a": ["s3cret-é"]}))) == {"a": ["********"]}
        assert json.loads(mask_json(masker, '{"pin": 123456}')) == '{"pin": ********}'
        assert mask_json(masker, '{"pin":  1e400}') == '{"pin":  1e400}'

    def test_texts_are_masked_whole(self) -> None:
        assert Masker(["s3cret-é"]).text("step 's3cret-é' failed") == "step '********' failed"
        assert Masker().text("nothing to hide \ud800") == "nothing to hide \ud800"
