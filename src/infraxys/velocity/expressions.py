"""Parses references, literals and operators: everything between a `$` or `(` and its end.

Scannerless recursive descent over the source text. The rules that look odd are Velocity 1.7's: names may contain
`-`, a number takes the `-` before it, so `$n -1` is two operands and an error, and `and`, `or`, `lt` are operators.
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
    Group,
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
CALL = re.compile(r"\((?!#|\.[A-Za-z]|\Z)")  # a parenthesis that no argument can follow is text
WORD = re.compile(r"[A-Za-z_@][A-Za-z0-9_@]*")
SPACE = re.compile(r"[ \t\r\n]*")
# An integer before `..` stays an integer; otherwise the longest match wins.
NUMBER = re.compile(
    r"-?[0-9]+(?=\.\.)"
    r"|(?P<float>-?[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|-?\.[0-9]+(?:[eE][+-]?[0-9]+)?|-?[0-9]+[eE][+-]?[0-9]+)"
    r"|-?[0-9]+"
)
DOUBLE_QUOTED = re.compile(r'"([^"]*(?:""[^"]*)*)"')
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


@dataclass(slots=True)
class Shared:
    """What a template and the templates in its strings have in common while they are parsed."""

    macros: dict[str, MacroDefinition] = field(default_factory=dict)
    nodes: int = 0
    depth: int = 0


class ExpressionParser:
    """Parses expressions at `self.at`; a subclass parses the templates that double-quoted strings are."""

    def __init__(self, source: Source, shared: Shared) -> None:
        self.source = source
        self.text = source.text
        self.at = 0
        self.shared = shared
        self.inside_if = 0

    def template(self) -> Block:
        """Parse the whole source."""
        raise NotImplementedError

    def fail(self, message: str, at: int | None = None, hint: str = "") -> NoReturn:
        """Raise a parse error at an offset."""
        error = VelocityParseError(message, hint=hint)
        raise error.locate(self.source, self.at if at is None else at)

    def enter(self, at: int) -> None:
        """Count one more level of nesting."""
        self.shared.depth += 1
        if self.shared.depth > MAX_DEPTH:
            self.fail(f"The template is nested more than {MAX_DEPTH} levels deep", at)

    def count(self, at: int) -> None:
        """Count one more element of the template."""
        self.shared.nodes += 1
        if self.shared.nodes > MAX_NODES:
            self.fail(f"The template has more than {MAX_NODES:,} references, directives and values", at)

    def peek(self) -> str:
        """Return the character at the current place, empty at the end."""
        return self.text[self.at : self.at + 1]

    def skip_space(self) -> None:
        """Pass blanks and line ends."""
        match = SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def found(self) -> str:
        """Describe what stands at the current place."""
        rest = self.text[self.at : self.at + 12].split("\n")[0]
        return f"{rest!r}" if rest else ("the end of a line" if self.peek() else "the end of the text")

    def expect(self, char: str, where: str) -> None:
        """Pass one character that must stand here."""
        if self.peek() != char:
            self.fail(f"Expected {char!r} {where}, found {self.found()}")
        self.at += 1

    # -- operators ----------------------------------------------------------------------------------------------------

    def expression(self) -> Expression:
        """Parse an expression up to what cannot belong to it."""
        return self.binary(1)[0]

    def operator(self) -> tuple[str, int] | None:
        """Return the binary operator at the current place and where it ends."""
        text, at = self.text, self.at
        char = text[at : at + 1]
        if char in LETTERS:
            match = WORD.match(text, at)
            word = match.group() if match else ""
            return (WORD_OPERATORS[word], at + len(word)) if word in WORD_OPERATORS else None
        for spelling, name in OPERATORS:
            if text.startswith(spelling, at):
                # `3 -1` is two numbers: a digit takes the sign before it.
                if spelling == "-" and NUMBER.match(text, at):
                    return None
                return name, at + len(spelling)
        return None

    def binary(self, lowest: int) -> tuple[Expression, str]:
        """Parse operands joined by operators of at least the precedence `lowest`.

        Also returns the text that stands in for a null value in a concatenation: of an operation that is what its
        right operand looks like, blanks included.
        """
        left, left_text = self.unary()
        while (operator := self.operator()) is not None and PRECEDENCE[operator[0]] >= lowest:
            name, self.at = operator
            right_at = self.at
            self.count(right_at)
            right, right_text = self.binary(PRECEDENCE[name] + 1)
            if name in {"and", "or"}:
                left = Logical(name, left, right)
            else:
                left = Binary(name, left, right, left_text, right_text, right_at)
            left_text = self.text[right_at : self.at]
        return left, left_text

    def token_offset(self, at: int) -> int:
        """Return the first offset that is no blank."""
        match = SPACE.match(self.text, at)
        return match.end() if match else at

    def unary(self) -> tuple[Expression, str]:
        """Parse `!operand`, `not operand` or a single value with the blanks around it."""
        self.skip_space()
        start = self.at
        match = WORD.match(self.text, start)
        if self.peek() == "!" and self.text[start + 1 : start + 2] != "=":
            self.at += 1
        elif match and match.group() == "not":
            self.at = match.end()
        else:
            value, text = self.primary()
            self.skip_space()
            return value, text
        self.enter(start)
        operand, _ = self.unary()
        self.shared.depth -= 1
        return Not(operand), self.text[start : self.at]

    def primary(self) -> tuple[Expression, str]:
        """Parse a value or an expression in parentheses."""
        start = self.at
        if self.peek() != "(":
            value = self.value(start)
            return value, self.text[start : self.at]
        self.at += 1
        self.enter(start)
        inside = self.expression()
        self.shared.depth -= 1
        text = self.text[start + 1 : self.at]
        self.expect(")", "after the expression")
        return Group(inside), text

    # -- values -------------------------------------------------------------------------------------------------------

    def value(self, start: int) -> Expression:
        """Parse a reference, literal, list, map or range."""
        self.count(start)
        char = self.peek()
        if char in {"$", "\\"}:
            return self.expression_reference()
        if char in {'"', "'"}:
            return self.string()
        if char in NUMBER_START:
            return self.number()
        if char == "[":
            return self.bracketed()
        if char == "{":
            return self.map_literal()
        return self.boolean()

    def boolean(self) -> Literal:
        """Parse `true` or `false`, the only words that are values."""
        match = WORD.match(self.text, self.at)
        if match is None or match.group() not in {"true", "false"}:
            self.fail(f"Expected a value, found {self.found()}", hint="text stands in quotes, a variable starts with $")
        self.at = match.end()
        return Literal(match.group() == "true")

    def expression_reference(self) -> Reference:
        """Parse a reference that must stand here."""
        reference = self.reference()
        if reference is None:
            self.fail(f"Expected a reference, found {self.found()}")
        return reference

    def number(self) -> Literal:
        """Parse an integer or floating point number."""
        match = NUMBER.match(self.text, self.at)
        if match is None:
            self.fail(f"Expected a value, found {self.found()}")
        digits = match.group()
        if len(digits) > MAX_DIGITS:
            self.fail(f"A number has more than {MAX_DIGITS} digits")
        self.at = match.end()
        return Literal(float(digits) if match["float"] else int(digits))

    def string(self) -> Expression:
        """Parse a string; a double-quoted one with `$` or `#` is a template of its own."""
        quote = self.peek()
        match = (DOUBLE_QUOTED if quote == '"' else SINGLE_QUOTED).match(self.text, self.at)
        if match is None:
            self.fail(f"The string that starts with {quote} has no end")
        start = self.at
        self.at = match.end()
        raw = match.group(1)
        text = raw.replace(quote * 2, quote) if quote in raw else raw
        if quote == '"' and "\\u" in text:
            text = UNICODE_ESCAPE.sub(lambda found: chr(int(found.group(1), 16)), text)
        if quote == "'" or ("$" not in text and "#" not in text):
            return Literal(text)
        source = Source(self.source.name, text, self.source, start + 1)
        parser = type(self)(source, self.shared)
        self.enter(start)
        body = parser.template()
        self.shared.depth -= 1
        return Interpolated(body, source)

    def bracketed(self) -> Expression:
        """Parse `[]`, `[a, b]` or `[a..b]`."""
        start = self.at
        self.at += 1
        self.enter(start)
        items: list[Expression] = []
        if self.peek() != "]":
            items.append(self.parameter())
            if self.text.startswith("..", self.at):
                return self.range(items[0])
            while self.peek() == ",":
                self.at += 1
                items.append(self.parameter())
        self.expect("]", "after the items of a list")
        self.shared.depth -= 1
        return ListLiteral(tuple(items))

    def range(self, first: Expression) -> Range:
        """Parse the rest of `[a..b]` at the dots."""
        self.at += 2
        last_at = self.token_offset(self.at)
        last = self.parameter()
        for end, at in ((first, self.at), (last, last_at)):
            if not isinstance(end, Reference) and not (isinstance(end, Literal) and type(end.value) is int):
                self.fail("The ends of a range are integers or references", at)
        self.expect("]", "after a range")
        self.shared.depth -= 1
        return Range(first, last)

    def map_literal(self) -> MapLiteral:
        """Parse `{}` or `{k: v, ...}`."""
        start = self.at
        self.at += 1
        self.enter(start)
        pairs: list[tuple[Expression, Expression]] = []
        if self.text.startswith("}", self.token_offset(self.at)):
            self.skip_space()
        else:
            pairs.append(self.pair())
            while self.peek() == ",":
                self.at += 1
                pairs.append(self.pair())
        self.expect("}", "after the entries of a map")
        self.shared.depth -= 1
        return MapLiteral(tuple(pairs))

    def pair(self) -> tuple[Expression, Expression]:
        """Parse `key: value`."""
        key = self.parameter()
        self.expect(":", "after the key of a map entry")
        return key, self.parameter()

    def parameter(self) -> Expression:
        """Parse a value with blanks around it, where no operators are allowed."""
        self.skip_space()
        value = self.value(self.at)
        self.skip_space()
        return value

    # -- references ---------------------------------------------------------------------------------------------------

    def reference(self) -> Reference | None:
        """Parse the reference at the current place (backslashes included), or return None and stay."""
        match = REFERENCE.match(self.text, self.at)
        if match is None or match[5] is None or match[2] is not None:
            return None
        start, dollar = self.at, self.at + len(match[1])
        self.at = match.end()
        root = match[5]
        self.check_name(root, match.start(5))
        self.enter(start)
        steps = self.steps()
        self.shared.depth -= 1
        if match[4]:
            if self.peek() != "}":
                self.fail(
                    f"Expected '}}' after '{self.text[dollar : self.at]}', found {self.found()}",
                    hint="shell expansions like ${NAME:-x} need #[[ ]]# around them or ${D}{NAME:-x}",
                )
            self.at += 1
        return Reference(
            start,
            self.text[dollar : self.at],
            root,
            steps,
            quiet=match[3] is not None,
            backslashes=len(match[1]),
        )

    def check_name(self, name: str, at: int) -> None:
        """Refuse the two words that are values."""
        if name in {"true", "false"}:
            self.fail(f"'{name}' cannot be a name", at)

    def steps(self) -> tuple[Step, ...]:
        """Parse `.name`, `.name(...)` and `[...]` as long as they come."""
        steps: list[Step] = []
        text = self.text
        while True:
            char = self.peek()
            if char == "[":
                steps.append(self.index())
            elif char == "." and text[self.at + 1 : self.at + 2] in LETTERS and self.at + 1 < len(text):
                match = IDENTIFIER.match(text, self.at + 1)
                name = match.group() if match else ""
                offset = self.at + 1
                self.at = offset + len(name)
                if CALL.match(text, self.at):
                    steps.append(Call(name, self.arguments(), offset))
                else:
                    self.check_name(name, offset)
                    steps.append(Property(name, offset))
            else:
                return tuple(steps)
            self.count(self.at)

    def arguments(self) -> tuple[Expression, ...]:
        """Parse `(a, b)`."""
        self.at += 1
        arguments: list[Expression] = []
        if self.peek() != ")":
            arguments.append(self.argument())
            while self.peek() == ",":
                self.at += 1
                arguments.append(self.argument())
        self.expect(")", "after the arguments of a method")
        return tuple(arguments)

    def argument(self) -> Expression:
        """Parse an argument; a bare word is null, as in the original."""
        self.skip_space()
        match = IDENTIFIER.match(self.text, self.at)
        if match is None or match.group() in {"true", "false"}:
            return self.parameter()
        self.at = match.end()
        self.skip_space()
        return Literal(None)

    def index(self) -> Index:
        """Parse `[value]`."""
        start = self.at
        self.at += 1
        value = self.parameter()
        allowed = isinstance(value, Reference | Interpolated) or (
            isinstance(value, Literal) and not isinstance(value.value, float)
        )
        if not allowed:
            self.fail("An index is a string, an integer, true, false or a reference", start)
        self.expect("]", "after an index")
        return Index(value, start)
