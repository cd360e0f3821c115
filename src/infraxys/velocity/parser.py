"""Parses text and directives into a tree. Linear in the length of the text, apart from nesting, which is bounded."""

from __future__ import annotations

import re

from infraxys.velocity.errors import Source, VelocityParseError
from infraxys.velocity.expressions import LETTERS, NUMBER_START, SPACE, WORD, ExpressionParser, Shared
from infraxys.velocity.nodes import (
    Argument,
    Block,
    Break,
    Define,
    Evaluate,
    Expression,
    Foreach,
    If,
    Include,
    Literal,
    MacroCall,
    MacroDefinition,
    Node,
    Parse,
    Reference,
    Set,
    Stop,
    Text,
    Tree,
)

MAX_TEXT = 2_000_000

PLAIN = re.compile(r"[^$#\\]+")
BACKSLASHES = re.compile(r"\\+")
SET = re.compile(r"[ \t]*#(?:set|\{set\})[ \t]*\(")
BRACED_WORD = re.compile(r"\{([A-Za-z_@][A-Za-z0-9_@]*)\}")
BLANK_LINE_END = re.compile(r"[ \t]*(?:\r\n|\n|\r)")
ESCAPED_BANG = re.compile(r"\\+!\{?[A-Za-z_]")
LINE_COMMENT = re.compile(r"##[^\r\n]*(?:\r\n|\n|\r)?")

CONTROL = frozenset({"if", "elseif", "else", "end"})
DIRECTIVES = frozenset({"foreach", "include", "parse", "macro", "literal", "evaluate", "break", "define", "stop"})
ESCAPABLE = CONTROL | DIRECTIVES | {"set"}


def parse(text: str, name: str) -> Tree:
    """Parse a template.

    Raises:
        VelocityParseError: the text is no template, or it is too long, too deep or has too many elements.

    """
    source = Source(name, text)
    if len(text) > MAX_TEXT:
        error = VelocityParseError(f"The template is longer than {MAX_TEXT:,} characters")
        raise error.locate(source, 0)
    parser = Parser(source, Shared())
    try:
        body = parser.template()
    except RecursionError:
        error = VelocityParseError("The template is nested too deeply")
        raise error.locate(source, parser.at) from None
    return Tree(source, body, parser.shared.nodes + 1, parser.shared.macros)


