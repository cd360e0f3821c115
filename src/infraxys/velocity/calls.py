"""Compiles `.name(arguments)`. Methods of hosts are called directly, those of plain values through their table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infraxys.velocity.errors import VelocityError
from infraxys.velocity.methods import find_method, known_members
from infraxys.velocity.objects import host_function
from infraxys.velocity.values import a_type, type_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from infraxys.velocity.methods import Invoke
    from infraxys.velocity.references import ValueCompiler
    from infraxys.velocity.runtime import Evaluate, Runtime

    Apply = Callable[[Runtime, Any], Any]


class Method:
    """A method by its name and number of arguments, found anew for each type of value and then remembered.

    `direct` has the functions of hosts that need nothing but the object and the arguments.
    """

    __slots__ = ("compiler", "count", "direct", "methods", "name", "offset")

    def __init__(self, compiler: ValueCompiler, name: str, count: int, offset: int) -> None:
        self.compiler = compiler
        self.name = name
        self.count = count
        self.offset = offset
        self.direct: dict[type, Callable[..., object]] = {}
        self.methods: dict[type, Invoke | None] = {}

    def find(self, kind: type) -> Invoke | None:
        """Find the method of a type."""
        function = host_function(kind, self.name, self.count)
        if function is not None:
            self.direct[kind] = function
        method = self.methods[kind] = find_method(kind, self.name, self.count)
        return method

    def attempt(self, rt: Runtime, value: object, given: list[Any]) -> object:
        """Call the method; NotImplemented when the value has none for these arguments."""
        kind = type(value)
        method = self.methods[kind] if kind in self.methods else self.find(kind)
        if method is None:
            return NotImplemented
        try:
            return method(rt.budget, value, given)
        except Exception as error:  # noqa: BLE001 - reraised with its place
            self.failed(error, value)

    def call(self, rt: Runtime, value: object, given: list[Any]) -> object:
        """Call the method; null, or in strict mode an error, when the value has none for these arguments."""
        result = self.attempt(rt, value, given)
        if result is not NotImplemented:
            return result
        if self.compiler.strict:
            types = ", ".join(type_name(argument) for argument in given)
            message = f"{a_type(value, capital=True)} does not contain method {self.name}({types})"
            error = VelocityError(message, snippet=f".{self.name}").among(self.name, known_members(value))
            self.compiler.fail(error, self.offset)
        return None

    def failed(self, error: Exception, value: object) -> NoReturn:
        """Raise on what the method raised."""
        self.compiler.reraise(error, f"Method '{self.name}' of {a_type(value)}", self.offset)


def call_of(method: Method, arguments: list[Evaluate]) -> Apply:
    """Compile a call, with closures of their own for the most frequent numbers of arguments."""
    if not arguments:
        return call_none(method)
    if len(arguments) == 1:
        return call_one(method, arguments[0])
    direct = method.direct

    def run(rt: Runtime, value: Any) -> object:
        given = [argument(rt) for argument in arguments]
        function = direct.get(type(value))
        if function is None:
            return method.call(rt, value, given)
        try:
            return function(value, *given)
        except Exception as error:  # noqa: BLE001 - reraised with its place
            method.failed(error, value)

    return run


def call_none(method: Method) -> Apply:
    """Compile a call without arguments."""
    direct = method.direct

    def run(rt: Runtime, value: Any) -> object:
        function = direct.get(type(value))
        if function is None:
            return method.call(rt, value, [])
        try:
            return function(value)
        except Exception as error:  # noqa: BLE001 - reraised with its place
            method.failed(error, value)

    return run


def call_one(method: Method, argument: Evaluate) -> Apply:
    """Compile a call with one argument."""
    direct = method.direct

    def run(rt: Runtime, value: Any) -> object:
        given = argument(rt)
        function = direct.get(type(value))
        if function is None:
            return method.call(rt, value, [given])
        try:
            return function(value, given)
        except Exception as error:  # noqa: BLE001 - reraised with its place
            method.failed(error, value)

    return run
