"""Compiles expressions to closures that take the `Runtime` and return a value.

Strict and lenient mode are compiled apart, so that a render never asks which one it is in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from infraxys.velocity.calls import Method, call_of
from infraxys.velocity.errors import (
    LimitError,
    MethodError,
    Source,
    UndefinedReferenceError,
    VelocityError,
)
from infraxys.velocity.methods import find_property, known_members
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
    MapLiteral,
    Not,
    Property,
    Range,
    Reference,
    Step,
)
from infraxys.velocity.objects import host_setter
from infraxys.velocity.runtime import Break, Stop
from infraxys.velocity.values import ARITHMETIC, ORDER, a_type, calculate, equal, is_number, to_text, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from infraxys.velocity.runtime import Evaluate, Render, Runtime

    Apply = Callable[[Runtime, Any], Any]

SMALL = 2**64  # integers below need no look at the limit


class ValueCompiler:
    """Compiles the expressions of one source for one mode; a subclass compiles the blocks inside strings."""

    def __init__(self, source: Source, *, strict: bool) -> None:
        self.source = source
        self.strict = strict

    def block(self, nodes: Block) -> Render:
        """Compile a block."""
        raise NotImplementedError

    # -- errors -------------------------------------------------------------------------------------------------------

    def fail(self, error: VelocityError, offset: int) -> NoReturn:
        """Raise an error with its place."""
        raise error.locate(self.source, offset)

    def reraise(self, error: Exception, what: str, offset: int) -> NoReturn:
        """Raise on, with its place, an exception that a method, the host or a value inside caused."""
        if isinstance(error, VelocityError):
            error.locate(self.source, offset)
        if isinstance(error, VelocityError | Break | Stop):
            raise error
        if isinstance(error, RecursionError):
            raise LimitError("The template calls too deeply").locate(self.source, offset) from None
        # Built-in exceptions are mistakes of the host: their text is for its log (it is the cause), not for authors.
        own = type(error).__module__ == "builtins" and not isinstance(error, ValueError)
        reason = type(error).__name__ if own else str(error)
        raise MethodError(f"{what} failed: {reason}", snippet=what).locate(self.source, offset) from error

    # -- values -------------------------------------------------------------------------------------------------------

    def operand(self, node: Expression, *, inside_if: bool) -> Evaluate:
        """Compile the operand of `!`, `&&`, `||`, parentheses or #if: below an #if it may be an unset variable."""
        if isinstance(node, Reference):
            return self.reference(node, strict=self.strict and not (inside_if and not node.steps))
        return self.value(node, inside_if=inside_if)

    def value(self, node: Expression, *, inside_if: bool = False) -> Evaluate:
        """Compile a value."""
        if isinstance(node, Group):
            return self.operand(node.inside, inside_if=inside_if)
        if isinstance(node, Reference):
            return self.reference(node, strict=self.strict)
        if isinstance(node, Literal):
            constant = node.value
            return lambda _rt: constant
        if isinstance(node, Binary | Logical | Not):
            return self.operation(node, inside_if=inside_if)
        return self.interpolated(node) if isinstance(node, Interpolated) else self.collection(node)

    def interpolated(self, node: Interpolated) -> Evaluate:
        """Compile a string that is a template of its own."""
        render = type(self)(node.source, strict=self.strict).block(node.body)
        return lambda rt: rt.captured(render)

    def operation(self, node: Binary | Logical | Not, *, inside_if: bool) -> Evaluate:
        """Compile an operation."""
        if isinstance(node, Binary):
            return self.binary(node, inside_if=inside_if)
        return self.truth(node, inside_if=inside_if)

    def collection(self, node: ListLiteral | MapLiteral | Range) -> Evaluate:
        """Compile a list, map or range."""
        if isinstance(node, Range):
            return self.range(self.value(node.first), self.value(node.last))
        if isinstance(node, ListLiteral):
            items = [self.value(item) for item in node.items]

            def new_list(rt: Runtime) -> list[object]:
                rt.budget.spend(len(items) + 1)
                return [item(rt) for item in items]

            return new_list
        pairs = [(self.value(key), self.value(item)) for key, item in node.pairs]

        def new_map(rt: Runtime) -> dict[object, object]:
            rt.budget.spend(len(pairs) + 1)
            entries: dict[object, object] = {}
            for key, item in pairs:
                name = key(rt)
                if isinstance(name, list | dict):
                    raise VelocityError(f"{a_type(name, capital=True)} cannot be the key of a map")
                entries[name] = item(rt)
            return entries

        return new_map

    @staticmethod
    def range(first: Evaluate, last: Evaluate) -> Evaluate:
        """Compile `[first..last]`; null unless both ends are numbers."""

        def new_range(rt: Runtime) -> list[int] | None:
            low, high = first(rt), last(rt)
            if not is_number(low) or not is_number(high):
                return None
            low, high = int(low), int(high)
            count = abs(high - low) + 1
            rt.budget.room(count)
            rt.budget.spend(count)
            return list(range(low, high + 1)) if low <= high else list(range(low, high - 1, -1))

        return new_range

    # -- operators ----------------------------------------------------------------------------------------------------

    def truth(self, node: Expression, *, inside_if: bool) -> Evaluate:
        """Compile a condition: null and false are false; so is, unevaluated, any literal or sum but `true`."""
        if isinstance(node, Group):
            return self.truth(node.inside, inside_if=inside_if)
        if isinstance(node, Reference):
            value = self.operand(node, inside_if=inside_if)

            def test(rt: Runtime) -> bool:
                found = value(rt)
                return found is not None and found is not False

            return test
        if isinstance(node, Logical):
            return self.logical(node, inside_if=inside_if)
        if isinstance(node, Not):
            inner = self.truth(node.operand, inside_if=inside_if)
            return lambda rt: not inner(rt)
        if isinstance(node, Binary) and node.operator not in ARITHMETIC:
            return self.binary(node, inside_if=inside_if)
        constant = isinstance(node, Literal) and node.value is True
        return lambda _rt: constant

    def logical(self, node: Logical, *, inside_if: bool) -> Evaluate:
        """Compile `&&` or `||`."""
        left, right = self.truth(node.left, inside_if=inside_if), self.truth(node.right, inside_if=inside_if)
        if node.operator == "and":
            return lambda rt: left(rt) and right(rt)
        return lambda rt: left(rt) or right(rt)

    def binary(self, node: Binary, *, inside_if: bool) -> Evaluate:
        """Compile a comparison or calculation."""
        left, right = self.value(node.left, inside_if=inside_if), self.value(node.right, inside_if=inside_if)
        if node.operator in {"==", "!="} and isinstance(node.right, Literal):
            return self.equality_with(left, node.right.value, same=node.operator == "==")
        if node.operator in {"==", "!="}:
            return self.equality(left, right, same=node.operator == "==")
        if node.operator in ORDER:
            return self.order(node, left, right)
        if node.operator == "+":
            return self.addition(node, left, right)
        operator, operation = node.operator, ARITHMETIC[node.operator]

        def arithmetic(rt: Runtime) -> object:
            one, two = left(rt), right(rt)
            if type(one) is int and type(two) is int and -SMALL < one < SMALL and -SMALL < two < SMALL:
                return operation(one, two)
            return calculate(operator, one, two, rt.budget)

        return arithmetic

    @staticmethod
    def addition(node: Binary, left: Evaluate, right: Evaluate) -> Evaluate:
        """Compile `+`: strings are joined, a null beside a string shows as it is written."""
        left_text, right_text = node.left_text, node.right_text

        def add(rt: Runtime) -> object:
            one, two = left(rt), right(rt)
            if type(one) is int and type(two) is int and -SMALL < one < SMALL and -SMALL < two < SMALL:
                return one + two
            if not (isinstance(one, str) or isinstance(two, str)):
                return calculate("+", one, two, rt.budget)
            budget = rt.budget
            first = one if type(one) is str else left_text if one is None else to_text(one, budget)
            second = two if type(two) is str else right_text if two is None else to_text(two, budget)
            budget.fits(len(first) + len(second))
            return budget.made(first + second)

        return add

    @staticmethod
    def equality(left: Evaluate, right: Evaluate, *, same: bool) -> Evaluate:
        """Compile `==` or `!=`."""

        def compare(rt: Runtime) -> bool:
            one, two = left(rt), right(rt)
            if type(one) is str and type(two) is str:
                return (one == two) is same
            return equal(one, two, rt.budget) is same

        return compare

    @staticmethod
    def equality_with(left: Evaluate, constant: object, *, same: bool) -> Evaluate:
        """Compile `==` or `!=` with a literal on the right."""
        kind = type(constant)

        def compare(rt: Runtime) -> bool:
            one = left(rt)
            if type(one) is kind:
                return (one == constant) is same
            return equal(one, constant, rt.budget) is same

        return compare

    def order(self, node: Binary, left: Evaluate, right: Evaluate) -> Evaluate:
        """Compile `<` and its like: false unless both sides are numbers, in strict mode an error."""
        compare, strict, operator = ORDER[node.operator], self.strict, node.operator
        texts, offset = (node.left_text.strip(), node.right_text.strip()), node.offset

        def ordered(rt: Runtime) -> bool:
            one, two = left(rt), right(rt)
            if (type(one) is int and type(two) is int) or (is_number(one) and is_number(two)):
                return compare(one, two)
            if strict:
                self.fail(unordered(operator, (one, two), texts), offset)
            return False

        return ordered

    # -- references ---------------------------------------------------------------------------------------------------

    def reference(self, node: Reference, *, strict: bool) -> Evaluate:
        """Compile the value of a reference."""
        name, offset = node.root, node.offset

        def root(rt: Runtime) -> Any:
            try:
                return rt.get(name)
            except Exception as error:  # noqa: BLE001 - reraised with its place
                self.reraise(error, f"Reading ${name}", offset)

        if not node.steps:
            return self.strict_root(node) if strict else root
        steps = tuple(self.step(step) for step in node.steps)
        if len(steps) == 1:
            return self.single(node, steps[0], strict=strict)
        if strict:
            return self.strict_chain(node, steps)

        def chain(rt: Runtime) -> Any:
            value = root(rt)
            for step in steps:
                if value is None:
                    return None
                value = step(rt, value)
            return value

        return chain

    def strict_root(self, node: Reference) -> Evaluate:
        """Compile the look-up of a variable that must be set."""
        name, offset = node.root, node.offset

        def root(rt: Runtime) -> Any:
            try:
                value = rt.get(name)
                if value is None and not rt.scope.has(name):
                    self.undefined(rt, node)
            except Exception as error:  # noqa: BLE001 - reraised with its place
                self.reraise(error, f"Reading ${name}", offset)
            return value

        return root

    def undefined(self, rt: Runtime, node: Reference, kind: type[VelocityError] = UndefinedReferenceError) -> NoReturn:
        """Refuse a variable that is not set."""
        message = f"Variable ${node.root} has not been set"
        error = kind(message, snippet=node.text).among(node.root, rt.scope.names(), "$")
        if any(rt.scope.has(name.format(node.root)) for name in ("{{{}}}", "!{}", "!{{{}}}")):
            error.hint = f"braces and ! name another variable where one is set: write ${node.root} there"
        self.fail(error, node.offset)

    def null_access(self, node: Reference, number: int) -> NoReturn:
        """Refuse a step behind null."""
        step = node.steps[number]
        name = "[" if isinstance(step, Index) else step.name
        message = f"Attempted to access '{name}' on a null value"
        self.fail(VelocityError(message, snippet=node.text), step.offset)

    def single(self, node: Reference, step: Apply, *, strict: bool) -> Evaluate:
        """Compile a reference with one step, the most frequent kind."""
        name, offset = node.root, node.offset

        def single(rt: Runtime) -> Any:
            try:
                value = rt.get(name)
            except Exception as error:  # noqa: BLE001 - reraised with its place
                self.reraise(error, f"Reading ${name}", offset)
            if value is not None:
                return step(rt, value)
            if strict:
                if not rt.scope.has(name):
                    self.undefined(rt, node)
                self.null_access(node, 0)
            return None

        return single

    def strict_chain(self, node: Reference, steps: tuple[Apply, ...]) -> Evaluate:
        """Compile a reference with steps that must not come to null on the way."""
        root = self.strict_root(node)

        def chain(rt: Runtime) -> Any:
            value = root(rt)
            for number, step in enumerate(steps):
                if value is None:
                    self.null_access(node, number)
                value = step(rt, value)
            return value

        return chain

    def step(self, step: Step) -> Apply:
        """Compile a property, call or index; it gets a value that is not null."""
        if isinstance(step, Property):
            return self.property(step)
        if isinstance(step, Call):
            method = Method(self, step.name, len(step.arguments), step.offset)
            return call_of(method, [self.value(argument) for argument in step.arguments])
        return self.index(step)

    def property(self, step: Property) -> Apply:
        """Compile `.name`."""
        name, offset, strict = step.name, step.offset, self.strict
        getters: dict[type, Callable[[Any], object] | None] = {}

        def get(_rt: Runtime, value: Any) -> object:
            kind = type(value)
            if kind is dict:
                return value.get(name)
            try:
                getter = getters[kind]
            except KeyError:
                getter = getters[kind] = find_property(kind, name)
            if getter is not None:
                try:
                    return getter(value)
                except Exception as error:  # noqa: BLE001 - reraised with its place
                    self.reraise(error, f"Reading '{name}' of {a_type(value)}", offset)
            if strict:
                message = f"{a_type(value, capital=True)} does not contain property '{name}'"
                refused = VelocityError(message, snippet=f".{name}").among("get" + name, known_members(value))
                self.fail(refused, offset)
            return None

        return get

    def position(self, step: Index) -> Callable[[Runtime, Any], Any]:
        """Compile the argument of an index; a negative one counts from the end."""
        argument, size = self.value(step.argument), Method(self, "size", 0, step.offset)

        def place(rt: Runtime, value: Any) -> object:
            index = argument(rt)
            if type(index) is not int or index >= 0:
                return index
            length = size.attempt(rt, value, [])
            if not isinstance(length, int):
                message = f"{a_type(value, capital=True)} has no size(), so the index {index} has no meaning"
                self.fail(VelocityError(message), step.offset)
            return length + index

        return place

    def index(self, step: Index) -> Apply:
        """Compile `[argument]`: get(argument)."""
        place, method = self.position(step), Method(self, "get", 1, step.offset)

        def get(rt: Runtime, value: Any) -> object:
            index = place(rt, value)
            try:
                return method.call(rt, value, [index])
            except MethodError as error:
                if (error.template, error.line, error.column) != (self.source.name, *self.source.position(step.offset)):
                    raise  # it comes from inside
                # As in the original, this is no method that failed: the template calls none.
                refused = VelocityError(f"Reading {a_type(value)} by an index failed: {error.__cause__}")
                raise refused.locate(self.source, step.offset) from error.__cause__

        return get

    # -- assignment ---------------------------------------------------------------------------------------------------

    def assign(self, node: Reference) -> Callable[[Runtime, Any], None]:
        """Compile what `#set(reference = ...)` does with a value."""
        if not node.steps:
            name = node.name

            def set_variable(rt: Runtime, value: object) -> None:
                rt.scope.set(name, value)

            return set_variable
        last = node.steps[-1]
        holder = self.reference(Reference(node.offset, node.text, node.root), strict=self.strict)
        steps = [self.step(step) for step in node.steps[:-1]]
        put = self.put_index(last) if isinstance(last, Index) else self.put_property(last.name, node.offset)
        strict, offset = self.strict, last.offset
        name = "[" if isinstance(last, Index) else last.name

        def set_member(rt: Runtime, value: object) -> None:
            target = holder(rt)
            if target is None:
                return
            for step in steps:
                target = step(rt, target)
                if target is None:
                    if strict:
                        self.fail(VelocityError(f"Attempted to access '{name}' on a null value"), offset)
                    return
            put(rt, target, value)

        return set_member

    def put_property(self, name: str, offset: int) -> Callable[[Runtime, Any, Any], None]:
        """Compile `.name = value`."""

        def put(rt: Runtime, target: Any, value: object) -> None:
            try:
                if isinstance(target, dict):
                    rt.budget.room(len(target) + 1)
                    target[name] = value
                    return
                setter = host_setter(type(target), name)
                if setter is not None:
                    setter(target, value)
                    return
            except Exception as error:  # noqa: BLE001 - reraised with its place
                self.reraise(error, f"Setting '{name}' of {a_type(target)}", offset)
            if self.strict:
                self.fail(VelocityError(f"{a_type(target, capital=True)} does not contain property '{name}'"), offset)

        return put

    def put_index(self, step: Index) -> Callable[[Runtime, Any, Any], None]:
        """Compile `[argument] = value`: set(argument, value), else put(argument, value)."""
        place, offset = self.position(step), step.offset
        setters = [Method(self, name, 2, offset) for name in ("set", "put")]

        def put(rt: Runtime, target: Any, value: object) -> None:
            index = place(rt, target)
            for setter in setters:
                if setter.attempt(rt, target, [index, value]) is not NotImplemented:
                    return
            if self.strict:
                types = f"{type_name(index)}, {type_name(value)}"
                message = f"{a_type(target, capital=True)} has neither set({types}) nor put({types})"
                self.fail(VelocityError(message), offset)

        return put


def unordered(operator: str, values: tuple[object, object], texts: tuple[str, str]) -> VelocityError:
    """Say why `<` and its like cannot compare."""
    right_null = values[0] is not None and values[1] is None
    side = int(is_number(values[0]) or right_null)
    value, text = values[side], texts[side]
    problem = "has null value" if value is None else f"is not a number but {a_type(value)}"
    return VelocityError(f"{('Left', 'Right')[side]} side ({text}) of '{operator}' operation {problem}", snippet=text)