class Parser(ExpressionParser):
    """Parses one source: a template or the content of a double-quoted string."""

    def template(self) -> Block:
        """Parse the whole source."""
        body, end = self.block(frozenset())
        if end:
            self.fail(f"There is nothing that #{end} could end")
        return body

    # -- text ---------------------------------------------------------------------------------------------------------

    def block(self, ends: frozenset[str]) -> tuple[Block, str]:
        """Parse up to one of the directives `ends` (passed) or the end; says which one it was, "" for the end."""
        nodes: list[Node] = []
        text, length = self.text, len(self.text)
        while self.at < length:
            char = text[self.at]
            if (match := SET.match(text, self.at)) is not None:
                nodes.append(self.set(match.end()))
            elif char == "$":
                self.dollar(nodes)
            elif char == "#":
                end = self.hash(nodes)
                if end:
                    if end not in ends:
                        self.fail(f"There is no open directive that #{end} belongs to")
                    return self.joined(nodes), end
            elif char == "\\":
                self.backslash(nodes)
            else:
                match = PLAIN.match(text, self.at)
                self.at = match.end() if match else length
                nodes.append(Text(match.group() if match else ""))
        return self.joined(nodes), ""

    def body(self, name: str, start: int) -> tuple[Block, int]:
        """Parse the block of a directive and its #end; returns the block and its weight in steps."""
        self.enter(start)
        before = self.shared.nodes
        body, end = self.block(frozenset({"end"}))
        self.shared.depth -= 1
        if not end:
            self.fail(f"#{name} has no #end", start)
        self.finish_end()
        return body, self.shared.nodes - before + 1

    @staticmethod
    def joined(nodes: list[Node]) -> Block:
        """Join neighbouring texts."""
        result: list[Node] = []
        run: list[str] = []
        for node in nodes:
            if isinstance(node, Text):
                run.append(node.text)
                continue
            if run:
                result.append(Text("".join(run)))
                run = []
            result.append(node)
        if run:
            result.append(Text("".join(run)))
        return tuple(result)

    def dollar(self, nodes: list[Node]) -> None:
        """Parse a reference, or take the `$` as text."""
        self.count(self.at)
        reference = self.reference()
        if reference is not None:
            # A reference that is output is no operand, wherever it stands.
            nodes.append(reference)
            return
        text, start = self.text, self.at
        self.at = text.index("$", start) + 1
        nodes.append(Text(text[start : self.at]))
        if ESCAPED_BANG.match(text, self.at) or (
            text.startswith("!", self.at) and not text.startswith(("{", "$", "}", "[", "#"), self.at + 1)
        ):
            self.at += 1

    def backslash(self, nodes: list[Node]) -> None:
        """Parse backslashes: they escape references and directives, otherwise they are text."""
        match = BACKSLASHES.match(self.text, self.at)
        count = match.end() - self.at if match else 0
        following = self.text[self.at + count : self.at + count + 1]
        if following == "$":
            self.dollar(nodes)
            return
        self.at += count
        word, end = self.word(self.at) if following == "#" else ("", 0)
        known = word in ESCAPABLE or word in self.shared.macros
        if word and count % 2:
            nodes.append(Text("\\" * ((count - 1) // 2 if known else count) + self.text[self.at : end]))
            self.at = end
        elif known and word != "set" and (word in CONTROL or self.text[self.at + 1] != "{"):
            nodes.append(Text("\\" * (count // 2)))
        else:
            nodes.append(Text("\\" * count))

    # -- directives ---------------------------------------------------------------------------------------------------

    def word(self, at: int) -> tuple[str, int]:
        """Return the word of `#word` or `#{word}` at the `#`, and where it ends; "" when there is none."""
        match = BRACED_WORD.match(self.text, at + 1)
        if match is not None:
            return match[1], match.end()
        match = WORD.match(self.text, at + 1)
        return (match.group(), match.end()) if match else ("", at + 1)

    def hash(self, nodes: list[Node]) -> str:
        """Parse what a `#` starts; returns the name of a directive that ends a block, without passing it."""
        text, start = self.text, self.at
        following = text[start + 1 : start + 2]
        if following == "#":
            match = LINE_COMMENT.match(text, start)
            self.at = match.end() if match else len(text)
        elif following == "*":
            close = text.find("*#", start + 2)
            self.at = close + 2 if close >= 0 else len(text)
        elif text.startswith("#[[", start):
            close = text.find("]]#", start + 3)
            if close < 0:
                self.fail("#[[ has no ]]#", start)
            nodes.append(Text(text[start + 3 : close]))
            self.at = close + 3
        else:
            return self.directive(nodes)
        return ""

    def directive(self, nodes: list[Node]) -> str:
        """Parse `#word...`; see `hash`."""
        start = self.at
        word, end = self.word(start)
        if word in {"end", "else", "elseif"}:
            return word
        if not word:
            nodes.append(Text("#"))
            self.at = start + 1
            return ""
        self.count(start)
        self.at = end
        if word == "if":
            nodes.append(self.conditional(start))
        elif word in DIRECTIVES:
            node = self.named(word, start)
            if node is not None:
                nodes.append(node)
        else:
            nodes.append(self.macro_call(word, start))
        return ""

    def named(self, word: str, start: int) -> Node | None:
        """Parse the directive `word` behind its name."""
        if word == "macro":
            self.macro(start)
            return None
        if word == "foreach":
            return self.foreach(start)
        if word == "define":
            return self.define(start)
        return self.literal(start) if word == "literal" else self.simple(word, start)

    def simple(self, word: str, start: int) -> Node:
        """Parse a directive that has no block."""
        arguments = self.directive_arguments(word)
        if word == "stop":
            return Stop(start)
        if word == "include":
            return Include(tuple(argument.value for argument in arguments or ()), start)
        if word == "break":
            if arguments is not None and len(arguments) > 1:
                self.fail("#break takes at most one argument", start)
            return Break(arguments[0].value if arguments else None, start)
        if arguments is None or len(arguments) != 1:
            self.fail(f"#{word} takes exactly one argument", start)
        return Parse(arguments[0].value, start) if word == "parse" else Evaluate(arguments[0].value, start)

    def line_end(self) -> None:
        """Pass blanks and a line end, when there is a line end."""
        match = BLANK_LINE_END.match(self.text, self.at)
        if match is not None:
            self.at = match.end()

    def finish_end(self) -> None:
        """Pass the `#end` or `#else` at the current place."""
        self.at = self.word(self.at)[1]
        self.line_end()

    def close(self, where: str) -> None:
        """Pass the `)` of a directive."""
        self.skip_space()
        self.expect(")", where)
        self.line_end()

    def set(self, inside: int) -> Set:
        """Parse `#set(...)` behind its parenthesis."""
        start = self.at
        self.count(start)
        self.at = inside
        self.skip_space()
        target = self.expression_reference()
        self.skip_space()
        if self.text.startswith("==", self.at):
            self.fail("Expected '=' in #set, found '=='")
        self.expect("=", "in #set")
        value = self.expression()
        self.close("at the end of #set")
        return Set(target, value, start, inside_if=self.inside_if > 0)

    def condition(self, word: str) -> Expression:
        """Parse `(expression)` of #if and #elseif."""
        self.skip_space()
        self.expect("(", f"after #{word}")
        condition = self.expression()
        self.close(f"at the end of #{word}")
        return condition

    def conditional(self, start: int) -> If:
        """Parse #if behind its name, to its #end."""
        branches: list[tuple[Expression, Block]] = []
        self.inside_if += 1
        self.enter(start)
        condition = self.condition("if")
        block, end = self.block(frozenset({"end", "else", "elseif"}))
        branches.append((condition, block))
        while end == "elseif":
            self.count(self.at)
            self.at = self.word(self.at)[1]
            condition = self.condition("elseif")
            block, end = self.block(frozenset({"end", "else", "elseif"}))
            branches.append((condition, block))
        otherwise: Block = ()
        if end == "else":
            self.finish_end()
            otherwise, end = self.block(frozenset({"end"}))
        if not end:
            self.fail("#if has no #end", start)
        self.finish_end()
        self.inside_if -= 1
        self.shared.depth -= 1
        return If(tuple(branches), otherwise, start)

    def directive_arguments(self, word: str) -> list[Argument] | None:
        """Parse `(a b, c)` behind a directive's name; None, and nothing passed, when there is no parenthesis."""
        match = SPACE.match(self.text, self.at)
        opening = match.end() if match else self.at
        if not self.text.startswith("(", opening):
            return None
        self.at = opening + 1
        arguments: list[Argument] = []
        while True:
            self.skip_space()
            comma = self.peek() == ","
            if comma:
                self.at += 1
                self.skip_space()
            if self.peek() == ")" and not comma:
                break
            arguments.append(self.directive_argument(word))
        self.close(f"at the end of #{word}")
        return arguments

    def directive_argument(self, word: str) -> Argument:
        """Parse one argument: a value or a word."""
        start = self.at
        char = self.peek()
        match = WORD.match(self.text, start)
        if match and match.group() not in {"true", "false"}:
            name = match.group()
            if name in {"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge"}:
                self.fail(f"Expected a value in #{word}, found the operator {name!r}")
            self.at = match.end()
            return Argument(Literal(name), name, start, word=True)
        if not (char in LETTERS or char in NUMBER_START or char in set("$\\\"'[{")) or not char:
            self.fail(
                f"Expected a value or ')' in #{word}, found {self.found()}",
                hint=f"a comment '#{word}(' needs #[[ ]]# around it or a blank behind the #",
            )
        value = self.value(start)
        return Argument(value, self.text[start : self.at], start)

    def no_words(self, arguments: list[Argument], word: str) -> None:
        """Refuse bare words as arguments."""
        for argument in arguments:
            if argument.word:
                self.fail(f"'{argument.text}' is no value for #{word}", argument.offset, "text stands in quotes")

    def foreach(self, start: int) -> Foreach:
        """Parse #foreach behind its name, to its #end."""
        arguments = self.directive_arguments("foreach") or []
        if (
            len(arguments) != 3
            or not isinstance(arguments[0].value, Reference)
            or not arguments[1].word
            or arguments[2].word
        ):
            self.fail("#foreach is written #foreach($item in $list)", start)
        root, items = arguments[0].value.root, arguments[2]
        body, weight = self.body("foreach", start)
        return Foreach(root, items.value, items.text, items.offset, body, weight, start)

    def macro(self, start: int) -> None:
        """Parse #macro behind its name, to its #end; the first definition of a name wins."""
        arguments = self.directive_arguments("macro")
        if not arguments or not arguments[0].word:
            self.fail("#macro is written #macro(name $argument ...)", start)
        parameters: list[str] = []
        for argument in arguments[1:]:
            if not isinstance(argument.value, Reference) or argument.value.steps:
                self.fail(f"'{argument.text}' is no parameter of a macro", argument.offset)
            parameters.append(argument.value.name)
        body, weight = self.body("macro", start)
        name = arguments[0].text
        self.shared.macros.setdefault(name, MacroDefinition(name, tuple(parameters), body, weight, self.source))

    def define(self, start: int) -> Define:
        """Parse #define behind its name, to its #end."""
        arguments = self.directive_arguments("define") or []
        if len(arguments) != 1 or not isinstance(arguments[0].value, Reference):
            self.fail("#define is written #define($name)", start)
        return Define(arguments[0].value.name, *self.body("define", start), start)

    def literal(self, start: int) -> Text:
        """Parse #literal() behind its name; its block is text, but must be well-formed."""
        if self.directive_arguments("literal") is None:
            self.fail("#literal is written #literal() ... #end", start)
        inside = self.at
        self.enter(start)
        _, end = self.block(frozenset({"end"}))
        self.shared.depth -= 1
        if not end:
            self.fail("#literal has no #end", start)
        text = self.text[inside : self.at]
        self.finish_end()
        return Text(text)

    def macro_call(self, word: str, start: int) -> MacroCall | Text:
        """Parse `#word...` that is no directive: a macro's call or just text, which shows when it is rendered."""
        arguments = self.directive_arguments(word)
        name, body, weight = word, None, 1
        if word.startswith("@"):
            if arguments is None:
                return Text(self.text[start : self.at])
            name = word[1:]
            body, weight = self.body(word, start)
        if name in self.shared.macros:
            self.no_words(arguments or [], word)
        text = self.text[start : self.at]
        return MacroCall(name, tuple(arguments or ()), body, weight, text, arguments is not None, start)
