"""JSON is read as strictly as it is written, with exact positions, whatever somebody puts into it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infraxys.spec.json_source import MAX_BYTES, MAX_DEPTH, MAX_VALUES, Location, Source, parse
from infraxys.spec.problem import Problem

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=5)
    ),
    max_leaves=20,
)


def read(data: str | bytes) -> Source:
    source, problems = parse(data.encode() if isinstance(data, str) else data, "f.json")
    assert not problems
    assert source is not None
    return source


def problem(data: str | bytes) -> Problem:
    source, problems = parse(data.encode() if isinstance(data, str) else data, "f.json")
    assert source is None
    (found,) = problems
    return found


def locations(value: Any, at: Location = ()) -> list[tuple[Location, Any]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(at, value), *(found for key, item in children for found in locations(item, (*at, key)))]


@given(values, st.sampled_from([None, 0, 2, "\t"]), st.booleans())
def test_what_stands_at_a_position_is_the_value(value: Any, indent: Any, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    source = read(text)
    assert source.value == value
    lines = text.split("\n")
    wanted = locations(value)
    for location, (line, column) in source.positions(place for place, _ in wanted).items():
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert json.JSONDecoder().raw_decode(rest)[0] == dict(wanted)[location]


def test_the_position_of_what_is_not_there_is_that_of_its_parent() -> None:
    source = read('{\n  "a": [1,\n    {"b": 2}]\n}')
    assert source.position(("a", 1, "b")) == (3, 11)
    assert source.position(("a", 1, "c", 4)) == (3, 5)
    assert source.position(("a", 7)) == (2, 8)
    assert source.position(("a", "0")) == (2, 8)
    assert source.position(("z",)) == (1, 1)


def test_keys_are_compared_as_they_are_meant() -> None:
    assert read('{"\\u0061\\n": 1}').position(("a\n",)) == (1, 14)


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '{"a": -Infinity}', "[1e999]", "-" + "9" * 301, "[0." + "1" * 400 + "]"]
)
def test_numbers_are_finite_and_short(text: str) -> None:
    assert problem(text).code == "not_a_number"


def test_texts_that_look_like_numbers_are_texts() -> None:
    assert read('["NaN", "1e999", {"Infinity": 1}]').value == ["NaN", "1e999", {"Infinity": 1}]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ('{"a": 1, "a": 2}', 10),
        ('{"b": {"a": 1}, "a": "a", "a": 2}', 27),
        ('[{"a": {"a": [{"a": 1}], "a": 3}}]', 26),
        ('{"a": 1, "\\u0061": 2}', 10),
        ('{"x": "\\"a\\":", "a" : 1, "c": [1, 2], "a"\t: 2}', 39),
    ],
)
def test_the_second_of_two_equal_keys_is_shown(text: str, column: int) -> None:
    found = problem(text)
    assert (found.code, found.line, found.column) == ("duplicate_key", 1, column)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ('["\\ud800"]', 3),
        ('["\\udc00"]', 3),
        ('["\\ud83d\\ude00\\ud83d"]', 15),
        ('["\\\\ud800", "\\ud800 \\udc00"]', 14),
        ('["\\ud800\\ud800\\udc00"]', 3),
        ('{"\\udfff": 1}', 3),
    ],
)
def test_half_a_pair_is_found_where_it_stands(text: str, column: int) -> None:
    found = problem(text)
    assert (found.code, found.column) == ("lone_surrogate", column)


def test_pairs_and_escaped_backslashes_are_no_halves() -> None:
    assert read('["\\ud83d\\ude00", "\\\\ud800"]').value == ["\U0001f600", "\\ud800"]


def test_the_column_counts_characters_not_bytes() -> None:
    found = problem(b'{"\xc3\xa4\xc3\xa4": "\xff"}')
    assert (found.code, found.line, found.column) == ("not_utf8", 1, 9)


def test_limits_are_what_they_say() -> None:
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert problem("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).code == "too_deep"
    assert len(read("[" + "1," * (MAX_VALUES - 2) + "1]").value) == MAX_VALUES - 1
    assert problem("[" + "1," * MAX_VALUES + "1]").code == "too_many_values"
    assert read(b'"' + b"x" * (MAX_BYTES - 2) + b'"')
    assert problem(b'"' + b"x" * (MAX_BYTES - 1) + b'"').code == "too_large"
    assert read('["' + "[{," * 1000 + '"]')


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ud8019eE.-NaN \n/').map(str.encode))
def test_nothing_is_raised_and_the_standard_parser_agrees(data: bytes) -> None:
    source, problems = parse(data, "f.json")
    assert (source is None) == bool(problems)
    if source is not None:
        assert json.loads(data.decode()) == source.value
    for found in problems:
        assert found.message.isprintable()
        assert found.line is None or (found.line >= 1 and found.column is not None and found.column >= 1)
