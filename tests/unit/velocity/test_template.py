"""Templates, their results, live variables, threads and limits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from infraxys import velocity
from unit.velocity.fakes import ContextObject, Probe


def test_render_is_the_short_way() -> None:
    assert velocity.render("Hello $name", {"name": "Ann"}) == "Hello Ann"
    assert velocity.render("$a #parse('f')", {}, strict=False, name="n", files={"f": "F"}) == "$a F"


def test_strict_is_the_default() -> None:
    with pytest.raises(velocity.VelocityError):
        velocity.render("$nope", {})
    assert velocity.compile("$nope").render({}, strict=False).text == "$nope"


def test_the_variables_of_a_render_are_there_also_after_stop() -> None:
    template = velocity.compile("#set($skip_file_creation = true)#set($menu_caption = 'Do it')x#stop#set($late = 1)")
    result = template.render({"given": 1})
    assert result.text == "x"
    assert result.assigned == {"skip_file_creation": True, "menu_caption": "Do it"}
    assert result.variables == {"given": 1, "skip_file_creation": True, "menu_caption": "Do it"}


def test_the_variables_of_a_render_are_those_of_the_context_with_what_the_template_made_of_them() -> None:
    text = "#foreach($item in $list)#end#set($number = $number + 1)#set($list[0] = 'new')"
    result = velocity.compile(text).render({"item": "mine", "number": 1, "list": ["old"]})
    assert dict(result.variables) == {"item": "mine", "number": 2, "list": ["new"]}
    assert result.assigned == {"number": 2}


def test_a_render_leaves_the_context_alone() -> None:
    context: dict[str, object] = {"i": "before", "l": [1, 2]}
    result = velocity.compile("#set($new = 1)#foreach($i in $l)$i#end#set($l = 3)$i$l").render(context)
    assert result.text == "12before3"
    assert context == {"i": "before", "l": [1, 2]}


def test_a_template_renders_the_same_each_time() -> None:
    template = velocity.compile("#macro(m $x)[$x]#end#set($n = $n + 1)#m($n)#m('a')")
    assert [template.render({"n": n}).text for n in range(3)] == ["[1][a]", "[2][a]", "[3][a]"]
    assert template.render({"n": 5}, strict=False).text == "[6][a]"


def test_a_host_sees_the_live_variables() -> None:
    context: dict[str, object] = {"start": "s"}
    context["ctx"] = ContextObject(context)
    text = "#set($n = 'later')$ctx.get('n') $ctx.get('start') $ctx.containsKey('n') $ctx.containsKey('no')"
    assert velocity.render(text, context) == "later s true false"
    text = "#set($old = $ctx.put('made', 'M'))$made#foreach($i in [1..2]) $ctx.get('i')#end$!ctx.get('i')"
    result = velocity.compile(text).render(context)
    assert result.text == "M 1 2"
    assert result.variables["made"] == "M"
    assert "made" not in context


def test_a_host_sees_the_variables_of_the_macro_that_calls_it() -> None:
    context: dict[str, object] = {}
    context["ctx"] = ContextObject(context)
    assert velocity.render("#macro(m $x)$ctx.get('x')#end#m('v')", context) == "v"


def test_threads_can_share_a_template() -> None:
    template = velocity.compile(
        '#macro(m $x)<$x>#end#foreach($i in [1..20])#if($i % 2 == 0)#m($name)$i#end#set($last = "$name$i")#end$last'
    )

    def work(number: int) -> bool:
        name = f"n{number}"
        wanted = "".join(f"<{name}>{i}" for i in range(2, 21, 2)) + f"{name}20"
        return all(template.render({"name": name}, strict=bool(number % 2)).text == wanted for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


class Recursive:
    """A host that renders templates inside the render that calls it."""

    VTL_METHODS = frozenset({"render"})

    def render(self, text: str) -> str:
        return velocity.render(text, {"r": self})


def test_a_render_inside_a_render_pays_from_the_same_account() -> None:
    text = "#foreach($i in [1..500])$r.render('#foreach($i in [1..500])#end')#end"
    with pytest.raises(velocity.LimitError, match="steps"):
        velocity.compile(text).render({"r": Recursive()}, limits=velocity.Limits(steps=10_000))


class Endless:
    """A host whose method renders a template that calls the method."""

    VTL_METHODS = frozenset({"again"})

    def again(self) -> str:
        return velocity.render("$host.again()", {"host": self})


def test_renders_inside_one_another_end_at_a_depth() -> None:
    with pytest.raises(velocity.LimitError, match="render one another more than 16 levels deep"):
        velocity.render("$host.again()", {"host": Endless()})


@pytest.mark.parametrize(
    ("text", "limits", "words"),
    [
        ("#foreach($i in [1..1000])x#end", velocity.Limits(steps=500), "500 steps"),
        ("#foreach($i in [1..100])x#end", velocity.Limits(items=99), "99 items"),
        ("$p.echo('abc')", velocity.Limits(output=2), "longer than 2"),
        ("#set($s = 'abc' + 'def' * 2 + '" + "x" * 99 + "')", velocity.Limits(string=80), "80 characters"),
        (("#set($s = '" + "x" * 70 + "' + '')") * 9, velocity.Limits(characters=300), "300 characters"),
        ("#macro(m)#n()#end#macro(n)x#end#m()", velocity.Limits(macro_depth=1), "1 levels"),
        ("#evaluate('#evaluate(1)')", velocity.Limits(template_depth=1), "1 levels"),
        ("#set($n = 99999999999 * 99999999999 * 9)", velocity.Limits(integer_bits=16), "16 bits"),
        ("#foreach($i in [1..9999])#end", velocity.Limits(seconds=0), "0 seconds"),
    ],
)
def test_each_limit_ends_a_render_with_its_name_and_a_place(text: str, limits: velocity.Limits, words: str) -> None:
    with pytest.raises(velocity.LimitError, match=words) as caught:
        velocity.compile(text).render({"p": Probe("T")}, limits=limits)
    assert caught.value.line == 1


def test_macros_nest_as_deep_as_in_the_original() -> None:
    text = "#macro(r $k)#if($k < $depth)#set($n = $k + 1)#r($n)#end#end#r(1)done"
    assert velocity.render(text, {"depth": 20}) == "done"
    with pytest.raises(velocity.LimitError):
        velocity.render(text, {"depth": 21})


@pytest.mark.parametrize("text", ["#set(${a} = 1)$a", "#set($!a = 1)$a", "#define(${a})x#end$a"])
def test_braces_and_quiet_marks_name_another_variable_where_one_is_set(text: str) -> None:
    """As in the original, where nobody expects it: so the error says it, and lint for #set."""
    assert velocity.render(text, {}, strict=False).endswith("$a")
    with pytest.raises(velocity.UndefinedReferenceError, match=r"write \$a there"):
        velocity.render(text, {})
    found = [message for *_, message in velocity.lint(text)]
    assert ("set" in text) == bool(found)
    assert all("sets another variable than $a" in message for message in found)


def test_a_variable_that_is_a_block_is_its_text_afterwards() -> None:
    result = velocity.compile("#define($menu_caption)Deploy $name#end#set($name = 'later')").render({"name": "now"})
    assert result.assigned["menu_caption"] == "Deploy later"
    assert velocity.render("$caption", {"caption": result.variables["menu_caption"]}) == "Deploy later"


def test_a_block_that_ends_with_stop_keeps_its_text() -> None:
    assert velocity.render("#define($b)in#stop out#end[$b]after", {}) == "[in"
