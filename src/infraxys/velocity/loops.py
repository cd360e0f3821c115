"""Compiles #foreach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infraxys.velocity.errors import VelocityError
from infraxys.velocity.objects import Items, Loop
from infraxys.velocity.runtime import Break, GlobalScope
from infraxys.velocity.values import type_name

if TYPE_CHECKING:
    from infraxys.velocity.nodes import Foreach
    from infraxys.velocity.references import ValueCompiler
    from infraxys.velocity.runtime import Render, Runtime, Scope

    Round = tuple[Render, str, int]


def items_of(found: object, compiler: ValueCompiler, node: Foreach) -> list[object]:
    """Return what to loop over, as it is now."""
    if isinstance(found, list | tuple):
        return list(found)
    if isinstance(found, dict):
        return list(found.values())
    if isinstance(found, Items):
        return list(found.rest())
    if found is not None and compiler.strict:
        message = f"#foreach parameter {node.items_text} is a {type_name(found)} and cannot be iterated"
        compiler.fail(VelocityError(message, snippet=node.items_text), node.items_offset)
    return []


def loop_of(compiler: ValueCompiler, node: Foreach, body: Render) -> Render:
    """Compile the loop; afterwards its variables are what they were before."""
    value, name = compiler.value(node.items), node.variable
    each = (body, name, node.weight)

    def run(rt: Runtime) -> None:
        items = items_of(value(rt), compiler, node)
        if not items:
            return
        scope = rt.scope
        parent = scope.get("foreach")
        loop = Loop(len(items), parent if isinstance(parent, Loop) else None)
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
        finally:
            if scope.get("foreach") is not loop:
                saved.pop()  # what the template put there stays
            for key, before in saved:
                scope.restore(key, before)

    return run


def rounds(rt: Runtime, node: Round, items: list[object], loop: Loop, variables: dict[str, object]) -> None:
    """Run a loop outside of macros, where setting a variable is just that."""
    body, name, weight = node
    budget = rt.budget
    last = len(items) - 1
    for index, item in enumerate(items):
        budget.left -= weight
        if budget.left < 0:
            budget.check()
        loop.index = index
        variables["velocityCount"] = index + 1
        variables["velocityHasNext"] = index < last
        variables[name] = item
        body(rt)


def scoped_rounds(rt: Runtime, node: Round, items: list[object], loop: Loop, scope: Scope) -> None:
    """Run a loop inside a macro, whose variables are set in all scopes around as well."""
    body, name, weight = node
    last = len(items) - 1
    for index, item in enumerate(items):
        rt.budget.spend(weight)
        loop.index = index
        scope.set("velocityCount", index + 1)
        scope.set("velocityHasNext", index < last)
        scope.set(name, item)
        body(rt)
