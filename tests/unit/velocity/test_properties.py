"""Any text at all: it renders or it is refused with a `VelocityError`, soon, and plain text stays as it is."""

from __future__ import annotations

import json
import time
from pathlib import Path

from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from factories.examples import examples
from infraxys import velocity
from infraxys.velocity.parser import parse
from unit.velocity.fakes import Probe
from unit.velocity.printer import printed

PIECES = [
    "#if(", "#else", "#{else}", "#elseif(", "#end", "#{end}", "#set(", "#foreach(", "#macro(m $a)", "#m(", "#@m(",
    "#[[", "]]#", "##", "#*", "*#", "#define($d)", "#evaluate(", "#parse(", "#include(", "#break", "#stop",
    "#literal()", "$", "$!", "${", "}", "$x", "$l", "$m", "$p", "$i in $l)", "$x = ", ")", "(", "[", "]", "{", "'",
    '"', "\\", "\n", "\t", " ", ".", ".length()", ".get(", ".title", "[0]", "1", "-1", "2.5", "..", ",", ":", "+",
    "-", "==", "<", "&&", "!", " and ", "true", "text", "\u00e9", "\u2028", "\r", "'f'", '"$x"', "\\u0041", "1e9",
    "99999999999", "#", "$d", "$foreach.count",
]  # fmt: skip

TEMPLATES = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
LIMITS = velocity.Limits(steps=20_000, seconds=1.0)


HERE = Path(__file__).parent
TEMPLATES_OF_THE_CORPUS = [
    json.loads(line).get("template", "")
    for name in ("conformance.jsonl", "recorded.jsonl")
    for line in (HERE / name).read_text("utf-8").splitlines()
]


def context() -> dict[str, object]:
    return {"x": "X", "l": ["a", 1, None], "m": {"k": "v", "n": {"d": 2.5}}, "p": Probe("T"), "i": 3}


def rendered(text: str, *, strict: bool) -> str | None:
    """Render; None when the text was refused."""
    try:
        return velocity.compile(text).render(context(), strict=strict, files={"f": "F$x"}, limits=LIMITS).text
    except velocity.VelocityError as error:
        refused = error
    assert refused.line is not None
    assert refused.column is not None
    assert str(refused)
    return None


@examples(400, suppress_health_check=[HealthCheck.too_slow])
@given(TEMPLATES, st.booleans())
def test_a_template_from_pieces_renders_or_is_refused(text: str, strict: bool) -> None:  # noqa: FBT001 - of hypothesis
    started = time.monotonic()
    rendered(text, strict=strict)
    assert time.monotonic() - started < 2


def test_what_is_printed_parses_to_what_it_was_printed_from() -> None:
    """Each template that we have, first; any, below."""
    stable = sum(map(is_stable, TEMPLATES_OF_THE_CORPUS))
    assert stable > 1000


@examples(300, suppress_health_check=[HealthCheck.too_slow])
@given(TEMPLATES)
def test_any_template_is_stable_when_it_is_printed_and_parsed_again(text: str) -> None:
    is_stable(text)


def is_stable(text: str) -> bool:
    """Whether the text is a template; one is the same after printing and parsing."""
    try:
        tree = parse(text, "first")
    except velocity.VelocityParseError:
        return False
    once = printed(tree)
    if "inf" in once and "1e" in text.lower():
        return False  # a number beyond all has no other spelling
    assert printed(parse(once, "second")) == once
    return True


@examples(200)
@given(st.text(max_size=200), st.booleans())
def test_any_text_renders_or_is_refused(text: str, strict: bool) -> None:  # noqa: FBT001 - of hypothesis
    rendered(text, strict=strict)


@examples(200)
@given(st.text(st.characters(exclude_characters="$#"), max_size=300))
def test_text_without_dollar_and_hash_stays_as_it_is(text: str) -> None:
    assert rendered(text, strict=True) == text


@examples(200)
@given(st.text(max_size=300).filter(lambda text: "]]#" not in text and not text.endswith(("]", "]]"))))
def test_raw_text_stays_as_it_is(text: str) -> None:
    assert rendered(f"#[[{text}]]#", strict=True) == text


@examples(200)
@given(st.text(max_size=300))
def test_a_value_is_never_parsed(value: str) -> None:
    assert velocity.render("$v|${v}|$!v", {"v": value}) == f"{value}|{value}|{value}"


@examples(200)
@given(st.text(st.characters(exclude_characters="'"), max_size=100))
def test_a_single_quoted_string_is_raw(value: str) -> None:
    assert velocity.render(f"#set($v = '{value}')[$v]", {}) == f"[{value}]"


@examples(200)
@given(st.integers(-(2**70), 2**70), st.integers(-(2**40), 2**40).filter(bool))
def test_integers_divide_as_in_java(one: int, two: int) -> None:
    text = velocity.render(
        "#set($q = $a / $b)#set($r = $a % $b)#set($back = $q * $b + $r)$q $r $back", {"a": one, "b": two}
    )
    quotient, rest, back = map(int, text.split())
    assert back == one
    assert abs(rest) < abs(two)
    assert rest == 0 or (rest < 0) == (one < 0)
    assert abs(quotient) == abs(one) // abs(two)


@examples(200)
@given(st.text(max_size=400))
def test_lint_never_fails(text: str) -> None:
    lines = text.count("\n") + text.count("\r") + 1
    assert all(1 <= line <= lines and column >= 1 and message for line, column, message in velocity.lint(text))
