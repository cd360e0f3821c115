"""Compiles a tree to closures that write to the output of a `Runtime`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from infraxys.velocity.errors import LimitError, ResourceError, VelocityError
from infraxys.velocity.loops import loop_of
from infraxys.velocity.nodes import (
    Argument,
    Block,
    Define,
    Expression,
    Foreach,
    If,
    Include,
    Literal,
    MacroCall,
    Node,
    Parse,
    Reference,
    Set,
    Text,
    Tree,
)
from infraxys.velocity.nodes import Break as BreakNode
from infraxys.velocity.nodes import (
    Evaluate as EvaluateNode,
)
from infraxys.velocity.objects import Loop
from infraxys.velocity.parser import parse
from infraxys.velocity.references import ValueCompiler
from infraxys.velocity.runtime import Break, MacroScope, Stop
from infraxys.velocity.values import a_type, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infraxys.velocity.runtime import Evaluate, EvaluateIn, Render, Runtime, Scope

BODY_CONTENT = "bodyContent"


@dataclass(frozen=True, slots=True)
class CompiledMacro:
    """A macro's parameters and body."""

    parameters: tuple[str, ...]
    body: Render
    weight: int


@dataclass(frozen=True, slots=True)
class Unit:
    """A template compiled for strict or lenient mode."""

    body: Render
    weight: int
    macros: Mapping[str, CompiledMacro]


def compile_tree(tree: Tree, *, strict: bool) -> Unit:
    """Compile a template with the macros that it defines."""
    body = BlockCompiler(tree.source, strict=strict).block(tree.body)
    macros = {
        macro.name: CompiledMacro(
            macro.parameters, BlockCompiler(macro.source, strict=strict).block(macro.body), macro.weight
        )
        for macro in tree.macros.values()
    }
    return Unit(body, tree.weight, macros)


class Deferred:
    """A block that is rendered when its text is needed: what #define and the body of `#@macro` leave in a variable."""

    VTL_METHODS: ClassVar[frozenset[str]] = frozenset({"toString"})
    __slots__ = ("body", "depth", "runtime", "scope", "weight")

    def __init__(self, runtime: Runtime, body: Render, weight: int) -> None:
        self.weight = weight
        self.runtime = runtime
        self.scope = runtime.scope
        self.body = body
        self.depth = 0

    def toString(self) -> str:  # noqa: N802 - the name that templates use
        """Render the block into a string, in the scope where it was written."""
        before = self.runtime.enter(self.scope)
        try:
            return self.runtime.captured(self.render)
        finally:
            self.runtime.enter(before)

    def render(self, runtime: Runtime) -> None:
        """Render the block to the output, in the scope where it is used; #break in it ends just the block."""
        if self.depth >= runtime.budget.limits.macro_depth:
            raise LimitError(f"A block uses itself more than {self.depth} levels deep")
        runtime.budget.spend(self.weight)
        self.depth += 1
        try:
            self.body(runtime)
        except Break as stop:
            if stop.scope is not None:
                raise
        finally:
            self.depth -= 1


