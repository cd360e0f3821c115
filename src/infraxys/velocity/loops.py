"""Compiles #foreach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infraxys.velocity.errors import VelocityError
from infraxys.velocity.objects import Items, Loop, View
from infraxys.velocity.runtime import Break, GlobalScope
from infraxys.velocity.values import a_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infraxys.velocity.nodes import Foreach
    from infraxys.velocity.references import ValueCompiler
    from infraxys.velocity.runtime import Render, Runtime, Scope

    Round = tuple[Render, str, int]


class ListChanged(Exception):  # noqa: N818 - reads as what happened
    """A list or map became longer or shorter while a loop went through it."""


def source_of(found: object, compiler: ValueCompiler, node: Foreach) -> list[object] | tuple[object, ...] | Items:
    """Return what to loop over, empty for what cannot be looped over."""
    if isinstance(found, list | tuple | Items):
        return found
    if isinstance(found, dict):
        return View(found, ())
    if found is not None and compiler.strict:
        message = f"#foreach parameter {node.items_text} is {a_type(found)} and cannot be iterated"
        compiler.fail(VelocityError(message, snippet=node.items_text), node.items_offset)
    return ()


def length(source: list[object] | tuple[object, ...] | Items) -> int:
    """Return how many rounds there are."""
    if isinstance(source, Items):
        return source.left()
    return len(source.entries) if isinstance(source, View) else len(source)


def items_of(source: list[object] | tuple[object, ...] | Items, loop: Loop) -> Iterator[object]:
    """Give the items of all rounds."""
    if isinstance(source, Items):
        return of_items(source, loop)
    return of_view(source) if isinstance(source, View) else of_list(source)


def of_list(items: list[object] | tuple[object, ...]) -> Iterator[object]:
    """Give the items as they are when their turn comes; as in the original, their number must stay the same."""
    length = len(items)
    for number, item in enumerate(items, 1):
        yield item
        if len(items) != length:
            if len(items) == number:
                return
            raise ListChanged


def of_view(items: View) -> Iterator[object]:
    """Give keys, values or entries of a map that keeps its length, but for the last round."""
    length = len(items.entries)
    for number, key in enumerate(list(items.entries), 1):
        if key not in items.entries:
            raise ListChanged
        yield items.item(key)
        if number < length != len(items.entries):
            raise ListChanged


def of_items(items: Items, loop: Loop) -> Iterator[object]:
    """Give what an iterator has left, one at a time: what a loop that ends early leaves is there for the next."""
    while items.hasNext():
        item = items.next()
        loop.length = loop.index + 2 + items.left()
        yield item


def loop_of(compiler: ValueCompiler, node: Foreach, body: Render) -> Render:
    """Compile the loop; afterwards its variables are what they were before."""
    value, name = compiler.value(node.items), node.variable
    each = (body, name, node.weight)

    def run(rt: Runtime) -> None:
        source = source_of(value(rt), compiler, node)
        count = length(source)
        if not count:
            return
        scope = rt.scope
        parent = scope.get("foreach")
        loop = Loop(count, parent if isinstance(parent, Loop) else None)
        items = items_of(source, loop)
        saved = [(key, scope.save(key)) for key in (name, "velocityCount", "velocityHasNext", "foreach")]
        scope.set("foreach", loop)
        try:
            if type(scope) is GlobalScope:
                rounds(rt, each, items, loop, scope.variables)
            else:
                scoped_rounds(rt, each, items, loop, scope)
        except Break as stop:
            if stop.scope is not None and stop.scope is not loop:
                raise
        except ListChanged:
            message = f"{node.items_text} became longer or shorter while #foreach goes through it"
            compiler.fail(VelocityError(message, snippet=node.items_text), node.items_offset)
        finally:
            if scope.get("foreach") is not loop:
                saved.pop()  # what the template put there stays
            for key, before in saved:
                scope.restore(key, before)

    return run


def rounds(rt: Runtime, node: Round, items: Iterator[object], loop: Loop, variables: dict[str, object]) -> None:
    """Run a loop outside of macros, where setting a variable is just that."""
    body, name, weight = node
    budget = rt.budget
    for index, item in enumerate(items):
        budget.left -= weight
        if budget.left < 0:
            budget.check()
        loop.index = index
        variables["velocityCount"] = index + 1
        variables["velocityHasNext"] = index + 1 < loop.length
        variables[name] = item
        body(rt)


def scoped_rounds(rt: Runtime, node: Round, items: Iterator[object], loop: Loop, scope: Scope) -> None:
    """Run a loop inside a macro, whose variables are set in all scopes around as well."""
    body, name, weight = node
    for index, item in enumerate(items):
        rt.budget.spend(weight)
        loop.index = index
        scope.set("velocityCount", index + 1)
        scope.set("velocityHasNext", index + 1 < loop.length)
        scope.set(name, item)
        body(rt)
