"""Parses references, literals and operators: everything between a `$` or `(` and its end.

Scannerless recursive descent over the source text. The rules that look odd are Velocity 1.7's: names may contain
`-`, a number takes the `-` before it, so `$n -1` is two operands and an error, and `and`, `or`, `lt`, ... are operators.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn

from infraxys.velocity.errors import Source, VelocityParseError
from infraxys.velocity.nodes import (
    Binary,
    Block,
    Call,
    Expression,
    Index,
    Interpolated,
    ListLiteral,
    Literal,
    Logical,
    MacroDefinition,
    MapLiteral,
    Not,
    Property,
    Range,
    Reference,
    Step,
)

MAX_NODES = 50_000
MAX_DEPTH = 100
MAX_DIGITS = 1000

REFERENCE = re.compile(r"(\\*)\$(\\+(?=!))?(!)?(\{)?([A-Za-z_][A-Za-z0-9_-]*)?")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
WORD = re.compile(r"[A-Za-z_@][A-Za-z0-9_@]*")
SPACE = re.compile(r"[ \t\r\n]*")
NUMBER = re.compile(r"(-?[0-9]+)(?=\.\.)|(-?[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|-?\.[0-9]+(?:[eE][+-]?[0-9]+)?|-?[0-9]+[eE][+-]?[0-9]+)|(-?[0-9]+)")
DOUBLE_QUOTED = re.compile(r'"((?:[^"]|"")*+)"' if False else r'"([^"]*(?:""[^"]*)*)"')
SINGLE_QUOTED = re.compile(r"'([^']*(?:''[^']*)*)'")
UNICODE_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
NUMBER_START = frozenset("-.0123456789")

OPERATORS = (
    ("||", "or"), ("&&", "and"), ("==", "=="), ("!=", "!="), ("<=", "<="), (">=", ">="), ("<", "<"), (">", ">"),
    ("+", "+"), ("-", "-"), ("*", "*"), ("/", "/"), ("%", "%"),
)  # fmt: skip
WORD_OPERATORS = {
    "or": "or", "and": "and", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
PRECEDENCE = {
    "or": 1, "and": 2, "==": 3, "!=": 3, "<": 4, "<=": 4, ">": 4, ">=": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6,
}  # fmt: skip