class BlockCompiler(ValueCompiler):
    """Compiles the blocks of one source for one mode."""

    def block(self, nodes: Block) -> Render:
        """Compile a block: its parts write one after the other."""
        parts: list[Render] = []
        prefix = ""
        for node in nodes:
            if isinstance(node, Text):
                prefix += node.text
            elif isinstance(node, Reference) and not node.backslashes:
                parts.append(self.output(node, prefix))
                prefix = ""
            else:
                if prefix:
                    parts.append(text_part(prefix))
                    prefix = ""
                parts.append(self.node(node))
        if prefix:
            parts.append(text_part(prefix))
        return sequence(tuple(parts))

    def node(self, node: Node) -> Render:
        """Compile a directive or an escaped reference."""
        if isinstance(node, Reference):
            return self.escaped(node)
        if isinstance(node, Set):
            return self.set(node)
        if isinstance(node, If):
            return self.conditional(node)
        if isinstance(node, Foreach):
            return loop_of(self, node, self.block(node.body))
        if isinstance(node, MacroCall):
            return self.macro_call(node)
        return self.rare(node)

    def rare(self, node: Node) -> Render:
        """Compile a directive of the rarer kind."""
        if isinstance(node, Define):
            return self.define(node)
        if isinstance(node, Parse):
            return self.parse(node)
        if isinstance(node, Include):
            return self.include(node)
        if isinstance(node, EvaluateNode):
            return self.evaluate(node)
        if isinstance(node, BreakNode):
            return self.break_(node)
        return stop

    # -- references ---------------------------------------------------------------------------------------------------

    def output(self, node: Reference, prefix: str) -> Render:
        """Compile a reference that is output, behind a text."""
        if not node.steps and not self.strict:
            return self.output_variable(node, prefix)
        value = self.reference(node, strict=self.strict)
        null, shown = self.null_text(node), self.shown

        def with_prefix(rt: Runtime) -> None:
            write = rt.write
            write(prefix)
            found = value(rt)
            if type(found) is str:
                write(found)
            elif found is None:
                write(null(rt))
            else:
                write(shown(rt, found, node))

        def without_prefix(rt: Runtime) -> None:
            found = value(rt)
            if type(found) is str:
                rt.write(found)
            elif found is None:
                rt.write(null(rt))
            else:
                rt.write(shown(rt, found, node))

        return with_prefix if prefix else without_prefix

    def output_variable(self, node: Reference, prefix: str) -> Render:
        """Compile a bare variable that is output, in lenient mode, behind a text."""
        null, shown, name = self.null_text(node), self.shown, node.root

        def run(rt: Runtime) -> None:
            if prefix:
                rt.write(prefix)
            try:
                found = rt.get(name)
            except Exception as error:  # noqa: BLE001 - reraised with its place
                self.reraise(error, f"Reading ${name}", node.offset)
            if type(found) is str:
                rt.write(found)
            elif found is None:
                rt.write(null(rt))
            else:
                rt.write(shown(rt, found, node))

        return run

    def shown(self, rt: Runtime, value: object, node: Reference) -> str:
        """Return the text of a value; a block writes its text itself, so that it stays when it ends with #stop."""
        if type(value) is int:
            return str(value)
        try:
            if type(value) is Deferred and value.runtime is rt:
                value.render(rt)
                return ""
            return to_text(value, rt.budget)
        except Exception as error:  # noqa: BLE001 - reraised with its place
            self.reraise(error, f"The text of {node.text}", node.offset)

    def null_text(self, node: Reference) -> Callable[[Runtime], str]:
        """Compile what stands in the output for null: nothing, the source, or a macro's argument as it was written."""
        if node.quiet:
            return lambda _rt: ""
        if self.strict:

            def refuse(_rt: Runtime) -> str:
                message = f"Reference {node.text} evaluated to null when attempting to render"
                self.fail(
                    VelocityError(message, snippet=node.text, hint="$! instead of $ would print nothing"), node.offset
                )

            return refuse
        return self.source_text(node)

    @staticmethod
    def source_text(node: Reference) -> Callable[[Runtime], str]:
        """Compile the source of a reference; a macro's parameter has the source of its argument."""
        text, name = node.text, node.root
        if text != "$" + name:
            return lambda _rt: text
        return lambda rt: rt.scope.literal(name) or text

    def escaped(self, node: Reference) -> Render:
        """Compile a reference behind backslashes."""
        value = self.reference(node, strict=self.strict)
        half = "\\" * (node.backslashes // 2)
        source = self.source_text(node)
        if node.backslashes % 2:

            def verbatim(rt: Runtime) -> None:
                found = value(rt)
                rt.write(half + ("\\" if found is None else "") + source(rt))

            return verbatim
        null = self.null_text(node)

        def halved(rt: Runtime) -> None:
            found = value(rt)
            # As in the original, a block writes itself and nothing before it.
            prefix = half + half if found is None else "" if type(found) is Deferred else half
            rt.write(prefix + (null(rt) if found is None else self.shown(rt, found, node)))

        return halved

    # -- #set and #if -------------------------------------------------------------------------------------------------

    def set(self, node: Set) -> Render:
        """Compile #set; null leaves the variable as it is, in strict mode it sets null."""
        value = self.operand(node.value, inside_if=node.inside_if)
        assign, offset, strict = self.assign(node.target), node.offset, self.strict
        name = node.target.name if not node.target.steps else None

        def run(rt: Runtime) -> None:
            try:
                found = value(rt)
                if found is None and not strict:
                    return
                if name is not None:
                    rt.scope.set(name, found)
                else:
                    assign(rt, found)
            except VelocityError as error:
                error.locate(self.source, offset)
                raise

        return run

    def conditional(self, node: If) -> Render:
        """Compile #if, #elseif and #else."""
        branches = tuple((self.truth(test, inside_if=True), self.block(block)) for test, block in node.branches)
        otherwise = self.block(node.otherwise) if node.otherwise else None
        if len(branches) == 1:
            return if_else(*branches[0], otherwise)

        def run(rt: Runtime) -> None:
            for test, block in branches:
                if test(rt):
                    block(rt)
                    return
            if otherwise is not None:
                otherwise(rt)

        return run

    # -- macros -------------------------------------------------------------------------------------------------------

    def macro_call(self, node: MacroCall) -> Render:
        """Compile `#name(...)`: which macro it is, if any, shows when it is rendered."""
        name, offset, weight = node.name, node.offset, node.weight
        arguments = tuple((self.argument(argument.value), literal_text(argument)) for argument in node.arguments)
        body = self.block(node.body) if node.body is not None else None

        def run(rt: Runtime) -> None:
            macro = rt.macros.get(name)
            if macro is None:
                self.not_a_macro(rt, node)
                return
            self.refuse_words(node)
            rt.budget.spend(macro.weight)
            if rt.macro_depth >= rt.budget.limits.macro_depth:
                self.fail(
                    LimitError(f"Macros call one another more than {rt.macro_depth} levels deep at #{name}"), offset
                )
            scope = MacroScope(rt, rt.scope, dict(zip(macro.parameters, arguments, strict=False)))
            if body is not None:
                if len(arguments) < len(macro.parameters):
                    scope.declare(macro.parameters[len(arguments)])
                scope.locals[BODY_CONTENT] = Deferred(rt, body, weight)
            before = rt.enter(scope)
            rt.macro_depth += 1
            try:
                macro.body(rt)
            except Break as stop:
                if stop.scope is not None:
                    raise
            finally:
                rt.macro_depth -= 1
                rt.enter(before)

        return run

    def argument(self, node: Expression) -> EvaluateIn:
        """Compile an argument: it is evaluated at each use, in the scope of the call."""
        if isinstance(node, Literal):
            constant = node.value
            return lambda _rt, _caller: constant
        if isinstance(node, Reference) and not node.steps:
            return self.variable_argument(node)
        value = self.value(node)
        return lambda rt, caller: rt.within(caller, value)

    def variable_argument(self, node: Reference) -> EvaluateIn:
        """Compile an argument that is just a variable, which needs no change of scope."""
        name, offset, strict = node.root, node.offset, self.strict

        def get(rt: Runtime, caller: Scope) -> object:
            try:
                value = caller.get(name)
                if value is None and strict and not caller.has(name):
                    self.undefined(rt, node)
            except Exception as error:  # noqa: BLE001 - reraised with its place
                self.reraise(error, f"Reading ${name}", offset)
            return value

        return get

    def not_a_macro(self, rt: Runtime, node: MacroCall) -> None:
        """Write `#name(...)` as the text that it is; in strict mode parentheses make it an error."""
        if self.strict and node.parenthesised:
            self.refuse_words(node)
            error = VelocityError(f"Macro '#{node.name}' is not defined", snippet=node.text)
            if not error.among(node.name, rt.macros, "#").suggestions:
                error.hint = f"a comment '#{node.name}(' needs #[[ ]]# around it or a blank behind the #"
            self.fail(error, node.offset)
        rt.write(node.text)

    def refuse_words(self, node: MacroCall) -> None:
        """Refuse bare words as arguments."""
        for argument in node.arguments:
            if argument.word:
                self.fail(VelocityError(f"Invalid arg '{argument.text}' in macro #{node.name}"), argument.offset)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def define(self, node: Define) -> Render:
        """Compile #define: the block is rendered where the variable is."""
        body, name, weight = self.block(node.body), node.name, node.weight

        def run(rt: Runtime) -> None:
            rt.scope.set(name, Deferred(rt, body, weight))

        return run

    def file(self, rt: Runtime, name: str, word: str, offset: int) -> str:
        """Return the text of a file of the render."""
        text = rt.files.get(name)
        if text is None:
            self.fail(ResourceError(f"#{word} does not find the file {name!r}").among(name, rt.files), offset)
        return text

    def nested(self, rt: Runtime, key: str, name: str, text: str, offset: int) -> None:
        """Render another template in the current scope; its macros stay."""
        if rt.depth >= rt.budget.limits.template_depth:
            self.fail(LimitError(f"#parse and #evaluate are nested more than {rt.depth} levels deep"), offset)
        unit = rt.units.get(key)
        if unit is None:
            rt.budget.spend(len(text) // 2 + 1)
            unit = rt.units[key] = compile_tree(parse(text, name), strict=self.strict)
        rt.budget.spend(unit.weight)
        if unit.macros:
            rt.macros = {**unit.macros, **rt.macros}
        rt.depth += 1
        try:
            unit.body(rt)
        finally:
            rt.depth -= 1

    def parse(self, node: Parse) -> Render:
        """Compile #parse."""
        value, offset = self.value(node.argument), node.offset

        def run(rt: Runtime) -> None:
            found = value(rt)
            if found is None:
                return
            name = to_text(found, rt.budget)
            try:
                self.nested(rt, "parse:" + name, name, self.file(rt, name, "parse", offset), offset)
            except Break as stop:
                if stop.scope is not None:
                    raise

        return run

    def include(self, node: Include) -> Render:
        """Compile #include."""
        values, offset = [self.value(argument) for argument in node.arguments], node.offset

        def run(rt: Runtime) -> None:
            for number, value in enumerate(values):
                found = value(rt)
                if found is None:
                    rt.write(f"<!-- include error : error with arg {number} please see log. see error log -->")
                else:
                    rt.write(self.file(rt, to_text(found, rt.budget), "include", offset))

        return run

    def evaluate(self, node: EvaluateNode) -> Render:
        """Compile #evaluate; #stop and #break in its text end just that text."""
        value, offset, name = self.value(node.argument), node.offset, f"{self.source.name} #evaluate"

        def run(rt: Runtime) -> None:
            found = value(rt)
            if found is None:
                return
            text = to_text(found, rt.budget)
            try:
                self.nested(rt, "evaluate:" + text, name, text, offset)
            except Stop:
                return
            except Break as stop:
                if stop.scope is not None:
                    raise

        return run

    def break_(self, node: BreakNode) -> Render:
        """Compile #break."""
        if node.scope is None:
            return break_nearest
        value, offset = self.value(node.scope), node.offset

        def run(rt: Runtime) -> None:
            loop = value(rt)
            if not isinstance(loop, Loop):
                self.fail(VelocityError(f"#break takes a loop like $foreach, not {a_type(loop)}"), offset)
            raise Break(loop)

        return run


def literal_text(argument: Argument) -> str:
    """Return what an escaped or null parameter shows instead of its name: nothing else for numbers and booleans."""
    plain = isinstance(argument.value, Literal) and not isinstance(argument.value.value, str)
    return "" if plain else argument.text


def if_else(test: Evaluate, then: Render, otherwise: Render | None) -> Render:
    """Return the closure of an #if without #elseif."""
    if otherwise is None:

        def run_if(rt: Runtime) -> None:
            if test(rt):
                then(rt)

        return run_if

    def run_if_else(rt: Runtime) -> None:
        if test(rt):
            then(rt)
        else:
            otherwise(rt)

    return run_if_else


def text_part(text: str) -> Render:
    """Return the closure that writes a text."""

    def run(rt: Runtime) -> None:
        rt.write(text)

    return run


def stop(_rt: Runtime) -> None:
    """Do #stop."""
    raise Stop


def break_nearest(_rt: Runtime) -> None:
    """Do #break."""
    raise Break


def sequence(parts: tuple[Render, ...]) -> Render:
    """Return the closure that runs all parts; what repeats a block pays for it."""
    if len(parts) == 1:
        return parts[0]

    def run(rt: Runtime) -> None:
        for part in parts:
            part(rt)

    return run
