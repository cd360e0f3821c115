"""Writes a parsed template as text again: one form for each construct, so that what is parsed alike reads alike."""

from __future__ import annotations

from infraxys.velocity import nodes

SPELLED = {"and": "&&", "or": "||"}


def printed(tree: nodes.Tree) -> str:
    """Write a template with its macros first."""
    macros = [
        f"#macro({macro.name}{''.join(f' ${name}' for name in macro.parameters)}){block(macro.body)}#end"
        for macro in tree.macros.values()
    ]
    return "".join(macros) + block(tree.body)


def block(body: nodes.Block) -> str:
    """Write a block."""
    return "".join(map(node, body))


def raw(text: str) -> str:
    """Write text so that nothing in it is taken for anything else."""
    return "".join(f"#[[{part}]]#" for part in text.replace("]]#", "]]\0#").split("\0"))


def node(item: nodes.Node) -> str:  # noqa: C901, PLR0911, PLR0912 - one line for each kind of node
    """Write one node."""
    match item:
        case nodes.Text(text):
            return raw(text)
        case nodes.Reference():
            return "\\" * item.backslashes + reference(item)
        case nodes.Set():
            return f"#set({reference(item.target)} = {expression(item.value)})"
        case nodes.If():
            tests = [f"if({expression(test)}){block(body)}" for test, body in item.branches]
            return "#" + "#else".join(tests) + (f"#{{else}}{block(item.otherwise)}" if item.otherwise else "") + "#end"
        case nodes.Foreach():
            return f"#foreach(${item.variable} in {expression(item.items)}){block(item.body)}#end"
        case nodes.MacroCall():
            mark = "" if item.body is None else "@"
            given = "(" + " ".join(map(argument, item.arguments)) + ")" if item.parenthesised or mark else ""
            return f"#{mark}{item.name}{given}" + (f"{block(item.body)}#end" if item.body is not None else "")
        case nodes.Define():
            return f"#define(${item.name}){block(item.body)}#end"
        case nodes.Parse():
            return f"#parse({expression(item.argument)})"
        case nodes.Include():
            return f"#include({' '.join(map(expression, item.arguments))})"
        case nodes.Evaluate():
            return f"#evaluate({expression(item.argument)})"
        case nodes.Break():
            return "#break" if item.scope is None else f"#break({expression(item.scope)})"
        case nodes.Stop():
            return "#stop"


def argument(item: nodes.Argument) -> str:
    """Write an argument of a macro's call."""
    return item.text if item.word else expression(item.value)


def reference(item: nodes.Reference) -> str:
    """Write a reference; one with a name of its own where it is set keeps its form."""
    steps = "".join(map(step, item.steps))
    name = f"{item.root}{steps}"
    return f"$!{{{name}}}" if item.quiet else f"${{{name}}}" if item.text.startswith("${") else f"${name}"


def step(item: nodes.Step) -> str:
    """Write a property, call or index."""
    match item:
        case nodes.Property():
            return f".{item.name}"
        case nodes.Call():
            return f".{item.name}({', '.join(map(expression, item.arguments))})"
        case nodes.Index():
            return f"[{expression(item.argument)}]"


def expression(item: nodes.Expression) -> str:  # noqa: C901, PLR0911 - one line for each kind of node
    """Write an expression."""
    match item:
        case nodes.Reference():
            return "\\" * item.backslashes + reference(item)
        case nodes.Literal():
            return literal(item.value)
        case nodes.Interpolated():
            return '"' + block(item.body).replace('"', '""') + '"' if item.body else "''"
        case nodes.ListLiteral():
            return f"[{', '.join(map(expression, item.items))}]"
        case nodes.MapLiteral():
            return "{" + ", ".join(f"{expression(key)}: {expression(value)}" for key, value in item.pairs) + "}"
        case nodes.Range():
            return f"[{expression(item.first)} .. {expression(item.last)}]"
        case nodes.Binary():
            return f"{expression(item.left)} {item.operator} {expression(item.right)}"
        case nodes.Logical():
            return f"{expression(item.left)} {SPELLED[item.operator]} {expression(item.right)}"
        case nodes.Not():
            return f"!{expression(item.operand)}"
        case nodes.Group():
            return f"({expression(item.inside)})"


def literal(value: str | float | bool | None) -> str:  # noqa: FBT001 - any literal
    """Write a literal; null is written as a bare word, as only arguments of methods can have it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return repr(value)
