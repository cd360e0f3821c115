"""Errors say what is wrong, where, and what there is instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from infraxys import velocity
from unit.velocity.fakes import Probe


def error_of(text: str, context: Mapping[str, object] | None = None, **options: object) -> velocity.VelocityError:
    with pytest.raises(velocity.VelocityError) as caught:
        velocity.render(text, context or {}, **options)  # type: ignore[arg-type] # options of each test
    return caught.value


def test_an_unset_variable_is_named_in_the_words_of_the_original() -> None:
    error = error_of("$x", name="attribute value")
    assert str(error) == "Variable $x has not been set at attribute value[line 1, column 1]"
    assert isinstance(error, velocity.UndefinedReferenceError)
    assert (error.template, error.line, error.column, error.snippet) == ("attribute value", 1, 1, "$x")


def test_an_unset_variable_brings_close_names() -> None:
    error = error_of("a\n  $regoin.name", {"region": "r", "other": 1})
    assert str(error) == "Variable $regoin has not been set at template[line 2, column 3]; did you mean $region?"
    assert error.suggestions == ("$region",)


def test_where_no_name_is_close_the_error_says_what_there_is() -> None:
    assert str(error_of("$zone", {"name": "n", "port": 1})).endswith("[line 1, column 1]; there are $name, $port")
    many = str(error_of("$zone", {f"attribute_{number}": "" for number in range(99)}))
    assert many.endswith("$attribute_11, 87 more")
    assert "charAt, compareTo" in str(error_of("$s.zzz()", {"s": "text"}))


def test_an_unknown_method_brings_close_names() -> None:
    assert "did you mean toUpperCase?" in str(error_of("$s.toUppercase()", {"s": "x"}))
    assert "did you mean getTitle" in str(error_of("$p.self().getTilte()", {"p": Probe("T")}))


def test_an_unknown_macro_brings_close_names() -> None:
    assert "did you mean #report?" in str(error_of("#macro(report $x)$x#end#reprot('a')"))


def test_an_unknown_file_brings_close_names() -> None:
    error = error_of("x #parse('hed.vm')", files={"head.vm": ""})
    assert isinstance(error, velocity.ResourceError)
    assert str(error) == "#parse does not find the file 'hed.vm' at template[line 1, column 3]; did you mean head.vm?"


def test_an_exception_of_a_method_is_wrapped_with_its_place_and_kept_as_the_cause() -> None:
    error = error_of("ok\n $p.fail()", {"p": Probe("T")}, name="f.sh")
    assert isinstance(error, velocity.MethodError)
    assert str(error) == "Method 'fail' of a Probe failed: probe failed at f.sh[line 2, column 5]"
    assert type(error.__cause__).__name__ == "FixtureError"


def test_an_error_inside_a_string_an_argument_and_a_macro_has_its_own_place() -> None:
    assert (error := error_of('a\n#set($x = "b\n  $nope")')).line == 3
    assert error.column == 3
    assert error_of("$p.echo($p.echo($nope))", {"p": Probe("T")}).column == 17
    assert error_of("#macro(m $x)$x#end\n #m($nope)").line == 2


def test_an_error_in_another_file_names_that_file() -> None:
    error = error_of("#parse('inner.vm')", files={"inner.vm": "\n$nope"}, name="outer.vm")
    assert (error.template, error.line, error.column) == ("inner.vm", 2, 1)


def test_shell_expansions_get_a_hint() -> None:
    error = error_of("x=${VAR:-default}")
    assert isinstance(error, velocity.VelocityParseError)
    assert "#[[ ]]#" in str(error)
    assert "${D}" in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#if(true)x", "#if has no #end"),
        ("#foreach($i in $l)x", "#foreach has no #end"),
        ("x #end", "no open directive that #end belongs to"),
        ("#[[ x", "#[[ has no ]]#"),
        ("#set($x = 'abc)", "has no end"),
        ("#set($x = )", "Expected a value"),
        ("#set($x = abc)", "text stands in quotes"),
        ("#set(x = 1)", "Expected a reference"),
        ("#set($x == 1)", "Expected '='"),
        ("#foreach($i)x#end", "#foreach($item in $list)"),
        ("#macro()x#end", "#macro(name"),
        ("#parse()", "exactly one argument"),
        ("#word(a; b)", "blank behind the #"),
        ("$x.y(1, )", "Expected a value"),
        ("$true", "'true' cannot be a name"),
        ("#set($x = [1..'a'])", "ends of a range"),
    ],
)
def test_a_parse_error_says_what_is_expected(text: str, words: str) -> None:
    error = error_of(text)
    assert isinstance(error, velocity.VelocityParseError)
    assert words in str(error)
    assert error.line == 1


class Lazy(Mapping[str, object]):
    """A context that computes its values, as the host's does."""

    def __init__(self) -> None:
        self.reads: list[str] = []

    def __getitem__(self, name: str) -> object:
        self.reads.append(name)
        if name == "broken":
            raise ValueError("the attribute 'broken' has no value")
        if name == "bug":
            return {}["other key"]
        if name == "nested":
            return velocity.render("a\n$missing", {}, name="attribute nested")
        if name in {"a", "b"}:
            return name.upper()
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in {"a", "b", "broken", "bug", "nested"}

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "b", "broken", "bug", "nested"])

    def __len__(self) -> int:
        return 5


def test_a_context_is_read_only_where_the_template_reads_it() -> None:
    lazy = Lazy()
    assert velocity.render("#set($b = 'own')$a $b", lazy) == "A own"
    assert lazy.reads == ["a"]


def test_an_exception_of_the_context_is_wrapped_with_its_place() -> None:
    error = error_of("x\n $broken", Lazy())
    assert str(error) == "Reading $broken failed: the attribute 'broken' has no value at template[line 2, column 2]"
    assert "KeyError" in str(error_of("$bug", Lazy()))
    assert error_of("#if($broken)x#end", Lazy()).column == 5


def test_an_error_of_a_template_inside_keeps_its_own_place() -> None:
    error = error_of("$nested", Lazy(), name="outer")
    assert str(error) == "Variable $missing has not been set at attribute nested[line 2, column 1]"


def test_columns_count_tabs_to_the_next_multiple_of_eight_and_all_line_ends() -> None:
    assert error_of("\t$x").column == 9
    assert error_of("a\r\nb\rc\n $x").line == 4
