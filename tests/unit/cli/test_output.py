"""What commands print for people."""

import pytest

from infraxys.cli.output import print_table, readable


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "True"),
        ("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00Z"),
        ("at 12:00:00.123456Z", "at 12:00:00.123456Z"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\nb\u202e", "a\ufffdb"),
        ("a\x9b31mb\u202e", "a31mb"),
    ],
)
def test_d7_nothing_in_a_table_steers_the_terminal(value: object, shown: str) -> None:
    assert readable(value) == shown


def test_a_table_shows_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"name": "[bold]x[/bold] :smile:"}], {"name": "NAME"})
    assert "[bold]x[/bold] :smile:" in capsys.readouterr().out
