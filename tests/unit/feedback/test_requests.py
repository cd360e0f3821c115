"""Reading what stands between the markers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories.examples import examples
from infraxys.engine.feedback.lenient import NotReadable, parse
from infraxys.engine.feedback.requests import KNOWN, FeedbackRequest, NoRequest, read_request

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=6,
)
TEXTS = st.text(max_size=200)


class TestLenient:
    @examples(150)
    @given(st.dictionaries(st.text(max_size=9), VALUES, max_size=4))
    def test_reads_what_python_prints_and_json(self, value: dict[str, Any]) -> None:
        assert parse(repr(value)) == value
        assert parse(json.dumps(value)) == value

    @examples(500)
    @given(st.text(alphabet="{}[]()'\",:=;\\ \n#/*truTNoex0a.-+u", max_size=60))
    def test_anything_else_is_refused_or_read(self, text: str) -> None:
        try:
            json.dumps(parse(text))
        except NotReadable as problem:
            assert "line" in str(problem)  # noqa: PT017 - either outcome is right

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("{'it': \"it's\", 'b': True, 'c': None, 'd': (1, 2,)}", {"it": "it's", "b": True, "c": None, "d": [1, 2]}),
            ("{a: word, b = 'x'; c => [1, 2,],}", {"a": "word", "b": "x", "c": [1, 2]}),
            ('{"a": 1, // why\n "b": /* no */ 2}', {"a": 1, "b": 2}),
            ("{'a': '\\x41\\u00e9\\U0001f600\\n\\101'}", {"a": "Aé😀\nA"}),
            ("{'a': b'bytes', 'b': r'raw', 'c': {1, 2}}", {"a": "bytes", "b": "raw", "c": [1, 2]}),
            ("{'a': NaN, 'b': 1e999, 'c': 1.50}", {"a": "NaN", "b": "1e999", "c": 1.5}),
            ('{"message": "two\nlines"}', {"message": "two\nlines"}),
            ("{1: 2, None: 3, (1,): 4}", {"1": 2, "None": 3, "[1]": 4}),
        ],
    )
    def test_what_the_original_took(self, text: str, value: Any) -> None:
        assert parse(text) == value

    @pytest.mark.parametrize("code", ["__import__('os').system('true')", "{'a': open('x')}", "{'a': lambda: 1}"])
    def test_code_is_text_or_refused(self, code: str) -> None:
        with pytest.raises(NotReadable):
            parse(code)


class TestRequests:
    def test_a_button_dialog(self) -> None:
        body = """ui interaction
type=BUTTON_DIALOG
width=450
title=a=b
is_html=false
button caption="Yes, now" location=LEFT
button caption="It is "so"" location=RIGHT
message with a=b
button caption="no button" location=LEFT
"""
        request = read_request(body)
        assert request == FeedbackRequest(
            "UI/BUTTON_DIALOG",
            {
                "width": "450",
                "title": "a=b",
                "is_html": "false",
                "buttons": [
                    {"label": "Yes, now", "location": "LEFT"},
                    {"label": 'It is "so"', "location": "RIGHT"},
                ],
                "items": ["message with a=b", 'button caption="no button" location=LEFT'],
            },
            "lines",
        )

    def test_settings_may_stand_before_the_verb(self) -> None:
        body = "set instanceid=42\nui interaction\ntype=CREATE INSTANCE\nguid=g-1"
        assert read_request(body).fields["instanceid"] == "42"

    @pytest.mark.parametrize(
        ("body", "fields"),
        [
            (
                "create container\nset name=web\nset domain=\nset description=a=b",
                {"name": "web", "domain": "", "description": "a=b"},
            ),
            ("create instance\nguid=g\nparentInstanceId=7", {"guid": "g", "parentInstanceId": "7"}),
        ],
    )
    def test_things_can_be_created_by_lines(self, body: str, fields: dict[str, str]) -> None:
        request = read_request(body)
        verb = body.partition("\n")[0].upper()
        assert (request.verb, request.style) == (verb, "lines")
        assert request.fields == {"requestType": verb, **fields}

    def test_every_request_of_the_specification_is_known(self) -> None:
        for verb in KNOWN - {"UI/BUTTON_DIALOG", "UI/SELECTION_LIST", "UI/EXECUTE_ACTION", "UI/CREATE INSTANCE"}:
            kind, _, sub = verb.partition("/")
            body = repr({"requestType": kind, **({"subType": sub} if sub else {})})
            assert read_request(body).verb == verb

    def test_an_app_is_known_by_what_it_gets(self) -> None:
        body = '{"requestType": "UI", "subType": "SOMETHING", "clientJson": {}}'
        assert read_request(body).verb == "UI/OPEN CLIENT APP"

    @pytest.mark.parametrize(
        ("body", "is_meant"),
        [
            ("", False),
            ("\0\0", False),
            ("just text", False),
            ("{", False),
            ("{}", False),
            ('{"json": 1}', False),
            ("[1]", False),
            ('{"requestType": "EVAL", "code": "x"}', True),
            ('{"requestType": "UI", "message": "say "hello""}', True),
            ('{"requestType": "UI", "subType": "NOTHING"}', True),
            ("ui interaction\ntype=SOMETHING\n", True),
            ("ui interaction\n", False),
            ("\ufffd", False),
        ],
    )
    def test_what_is_none_says_whether_it_is_meant(self, body: str, *, is_meant: bool) -> None:
        with pytest.raises(NoRequest) as caught:
            read_request(body)
        assert caught.value.is_meant is is_meant

    def test_control_characters_are_left_out(self) -> None:
        body = json.dumps({"requestType": "UI", "subType": "STATUS", "message": "a\x1b[2Jb\0\u009bc\ud83d\td"})
        assert read_request(body).fields["message"] == "a[2Jbc\ufffd\td"

    @examples(300)
    @given(TEXTS | TEXTS.map(lambda text: f"ui interaction\n{text}"))
    def test_anything_is_read_or_refused(self, body: str) -> None:
        try:
            request = read_request(body)
        except NoRequest:
            return
        assert request.verb in KNOWN
