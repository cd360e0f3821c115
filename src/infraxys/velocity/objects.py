"""What a template can reach of an object of the host, and the few objects that the engine itself hands out.

A class of the host names the methods that templates may call, with their Java-like names:

    class Server:
        VTL_METHODS = frozenset({"getName", "restart", "toString"})

        def getName(self) -> str: ...
        def restart(self) -> None: ...
        restart.returns_void = True     # shows as nothing; otherwise None is null

Members are looked up on the type, by these names, and nowhere else. `$x.name` is getName() or getname(), then
get("name"), then isName() if that returns a boolean. A wrong number of arguments is an unknown method. A host without
toString() shows as the name of its type. VTL_NAME is what messages call a value of the class, else the class's name.

A host that wants the live variables of the render (to read what a template has #set) defines `vtl_bind(self, scope)`:
when a template first reads it from the context, the engine calls it with a `LiveScope` and uses the object that it
returns for the rest of the render.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from infraxys.velocity.limits import Budget

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def is_host(value: object) -> bool:
    """Whether a value is an object that says what templates may call."""
    return isinstance(getattr(type(value), "VTL_METHODS", None), frozenset)


def member(kind: type, name: str) -> Callable[..., object] | None:
    """Return the function behind an allowed method of a host's type, taking the object first."""
    allowed = getattr(kind, "VTL_METHODS", None)
    if not isinstance(allowed, frozenset) or name not in allowed:
        return None
    found = inspect.getattr_static(kind, name, None)
    if isinstance(found, staticmethod | classmethod):
        bound: Callable[..., object] = found.__get__(None, kind)

        def without_self(_self: object, *arguments: object) -> object:
            return bound(*arguments)

        return without_self if accepts(bound, None) else None
    return found if callable(found) else None


