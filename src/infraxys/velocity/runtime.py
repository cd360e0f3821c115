"""The state of one render: output, variables and the frames of macros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from infraxys.velocity.compiler import CompiledMacro, Unit
    from infraxys.velocity.limits import Budget

Evaluate: TypeAlias = "Callable[[Runtime], Any]"
EvaluateIn: TypeAlias = "Callable[[Runtime, Scope], Any]"
Render: TypeAlias = "Callable[[Runtime], None]"

MISSING: Any = object()
PLAIN = frozenset({str, int, float, bool, type(None), list, dict})


class Break(Exception):  # noqa: N818 - it steers, it is no error
    """#break: ends the nearest loop, macro, block or file, or the given loop."""

    def __init__(self, scope: object = None) -> None:
        super().__init__()
        self.scope = scope


class Stop(Exception):  # noqa: N818 - it steers, it is no error
    """#stop: ends the render."""


class GlobalScope:
    """The variables of a render over the host's context, which is only read, one name at a time."""

    __slots__ = ("bound", "context", "live", "variables")

    def __init__(self, context: Mapping[str, object], variables: dict[str, object]) -> None:
        self.context = context
        self.variables = variables
        self.bound: dict[str, object] = {}
        self.live: LiveScope | None = None

    def get(self, name: str) -> object:
        """Return a variable; None when it is null or not set."""
        value = self.variables.get(name, MISSING)
        if value is not MISSING:
            return value
        try:
            value = self.context[name]
        except KeyError:
            if name in self.context:
                raise
            return None
        kind = type(value)
        if kind in PLAIN or not hasattr(kind, "vtl_bind"):
            return value
        return self.bind(name, value)

    def bind(self, name: str, value: Any) -> object:
        """Give a host that asks for it the live variables, once a render."""
        if name not in self.bound or self.bound[name][0] is not value:  # type: ignore[index] # pairs, see below
            self.bound[name] = (value, value.vtl_bind(self.live))
        return self.bound[name][1]  # type: ignore[index] # pairs, see above

    def has(self, name: str) -> bool:
        """Whether a variable is set, be it to null."""
        return name in self.variables or name in self.context

    def set(self, name: str, value: object) -> None:
        """Set a variable."""
        self.variables[name] = value

    def save(self, name: str) -> object:
        """Return what `restore` needs to undo later changes of a variable."""
        return self.variables.get(name, MISSING)

    def restore(self, name: str, saved: object) -> None:
        """Give a variable back what it had."""
        if saved is MISSING:
            self.variables.pop(name, None)
        else:
            self.variables[name] = saved

    def literal(self, _name: str) -> str | None:
        """Return the text of the argument that a macro's parameter stands for."""
        return None

    def own(self) -> dict[str, object]:
        """Return the variables that the render itself set."""
        return self.variables

    def names(self) -> Iterable[str]:
        """Return all names."""
        yield from self.variables
        yield from self.context


class MacroScope:
    """The variables inside a macro: what it set, its arguments, then the scope of the call."""

    __slots__ = ("arguments", "caller", "locals", "runtime", "texts")

    def __init__(self, runtime: Runtime, caller: Scope, arguments: dict[str, tuple[EvaluateIn, str]]) -> None:
        self.runtime = runtime
        self.caller = caller
        self.arguments = arguments
        self.locals: dict[str, object] = {}
        self.texts: dict[str, str] = {}  # of arguments that are gone

    def declare(self, name: str) -> None:
        """Count a parameter as given: as in the original, the block of `#@macro` stands for one that is missing."""
        self.arguments[name] = (lambda _runtime, caller: caller.get(name), "")

    def get(self, name: str) -> object:
        """Return a variable; an argument is evaluated in the scope of the call, each time."""
        if name in self.locals:
            return self.locals[name]
        argument = self.arguments.get(name)
        if argument is not None:
            return argument[0](self.runtime, self.caller)
        return self.caller.get(name)

    def has(self, name: str) -> bool:
        """Whether a variable is set."""
        return name in self.locals or name in self.arguments or self.caller.has(name)

    def set(self, name: str, value: object) -> None:
        """Set a variable here and in all scopes around, as the original does."""
        self.locals[name] = value
        self.caller.set(name, value)

    def save(self, name: str) -> object:
        """Return what `restore` needs to undo later changes of a variable."""
        return self.get(name)

    def restore(self, name: str, saved: object) -> None:
        """Give a variable back what it had."""
        if saved is not None:
            self.set(name, saved)
            return
        self.locals.pop(name, None)
        if name in self.arguments:
            self.texts[name] = self.arguments.pop(name)[1]
        self.caller.restore(name, MISSING if isinstance(self.caller, GlobalScope) else None)

    def literal(self, name: str) -> str | None:
        """Return the text of the argument that a parameter stands for."""
        argument = self.arguments.get(name)
        return argument[1] if argument is not None else self.texts.get(name) or self.caller.literal(name)

    def own(self) -> dict[str, object]:
        """Return the variables that the render itself set."""
        return self.caller.own()

    def names(self) -> Iterable[str]:
        """Return all names."""
        yield from self.locals
        yield from self.arguments
        yield from self.caller.names()


Scope: TypeAlias = GlobalScope | MacroScope


class LiveScope:
    """The variables of a running render, for a host that was bound with `vtl_bind`."""

    __slots__ = ("_runtime",)

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def get(self, name: str) -> object:
        """Return a variable; None when it is null or not set."""
        return self._runtime.scope.get(name)

    def put(self, name: str, value: object) -> object:
        """Set a variable, return the value before."""
        before = self._runtime.scope.get(name)
        self._runtime.scope.set(name, value)
        return before

    def contains(self, name: str) -> bool:
        """Whether a variable is set."""
        return self._runtime.scope.has(name)


class Runtime:
    """What the compiled parts of a template share during one render."""

    __slots__ = (
        "budget", "context", "depth", "files", "get", "macro_depth", "macros", "out", "scope", "strict", "units",
        "write",
    )  # fmt: skip

    def __init__(
        self, context: Mapping[str, object], files: Mapping[str, str], budget: Budget, *, strict: bool
    ) -> None:
        self.budget = budget
        self.context = context
        self.files = files
        self.strict = strict
        self.out: list[str] = []
        self.write = self.out.append
        scope = GlobalScope(context, {})
        scope.live = LiveScope(self)
        self.scope: Scope = scope
        self.get = scope.get
        self.macros: Mapping[str, CompiledMacro] = {}
        self.macro_depth = 0
        self.depth = 0
        self.units: dict[str, Unit] = {}

    def enter(self, scope: Scope) -> Scope:
        """Make a scope the current one, return the one before."""
        before = self.scope
        self.scope = scope
        self.get = scope.get
        return before

    def within(self, scope: Scope, evaluate: Evaluate) -> object:
        """Evaluate something in another scope."""
        before = self.enter(scope)
        try:
            return evaluate(self)
        finally:
            self.enter(before)

    def captured(self, render: Render) -> str:
        """Render into a string instead of the output."""
        out, write = self.out, self.write
        self.out = []
        self.write = self.out.append
        try:
            render(self)
            size = sum(map(len, self.out))
            self.budget.fits(size)
            return self.budget.made("".join(self.out))
        finally:
            self.out, self.write = out, write
