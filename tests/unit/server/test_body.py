"""Request bodies are read strictly and passed on byte for byte."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from infraxys.server.body import parse_json_object, plain, validate
from infraxys.server.errors import NotJson, Unprocessable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "text",
    ["1e400", "12345678901234567890123", '"\\ud83d"', "-0.0", "[1, 2.50]", '{"a":  {"b": null}}', '"ü"', "9" * 5000],
)
def test_a_members_text_is_kept_as_it_came(text: str) -> None:
    body = parse_json_object(f' {{ "x": true ,\n"argument" : {text} }} '.encode())
    assert body.raw == {"x": "true", "argument": text}


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_every_object_is_read_as_the_standard_reader_does(value: dict[str, object]) -> None:
    body = parse_json_object(json.dumps(value).encode())
    assert {key: json.loads(text) for key, text in body.raw.items()} == value
    assert plain(body.value) == value


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense", b"[]", b'"x"', b"1", b"{", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a":1} x', b'{"a":1}{"a":1}',
        b"{1: 2}", b"{'a': 1}", b'\xef\xbb\xbf{"a":1}', '{"a":1}'.encode("utf-16"), b'{"\xff"}', b'{"a":"\xc0\xaf"}',
        b'{"a":01}', b'{"a":"\n"}', b"{} \x00", b'{"a":1 "b":2}',
    ],
)  # fmt: skip
def test_what_is_not_one_json_object_is_400(data: bytes) -> None:
    with pytest.raises(NotJson) as refused:
        parse_json_object(data)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":2}', b'{"x":{"a":1,"a":2}}', b'{"a":1,"\\u0061":2}', b'{"a":NaN}', b'{"a":-Infinity}',
        b'{"a":[Infinity]}', b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)  # fmt: skip
def test_json_that_could_mean_two_things_or_too_much_is_422(data: bytes) -> None:
    with pytest.raises(Unprocessable) as refused:
        parse_json_object(data)
    assert refused.value.errors


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with suppress(NotJson, Unprocessable):
        parse_json_object(data)


def test_models_refuse_unknown_fields_and_name_them() -> None:
    class Model(BaseModel):
        model_config = ConfigDict(extra="forbid")
        known: int = 0

    with pytest.raises(Unprocessable) as refused:
        validate(Model, {"known": "x", "ownerId": 1})
    assert {item["loc"] for item in refused.value.errors} == {"known", "ownerId"}