def accepts(function: Callable[..., object], count: int | None) -> bool:
    """Whether a function can be called with `count` positional arguments; None asks only for a readable signature."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    if count is None:
        return True
    positional = [parameter for parameter in parameters if parameter.kind in POSITIONAL]
    required = sum(parameter.default is parameter.empty for parameter in positional)
    keywords = any(
        parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty for parameter in parameters
    )
    unlimited = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    return not keywords and required <= count and (unlimited or count <= len(positional))


@lru_cache(maxsize=4096)
def host_function(kind: type, name: str, count: int) -> Callable[..., object] | None:
    """Return an allowed method that takes the object and `count` arguments, or None."""
    function = member(kind, name)
    if function is None:
        return None
    static = isinstance(inspect.getattr_static(kind, name), staticmethod | classmethod)
    target = inspect.getattr_static(kind, name).__get__(None, kind) if static else function
    if not accepts(target, count if static else count + 1):
        return None
    if not getattr(target, "returns_void", False):
        return function

    def void(value: object, *arguments: object) -> object:
        result = function(value, *arguments)
        return "" if result is None else result

    return void


def capital(name: str) -> str:
    """Return the name with its first letter in upper case."""
    return name[0].upper() + name[1:]


@lru_cache(maxsize=4096)
def host_property(kind: type, name: str) -> Callable[[object], object] | None:
    """Return the getter behind `.name`: getName, getname, get("name"), isName; or None."""
    for getter in ("get" + capital(name), "get" + name[0].lower() + name[1:]):
        function = host_function(kind, getter, 0)
        if function is not None:
            return function
    generic = host_function(kind, "get", 1)
    if generic is not None:
        return lambda value: generic(value, name)
    for getter in ("is" + capital(name), "is" + name[0].lower() + name[1:]):
        function = host_function(kind, getter, 0)
        if function is not None:
            return function
    return None


def host_setter(kind: type, name: str) -> Callable[[object, object], object] | None:
    """Return what `#set($x.name = ...)` calls: setName, setname or put("name", ...); or None."""
    for setter in ("set" + capital(name), "set" + name[0].lower() + name[1:]):
        function = host_function(kind, setter, 1)
        if function is not None:
            return function
    generic = host_function(kind, "put", 2)
    if generic is not None:
        return lambda value, item: generic(value, name, item)
    return None


def host_text(value: object, _budget: Budget) -> str:
    """Return the toString() of a host, or the name of its type."""
    function = member(type(value), "toString")
    result = function(value) if function is not None else type(value).__name__
    return result if isinstance(result, str) else type(value).__name__


class Array(list[object]):
    """What split() gives: a list that cannot grow or shrink."""


class View(list[object]):
    """What keySet(), values() and entrySet() give: it can be looped over and asked, but has no places.

    It is a copy, but for loops: they go through the map as it is then. `item` gives what stands for a key.
    """

    def __init__(
        self, entries: dict[object, object], items: Iterable[object], item: Callable[[object], object] | None = None
    ) -> None:
        super().__init__(items)
        self.entries = entries
        self.item = item or entries.__getitem__


class Entry:
    """An entry of a map, with the value that the map has for the key by then."""

    VTL_METHODS: ClassVar[frozenset[str]] = frozenset({"getKey", "getValue", "toString"})
    __slots__ = ("entries", "key", "text")

    def __init__(self, entries: dict[object, object], key: object, text: Callable[[object], str]) -> None:
        self.entries = entries
        self.key = key
        self.text = text

    def getKey(self) -> object:  # noqa: N802 - the name that templates use
        """Return the key."""
        return self.key

    def getValue(self) -> object:  # noqa: N802 - the name that templates use
        """Return the value."""
        return self.entries.get(self.key)

    def toString(self) -> str:  # noqa: N802 - the name that templates use
        """Return `key=value`."""
        return f"{self.text(self.key)}={self.text(self.getValue())}"


class Items:
    """The iterator of a list or map."""

    VTL_METHODS: ClassVar[frozenset[str]] = frozenset({"hasNext", "next"})
    __slots__ = ("items", "place")

    def __init__(self, items: list[object]) -> None:
        self.items = items
        self.place = 0

    def hasNext(self) -> bool:  # noqa: N802 - the name that templates use
        """Whether next() has an item to give."""
        return self.place < len(self.items)

    def next(self) -> object:
        """Return the next item."""
        if self.place >= len(self.items):
            raise ValueError("the iterator has no more items")
        self.place += 1
        return self.items[self.place - 1]

    def left(self) -> int:
        """Return how many items next() will still give."""
        return max(len(self.items) - self.place, 0)


class Loop:
    """`$foreach`: where the innermost loop stands. Templates may keep values in it."""

    VTL_METHODS: ClassVar[frozenset[str]] = frozenset(
        [
            "getIndex",
            "getCount",
            "getHasNext",
            "hasNext",
            "getFirst",
            "isFirst",
            "getLast",
            "isLast",
            "getParent",
            "getTopmost",
            "get",
            "put",
            "toString",
        ]
    )
    __slots__ = ("index", "length", "parent", "store")

    def __init__(self, length: int, parent: object) -> None:
        self.index = -1
        self.length = length
        self.parent = parent
        self.store: dict[str, object] | None = None

    def getIndex(self) -> int:  # noqa: N802 - the name that templates use
        """Return the number of the round, from 0."""
        return self.index

    def getCount(self) -> int:  # noqa: N802 - the name that templates use
        """Return the number of the round, from 1."""
        return self.index + 1

    def getHasNext(self) -> bool:  # noqa: N802 - the name that templates use
        """Whether another round follows."""
        return self.index + 1 < self.length

    def getFirst(self) -> bool:  # noqa: N802 - the name that templates use
        """Whether this is the first round."""
        return self.index < 1

    def getLast(self) -> bool:  # noqa: N802 - the name that templates use
        """Whether this is the last round."""
        return self.index + 1 >= self.length

    hasNext = getHasNext  # noqa: N815 - the name that templates use
    isFirst = getFirst  # noqa: N815 - the name that templates use
    isLast = getLast  # noqa: N815 - the name that templates use

    def getParent(self) -> object:  # noqa: N802 - the name that templates use
        """Return the loop around this one, or what $foreach was before."""
        return self.parent

    def getTopmost(self) -> Loop:  # noqa: N802 - the name that templates use
        """Return the outermost loop."""
        loop = self
        while isinstance(loop.parent, Loop):
            loop = loop.parent
        return loop

    def get(self, name: str) -> object:
        """Return what the template keeps under a name."""
        return self.store.get(name) if self.store else None

    def put(self, name: str, value: object) -> object:
        """Keep a value, return the one before."""
        if self.store is None:
            self.store = {}
        before = self.store.get(name)
        self.store[name] = value
        return before

    def toString(self) -> str:  # noqa: N802 - the name that templates use
        """Return what a template shows, which is of no use."""
        return "{}"
