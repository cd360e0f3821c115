"""Compiles expressions to closures that take the `Runtime` and return a value.

Strict and lenient mode are compiled apart, so that a render never asks which one it is in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from infraxys.velocity.errors import (
    LimitError,
    MethodError,
    Source,
    UndefinedReferenceError,
    VelocityError,
    close_names,
)
from infraxys.velocity.methods import find_method, find_property, known_members
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
    MapLiteral,
    Not,
    Property,
    Range,
    Reference,
    Step,
)
from infraxys.velocity.objects import host_setter
from infraxys.velocity.runtime import Break, Stop
from infraxys.velocity.values import ORDER, calculate, equal, is_number, to_text, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from infraxys.velocity.runtime import Evaluate, Render, Runtime

    Apply = Callable[[Runtime, Any], Any]

CONTROL = (Break, Stop)


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

    def wrapped(self, error: Exception, what: str, offset: int) -> VelocityError:
        """Return what to raise for an exception of a method or of the host."""
        if isinstance(error, VelocityError):
            return error.locate(self.source, offset)
        if isinstance(error, RecursionError):
            return LimitError("The template calls too deeply").locate(self.source, offset)
        # Built-in exceptions are mistakes of the host: their text is for its log (it is the cause), not for authors.
        own = type(error).__module__ == "builtins" and not isinstance(error, ValueError)
        reason = type(error).__name__ if own else str(error)
        return MethodError(f"{what} failed: {reason}", snippet=what).locate(self.source, offset)

    # -- values -------------------------------------------------------------------------------------------------------

    def value(self, node: Expression, *, operand: bool = False) -> Evaluate:
        """Compile a value; `operand` says that strict mode allows it to be an unset variable."""
        if isinstance(node, Reference):
            return self.reference(node, strict=self.strict and not (operand and not node.steps))
        if isinstance(node, Literal):
            constant = node.value
            return lambda _rt: constant
        if isinstance(node, Binary):
            return self.binary(node)
        if isinstance(node, Logical | Not):
            return self.truth(node, operand=operand)
        if isinstance(node, Interpolated):
            render = type(self)(node.source, strict=self.strict).block(node.body)
            return lambda rt: rt.captured(render)
        return self.collection(node)

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
                    raise VelocityError(f"A {type_name(name)} cannot be the key of a map")
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

    def truth(self, node: Expression, *, operand: bool) -> Evaluate:
        """Compile a condition. Null and false are false, and so is any literal and sum but `true`."""
        if isinstance(node, Reference):
            value = self.value(node, operand=operand)

            def test(rt: Runtime) -> bool:
                found = value(rt)
                return found is not None and found is not False

            return test
        if isinstance(node, Logical):
            left, right = self.truth(node.left, operand=operand), self.truth(node.right, operand=operand)
            if node.operator == "and":
                return lambda rt: left(rt) and right(rt)
            return lambda rt: left(rt) or right(rt)
        if isinstance(node, Not):
            inner = self.truth(node.operand, operand=operand)
            return lambda rt: not inner(rt)
        if isinstance(node, Binary) and node.operator not in {"+", "-", "*", "/", "%"}:
            return self.binary(node)
        if isinstance(node, Literal):
            constant = node.value is True
            return lambda _rt: constant
        value = self.value(node)

        def always_false(rt: Runtime) -> bool:
            value(rt)
            return False

        return always_false

    def binary(self, node: Binary) -> Evaluate:
        """Compile a comparison or calculation."""
        left, right = self.value(node.left), self.value(node.right)
        if node.operator == "==":
            return self.equality(left, right, same=True)
        if node.operator == "!=":
            return self.equality(left, right, same=False)
        if node.operator in ORDER:
            return self.order(node, left, right)
        operator, left_text, right_text = node.operator, node.left_text, node.right_text

        def arithmetic(rt: Runtime) -> object:
            return calculate(operator, left(rt), right(rt), rt.budget)

        if operator != "+":
            return arithmetic

        def add(rt: Runtime) -> object:
            one, two = left(rt), right(rt)
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

    def order(self, node: Binary, left: Evaluate, right: Evaluate) -> Evaluate:
        """Compile `<` and its like: false unless both sides are numbers, in strict mode an error."""
        compare, strict, operator = ORDER[node.operator], self.strict, node.operator
        texts, offset = (node.left_text.strip(), node.right_text.strip()), node.offset

        def ordered(rt: Runtime) -> bool:
            one, two = left(rt), right(rt)
            if is_number(one) and is_number(two):
                return compare(one, two)
            if strict:
                self.fail(unordered(operator, (one, two), texts), offset)
            return False

        return ordered

    # -- references ---------------------------------------------------------------------------------------------------

    def reference(self, node: Reference, *, strict: bool) -> Evaluate:
        """Compile the value of a reference."""
        root = self.root(node, strict=strict)
        if not node.steps:
            return root
        steps = tuple(self.step(step) for step in node.steps)
        if strict:
            return self.strict_chain(node, root, steps)
        if len(steps) == 1:
            (only,) = steps

            def single(rt: Runtime) -> Any:  # noqa: ANN401 - a value of a template
                value = root(rt)
                return None if value is None else only(rt, value)

            return single

        def chain(rt: Runtime) -> Any:  # noqa: ANN401 - a value of a template
            value = root(rt)
            for step in steps:
                if value is None:
                    return None
                value = step(rt, value)
            return value

        return chain

    def root(self, node: Reference, *, strict: bool) -> Evaluate:
        """Compile the look-up of a variable."""
        name, offset, text = node.root, node.offset, node.text

        def lenient_get(rt: Runtime) -> Any:  # noqa: ANN401 - a value of a template
            try:
                return rt.get(name)
            except CONTROL:
                raise
            except Exception as error:
                raise self.wrapped(error, f"Reading ${name}", offset) from error

        def strict_get(rt: Runtime) -> Any:  # noqa: ANN401 - a value of a template
            try:
                value = rt.get(name)
                if value is None and not rt.scope.has(name):
                    known = close_names(name, rt.scope.names(), "$")
                    self.fail(
                        UndefinedReferenceError(f"Variable ${name} has not been set", snippet=text, suggestions=known),
                        offset,
                    )
            except CONTROL:
                raise
            except Exception as error:
                raise self.wrapped(error, f"Reading ${name}", offset) from error
            return value

        return strict_get if strict else lenient_get

    def strict_chain(self, node: Reference, root: Evaluate, steps: tuple[Apply, ...]) -> Evaluate:
        """Compile a reference with steps that must not come to null on the way."""
        places = [("[" if isinstance(step, Index) else step.name, step.offset) for step in node.steps]

        def chain(rt: Runtime) -> Any:  # noqa: ANN401 - a value of a template
            value = root(rt)
            for number, step in enumerate(steps):
                if value is None:
                    name, offset = places[number]
                    message = f"Attempted to access '{name}' on a null value"
                    self.fail(VelocityError(message, snippet=node.text), offset)
                value = step(rt, value)
            return value

        return chain

    def step(self, step: Step) -> Apply:
        """Compile a property, call or index; it gets a value that is not null."""
        if isinstance(step, Property):
            return self.property(step)
        if isinstance(step, Call):
            return self.call(step.name, [self.value(argument) for argument in step.arguments], step.offset)
        return self.index(step)

    def property(self, step: Property) -> Apply:
        """Compile `.name`."""
        name, offset, strict = step.name, step.offset, self.strict
        getters: dict[type, Callable[[Any], object] | None] = {}

        def get(_rt: Runtime, value: Any) -> object:  # noqa: ANN401 - a value of a template
            kind = type(value)
            try:
                getter = getters[kind]
            except KeyError:
                getter = getters[kind] = find_property(kind, name)
            if getter is not None:
                try:
                    return getter(value)
                except CONTROL:
                    raise
                except Exception as error:
                    raise self.wrapped(error, f"Reading '{name}' of a {type_name(value)}", offset) from error
            if strict:
                known = close_names("get" + name, known_members(value))
                message = f"A {type_name(value)} does not contain property '{name}'"
                self.fail(VelocityError(message, snippet=f".{name}", suggestions=known), offset)
            return None

        return get

    def call(self, name: str, arguments: list[Evaluate], offset: int) -> Apply:
        """Compile `.name(arguments)`."""
        count, strict = len(arguments), self.strict
        methods: dict[type, Any] = {}

        def run(rt: Runtime, value: Any) -> object:  # noqa: ANN401 - a value of a template
            given = [argument(rt) for argument in arguments]
            kind = type(value)
            try:
                method = methods[kind]
            except KeyError:
                method = methods[kind] = find_method(kind, name, count)
            if method is not None:
                try:
                    result = method(rt.budget, value, given)
                except CONTROL:
                    raise
                except Exception as error:
                    what = f"Method '{name}' of a {type_name(value)}"
                    raise self.wrapped(error, what, offset) from error
                if result is not NotImplemented:
                    return result
            if strict:
                types = ", ".join(type_name(argument) for argument in given)
                known = close_names(name, known_members(value))
                message = f"A {type_name(value)} does not contain method {name}({types})"
                self.fail(VelocityError(message, snippet=f".{name}", suggestions=known), offset)
            return None

        return run

    def from_end(self, rt: Runtime, value: object, index: object, offset: int) -> object:
        """Return an index that counts from the start, given one that may be negative."""
        if type(index) is not int or index >= 0:
            return index
        size = self.call("size", [], offset)(rt, value)
        if not isinstance(size, int):
            self.fail(VelocityError(f"A {type_name(value)} has no size(), so the index {index} has no meaning"), offset)
        return size + index

    def index(self, step: Index) -> Apply:
        """Compile `[argument]`: get(argument)."""
        argument, offset = self.value(step.argument), step.offset

        def get(rt: Runtime, value: Any) -> object:  # noqa: ANN401 - a value of a template
            place = self.from_end(rt, value, argument(rt), offset)
            return self.call("get", [lambda _rt: place], offset)(rt, value)

        return get

    # -- assignment ---------------------------------------------------------------------------------------------------

    def assign(self, node: Reference) -> Callable[[Runtime, Any], None]:
        """Compile what `#set(reference = ...)` does with a value."""
        if not node.steps:
            name = node.root

            def set_variable(rt: Runtime, value: object) -> None:
                rt.scope.set(name, value)

            return set_variable
        last = node.steps[-1]
        holder = self.reference(Reference(node.offset, node.text, node.root), strict=self.strict)
        steps = [self.step(step) for step in node.steps[:-1]]
        put = self.put_index(last) if isinstance(last, Index) else self.put_property(last.name, last.offset)
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

        def put(rt: Runtime, target: Any, value: object) -> None:  # noqa: ANN401 - a value of a template
            try:
                if isinstance(target, dict):
                    rt.budget.room(len(target) + 1)
                    target[name] = value
                    return
                setter = host_setter(type(target), name)
                if setter is not None:
                    setter(target, value)
                    return
            except CONTROL:
                raise
            except Exception as error:
                raise self.wrapped(error, f"Setting '{name}' of a {type_name(target)}", offset) from error
            if self.strict:
                self.fail(VelocityError(f"A {type_name(target)} does not contain property '{name}'"), offset)

        return put

    def put_index(self, step: Index) -> Callable[[Runtime, Any, Any], None]:
        """Compile `[argument] = value`: set(argument, value), else put(argument, value)."""
        argument, offset = self.value(step.argument), step.offset

        def put(rt: Runtime, target: Any, value: object) -> None:  # noqa: ANN401 - a value of a template
            index = self.from_end(rt, target, argument(rt), offset)
            for name in ("set", "put"):
                method = find_method(type(target), name, 2)
                if method is None:
                    continue
                try:
                    if method(rt.budget, target, [index, value]) is not NotImplemented:
                        return
                except CONTROL:
                    raise
                except Exception as error:
                    raise self.wrapped(error, f"Method '{name}' of a {type_name(target)}", offset) from error
            if self.strict:
                types = f"{type_name(index)}, {type_name(value)}"
                self.fail(VelocityError(f"A {type_name(target)} has neither set({types}) nor put({types})"), offset)

        return put


def unordered(operator: str, values: tuple[object, object], texts: tuple[str, str]) -> VelocityError:
    """Say why `<` and its like cannot compare."""
    right_null = values[0] is not None and values[1] is None
    side = int(is_number(values[0]) or right_null)
    value, text = values[side], texts[side]
    problem = "has null value" if value is None else f"is not a number but a {type_name(value)}"
    return VelocityError(f"{('Left', 'Right')[side]} side ({text}) of '{operator}' operation {problem}", snippet=text)
