"""`$String` and `$Integer`, and what lint finds."""

from __future__ import annotations

import pytest

from infraxys import velocity

CONTEXT: dict[str, object] = {
    "String": velocity.JavaString(),
    "Integer": velocity.JavaInteger(),
    "l": ["a", 2, True],
    "nul": None,
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$String.join('-', $l)", "a-2-true"),
        ("$String.join(', ', 'x', 'y')", "x, y"),
        ("$String.join('-', [])", ""),
        ("$String.valueOf(1.0) $String.valueOf(true) $String.valueOf([1, 'b'])", "1.0 true [1, b]"),
        ("$String.format('%s has %d items at %.2f', 'Cart', 3, 1.5)", "Cart has 3 items at 1.50"),
        ("[$String.format('%5s|%-5s|%05d|%+d|%,d', 'a', 'b', 42, 7, 1234567)]", "[    a|b    |00042|+7|1,234,567]"),
        ("$String.format('%2$s %1$s %<s', 'a', 'b')", "b a a"),
        ("$String.format('%x %X %o %%', 255, 255, 8)", "ff FF 10 %"),
        ("$String.format('%b %B %c', true, false, 65)", "true FALSE A"),
        ("$String.format('%.2s|%S', 'abc', 'abc')", "ab|ABC"),
        ("$String.format('%s %s', ['x', 'y'])", "x y"),
        ("$String.format('%s', $nul)", "null"),
        ("$String.format('%08.3f|%e', 3.14159, 12345.678)", "0003.142|1.234568e+04"),
        ("$String.format('%05d', -42)", "-0042"),
        ("$String.format('a%nb')", "a\nb"),
        ("#set($n = $Integer.parseInt('41') + 1)$n", "42"),
        ("$Integer.valueOf('7').toString().length() $Integer.valueOf(3) $Integer.toString(12)", "1 3 12"),
        ("$Integer.parseInt('-2147483648')", "-2147483648"),
        ("#foreach($i in [1..$Integer.parseInt('3')])$i#end", "123"),
    ],
)
def test_static_methods_work_as_in_java(text: str, shown: str) -> None:
    assert velocity.render(text, CONTEXT) == shown


@pytest.mark.parametrize(
    "text",
    [
        "$Integer.parseInt('x')",
        "$Integer.parseInt('1_0')",
        "$Integer.parseInt(' 1')",
        "$Integer.parseInt('2147483648')",
        "$Integer.parseInt($nul)",
        "$String.format('%d', 'x')",
        "$String.format('%d', 1.5)",
        "$String.format('%f', 1)",
        "$String.format('%s')",
        "$String.format('%2$s', 'a')",
        "$String.format('%q', 1)",
        "$String.format('%')",
        "$String.format('%1001d', 1)",
        "$String.format('%.1001f', 1.0)",
        "$String.join(1, $l)",
    ],
)
def test_wrong_arguments_are_errors_of_the_method(text: str) -> None:
    with pytest.raises(velocity.MethodError):
        velocity.render(text, CONTEXT)


def test_the_bounds_of_an_integer_are_not_offered() -> None:
    assert velocity.render("$Integer.MAX_VALUE", CONTEXT, strict=False) == "$Integer.MAX_VALUE"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a\n x=${VAR:-x}", (2, 4), "${VAR:-...}"),
        ("${VAR%.*}", (1, 1), "no shell expansion"),
        ("${VAR##*/}", (1, 1), "no shell expansion"),
        ("${A[@]}", (1, 1), "no shell expansion"),
        ("for i in $A[@]", (1, 10), "reads as an index"),
        ("echo $name{a,b}", (1, 6), "write ${name} before a brace"),
        ("#check(this)", (1, 1), "blank behind the #"),
        ("#if(true)", (1, 1), "#if has no #end"),
    ],
)
def test_lint_finds_what_shell_authors_trip_over(text: str, place: tuple[int, int], words: str) -> None:
    found = velocity.lint(text, "run.sh")
    assert found[0][:2] == place
    assert any(words in message for *_, message in found)


@pytest.mark.parametrize(
    "text",
    [
        "#[[ ${VAR:-x} $name{ #check(this) ]]#",
        "## ${VAR:-x}\n#* $name{ *# text",
        "${D}{VAR:-x} ${name}{a} # check(this) #!/bin/bash $1 ${1:-x} ${#A} $(date)",
        "#macro(check $x)$x#end#check('a')#if($a)x#{else}y#end#foreach($i in $l)$i#end#set($m = {'a': 1})$m.a",
        "terraform = ${var.name}-${aws_vpc.main.id}",
    ],
)
def test_lint_leaves_what_is_right_alone(text: str) -> None:
    assert velocity.lint(text) == []


def test_free_names_are_those_that_a_template_reads_and_never_sets() -> None:
    text = (
        "#macro(m $p)$p $inner#end#set($a = $b)#foreach($i in $list)$i $velocityCount $foreach.index#end\n"
        '#define($d)x#end$d $a "$plain" #set($s = "is $quoted") $b#m($given)${formal.method($deep)}'
    )
    expected = {}
    for name in ("inner", "b", "list", "plain", "quoted", "given", "formal", "deep"):
        start = text.index(f"${{{name}" if name == "formal" else f"${name}")
        line_start = text.rfind("\n", 0, start) + 1
        expected[name] = (text.count("\n", 0, start) + 1, start - line_start + 1)
    assert velocity.free_names(text) == expected
