"""The Java methods that a template may call on strings, lists, maps, numbers and booleans: this table and nothing else.

A method is a name and overloads. An overload is the types of its parameters, one letter each, and the function behind
it, which takes the budget, the value and the arguments:

    S string or null   I integer   N number   B boolean   L list or null   M map or null   O anything
"""

from __future__ import annotations

import struct
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from infraxys.velocity import patterns
from infraxys.velocity.objects import Array, Entry, Items, View, capital, host_function, host_property, is_host
from infraxys.velocity.values import a_type, equal_objects, joined, to_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from infraxys.velocity.limits import Budget

Function: TypeAlias = "Callable[..., Any]"
Overload: TypeAlias = tuple[str, Function]
Invoke: TypeAlias = "Callable[[Budget, Any, list[Any]], Any]"

ACCEPTS: dict[str, tuple[type, ...]] = {
    "S": (str, type(None)),
    "I": (int,),
    "N": (int, float),
    "B": (bool,),
    "L": (list, tuple, type(None)),
    "M": (dict, type(None)),
    "O": (object,),
}


class JavaError(Exception):
    """What a Java method would throw."""


def needed(value: str | None) -> str:
    """Return a string argument that must not be null."""
    if value is None:
        raise JavaError("an argument is null")
    return value


def within(index: int, length: int) -> int:
    """Return an index that must exist."""
    if not 0 <= index < length:
        raise JavaError(f"index {index} is out of range, the length is {length}")
    return index


def incomparable(_budget: Budget, value: object, other: object) -> int:
    """Refuse to compare values of two types."""
    raise JavaError(f"{a_type(value)} cannot be compared to {a_type(other)}")


def int32(value: int) -> int:
    """Wrap an integer to 32 bits."""
    return (value + 2**31) % 2**32 - 2**31


# -- strings ----------------------------------------------------------------------------------------------------------


def units(budget: Budget, text: str) -> str:
    """Return a string with one character for each of Java's: those beyond U+FFFF count as two, a surrogate pair."""
    if text.isascii():
        return text
    budget.spend(len(text) // 16)
    if max(text) <= "\uffff":
        return text
    return "".join(map(chr, struct.unpack(f">{utf16_length(text)}H", text.encode("utf-16-be", "surrogatepass"))))


def utf16_length(text: str) -> int:
    """Return the length of a string as Java counts it."""
    return len(text.encode("utf-16-be", "surrogatepass")) // 2


def length(budget: Budget, text: str) -> int:
    """Return the length of a string."""
    if text.isascii():
        return len(text)
    budget.spend(len(text) // 64)
    return utf16_length(text)


def substring(budget: Budget, text: str, start: int, end: int | None = None) -> str:
    """Cut a string; the bounds must be inside."""
    text = units(budget, text)
    end = len(text) if end is None else end
    if not 0 <= start <= end <= len(text):
        raise JavaError(f"from {start} to {end} is out of range, the length is {len(text)}")
    return joined(text[start:end])


def char_at(budget: Budget, text: str, index: int) -> str:
    """Return one character."""
    text = units(budget, text)
    return text[within(index, len(text))]


def java_trim(_budget: Budget, text: str) -> str:
    """Cut control characters and blanks from both ends."""
    return text.strip("".join(map(chr, range(33))))


def index_of(budget: Budget, text: str, wanted: str | int | None, start: int = 0) -> int:
    """Find a string or a character code."""
    text, wanted = units(budget, text), units(budget, code_text(wanted))
    start = max(start, 0)
    return text.find(wanted, start) if start <= len(text) else (-1 if wanted else len(text))


def last_index_of(budget: Budget, text: str, wanted: str | int | None, start: int | None = None) -> int:
    """Find the last place of a string or a character code."""
    text, wanted = units(budget, text), units(budget, code_text(wanted))
    if start is None:
        return text.rfind(wanted)
    return -1 if start < 0 else text.rfind(wanted, 0, start + len(wanted))


def code_text(wanted: str | int | None) -> str:
    """Return the text of a string or character code."""
    if isinstance(wanted, int):
        return chr(wanted) if 0 <= wanted <= 0x10FFFF else "\0\0"
    return needed(wanted)


def compare_strings(budget: Budget, text: str, other: str | None) -> int:
    """Compare as Java: the difference of the first unequal characters or of the lengths."""
    text, other = units(budget, text), units(budget, needed(other))
    budget.spend(min(len(text), len(other)) // 16)
    for one, two in zip(text, other, strict=False):
        if one != two:
            return ord(one) - ord(two)
    return len(text) - len(other)


def folded(budget: Budget, text: str) -> str:
    """Return what Java compares when case does not count: the lower case of the upper case of each character."""
    if text.isascii():
        return text.lower()
    budget.spend(len(text) // 16)
    lower = text.upper().lower()
    return lower if len(lower) == len(text) else "".join(map(folded_char, text))


def folded_char(char: str) -> str:
    """Fold one character; where Python gives several, as for a dotted I, Java has but one."""
    upper = char.upper()
    return (upper if len(upper) == 1 else char).lower()[0]


def equals_ignore_case(budget: Budget, text: str, other: str | None) -> bool:
    """Compare without regard to case."""
    return other is not None and len(text) == len(other) and folded(budget, text) == folded(budget, other)


def string_hash(budget: Budget, text: str) -> int:
    """Return Java's hash code of a string."""
    budget.spend(len(text) // 16)
    result = 0
    for unit in units(budget, text):
        result = (result * 31 + ord(unit)) & 0xFFFFFFFF
    return int32(result)


def split(budget: Budget, text: str, pattern: str | None, limit: int = 0) -> Array:
    """Split by a pattern."""
    parts = patterns.split(text, needed(pattern), limit, budget)
    budget.spend(len(parts))
    return Array(parts)


STRING: dict[str, tuple[Overload, ...]] = {
    "length": (("", length),),
    "isEmpty": (("", lambda _b, s: not s),),
    "trim": (("", java_trim),),
    "strip": (("", lambda _b, s: s.strip()),),
    "substring": (("I", substring), ("II", substring)),
    "charAt": (("I", char_at),),
    "contains": (("S", lambda _b, s, x: needed(x) in s),),
    "startsWith": (
        ("S", lambda _b, s, x: s.startswith(needed(x))),
        ("SI", lambda _b, s, x, i: i >= 0 and s.startswith(needed(x), i)),
    ),
    "endsWith": (("S", lambda _b, s, x: s.endswith(needed(x))),),
    "equals": (("O", lambda _b, s, x: isinstance(x, str) and s == x),),
    "equalsIgnoreCase": (("S", equals_ignore_case),),
    "indexOf": (("S", index_of), ("I", index_of), ("SI", index_of), ("II", index_of)),
    "lastIndexOf": (("S", last_index_of), ("I", last_index_of), ("SI", last_index_of), ("II", last_index_of)),
    "replace": (("SS", lambda b, s, x, y: patterns.replace_text(s, needed(x), needed(y), b)),),
    "replaceAll": (("SS", lambda b, s, x, y: patterns.replace(s, needed(x), y, b)),),
    "replaceFirst": (("SS", lambda b, s, x, y: patterns.replace(s, needed(x), needed(y), b, once=True)),),
    "matches": (("S", lambda b, s, x: patterns.matches(s, needed(x), b)),),
    "split": (("S", split), ("SI", split)),
    "concat": (("S", lambda b, s, x: b.made(s + needed(x))),),
    "compareTo": (("S", compare_strings), ("O", incomparable)),
    "compareToIgnoreCase": (("S", lambda b, s, x: compare_strings(b, folded(b, s), folded(b, needed(x)))),),
    "toUpperCase": (("", lambda b, s: b.made(s.upper())),),
    "toLowerCase": (("", lambda b, s: b.made(s.lower())),),
    "toString": (("", lambda _b, s: s),),
    "hashCode": (("", string_hash),),
}


# -- lists ------------------------------------------------------------------------------------------------------------


def list_add(budget: Budget, items: list[object], item: object) -> bool:
    """Append an item."""
    budget.room(len(items) + 1)
    items.append(item)
    return True


def list_insert(budget: Budget, items: list[object], index: int, item: object) -> str:
    """Insert an item."""
    budget.room(len(items) + 1)
    items.insert(within(index, len(items) + 1), item)
    return ""


def list_add_all(budget: Budget, items: list[object], *arguments: Any) -> bool:
    """Append or insert all items of another list."""
    more = arguments[-1]
    if more is None:
        raise JavaError("the list is null")
    index = within(arguments[0], len(items) + 1) if len(arguments) > 1 else len(items)
    budget.room(len(items) + len(more))
    budget.spend(len(more))
    items[index:index] = list(more)
    return bool(more)


def list_set(_budget: Budget, items: list[object], index: int, item: object) -> object:
    """Replace an item, return the one before."""
    before = items[within(index, len(items))]
    items[index] = item
    return before


def list_index_of(budget: Budget, items: list[object], wanted: object) -> int:
    """Find an item."""
    return next((i for i, item in enumerate(items) if equal_objects(item, wanted, budget)), -1)


def list_last_index_of(budget: Budget, items: list[object], wanted: object) -> int:
    """Find the last place of an item."""
    return next((i for i in range(len(items) - 1, -1, -1) if equal_objects(items[i], wanted, budget)), -1)


def list_remove(budget: Budget, items: list[object], wanted: object) -> bool:
    """Remove the first item that equals the argument."""
    place = list_index_of(budget, items, wanted)
    if place >= 0:
        del items[place]
    return place >= 0


def sub_list(budget: Budget, items: list[object], start: int, end: int) -> list[object]:
    """Copy a part of a list."""
    if not 0 <= start <= end <= len(items):
        raise JavaError(f"from {start} to {end} is out of range, the length is {len(items)}")
    budget.spend(end - start)
    return list(items[start:end])


def cleared(_budget: Budget, items: list[object] | dict[object, object]) -> str:
    """Empty a list or map."""
    items.clear()
    return ""


def list_hash(budget: Budget, items: list[object]) -> int:
    """Return Java's hash code of a list."""
    result = 1
    for item in items:
        budget.spend(1)
        result = int32(31 * result + value_hash(budget, item))
    return result


def map_hash(budget: Budget, entries: dict[object, object]) -> int:
    """Return Java's hash code of a map."""
    budget.spend(len(entries))
    return int32(sum(value_hash(budget, key) ^ value_hash(budget, value) for key, value in entries.items()))


def value_hash(budget: Budget, value: object) -> int:
    """Return Java's hash code of a value inside a list or map; an object of the host has none."""
    for overload in table_of(type(value)).get("hashCode", ()):
        return int(overload[1](budget, value))
    return 0


def fixed(_budget: Budget, _items: list[object], *_arguments: object) -> NoReturn:
    """Refuse to change the length of an array."""
    raise JavaError("the parts of a split string cannot become more or fewer; copy them into a list first")


def fixed_remove(budget: Budget, items: list[object], wanted: object) -> bool:
    """Refuse to remove an item that is there."""
    if list_index_of(budget, items, wanted) >= 0:
        fixed(budget, items)
    return False


LIST_READ: dict[str, tuple[Overload, ...]] = {
    "size": (("", lambda _b, v: len(v)),),
    "isEmpty": (("", lambda _b, v: not v),),
    "get": (("I", lambda _b, v, i: v[within(i, len(v))]),),
    "contains": (("O", lambda b, v, x: list_index_of(b, v, x) >= 0),),
    "indexOf": (("O", list_index_of),),
    "lastIndexOf": (("O", list_last_index_of),),
    "subList": (("II", sub_list),),
    "iterator": (("", lambda _b, v: Items(list(v))),),
    "equals": (("O", lambda b, v, x: equal_objects(v, x, b)),),
    "toString": (("", lambda b, v: to_text(v, b)),),
    "hashCode": (("", list_hash),),
}
LIST: dict[str, tuple[Overload, ...]] = LIST_READ | {
    "set": (("IO", list_set),),
    "add": (("O", list_add), ("IO", list_insert)),
    "addAll": (("L", list_add_all), ("IL", list_add_all)),
    "remove": (("I", lambda _b, v, i: v.pop(within(i, len(v)))), ("O", list_remove)),
    "clear": (("", cleared),),
}
ARRAY: dict[str, tuple[Overload, ...]] = LIST | {
    "add": (("O", fixed), ("IO", fixed)),
    "addAll": (("L", fixed), ("IL", fixed)),
    "remove": (("I", fixed), ("O", fixed_remove)),
    "clear": (("", fixed),),
}
VIEW = {name: LIST[name] for name in ("size", "isEmpty", "contains", "iterator", "equals", "toString")}


# -- maps -------------------------------------------------------------------------------------------------------------


def can_be_key(value: object) -> bool:
    """Whether a value can be the key of a map."""
    return not isinstance(value, list | dict | tuple)


def map_put(budget: Budget, entries: dict[object, object], key: object, value: object) -> object:
    """Set an entry, return the value before."""
    budget.room(len(entries) + 1)
    if not can_be_key(key):
        raise JavaError("a list or map cannot be the key of a map")
    before = entries.get(key)
    entries[key] = value
    return before


def map_put_all(budget: Budget, entries: dict[object, object], more: dict[object, object] | None) -> str:
    """Set all entries of another map."""
    if more is None:
        raise JavaError("the map is null")
    budget.room(len(entries) + len(more))
    budget.spend(len(more))
    entries.update(more)
    return ""


def key_set(budget: Budget, entries: dict[object, object]) -> View:
    """Return the keys."""
    budget.spend(len(entries))
    return View(entries, entries, lambda key: key)


def values(budget: Budget, entries: dict[object, object]) -> View:
    """Return the values."""
    budget.spend(len(entries))
    return View(entries, entries.values())


def entry_set(budget: Budget, entries: dict[object, object]) -> View:
    """Return the entries."""

    def entry(key: object) -> Entry:
        return Entry(entries, key, lambda item: to_text(item, budget))

    budget.spend(len(entries))
    return View(entries, map(entry, entries), entry)


MAP: dict[str, tuple[Overload, ...]] = {
    "size": (("", lambda _b, m: len(m)),),
    "isEmpty": (("", lambda _b, m: not m),),
    "get": (("O", lambda _b, m, k: m.get(k) if can_be_key(k) else None),),
    "put": (("OO", map_put),),
    "putAll": (("M", map_put_all),),
    "containsKey": (("O", lambda _b, m, k: can_be_key(k) and k in m),),
    "containsValue": (("O", lambda b, m, v: list_index_of(b, list(m.values()), v) >= 0),),
    "remove": (("O", lambda _b, m, k: m.pop(k, None) if can_be_key(k) else None),),
    "clear": (("", cleared),),
    "keySet": (("", key_set),),
    "values": (("", values),),
    "entrySet": (("", entry_set),),
    "getOrDefault": (("OO", lambda _b, m, k, d: m.get(k, d) if can_be_key(k) else d),),
    "equals": (("O", lambda b, m, x: equal_objects(m, x, b)),),
    "toString": (("", lambda b, m: to_text(m, b)),),
    "hashCode": (("", map_hash),),
}


# -- numbers and booleans ---------------------------------------------------------------------------------------------


def int_hash(_budget: Budget, value: int) -> int:
    """Return Java's hash code of an Integer or Long."""
    if -(2**31) <= value < 2**31:
        return value
    bits = value & 0xFFFFFFFFFFFFFFFF
    return int32((bits ^ bits >> 32) & 0xFFFFFFFF)


def to_integer(_budget: Budget, value: float, bits: int = 32) -> int:
    """Convert as Java: integers wrap, floating point numbers stop at the bounds."""
    if type(value) is float:
        if value != value:  # noqa: PLR0124 - only NaN differs from itself
            return 0
        bound = 2 ** (bits - 1)
        return int(max(-bound, min(bound - 1, value)))
    half = 1 << (bits - 1)
    return (int(value) + half) % (half * 2) - half


def compare_values(_budget: Budget, value: float, other: float) -> int:
    """Compare two numbers of one type."""
    if isinstance(value, float) != isinstance(other, float):
        raise JavaError("an integer and a floating point number cannot be compared by compareTo")
    return (value > other) - (value < other)


NUMBER: dict[str, tuple[Overload, ...]] = {
    "intValue": (("", to_integer),),
    "longValue": (("", lambda b, n: to_integer(b, n, 64)),),
    "doubleValue": (("", lambda _b, n: float(n)),),
    "compareTo": (("N", compare_values), ("O", incomparable)),
    "equals": (("O", lambda b, n, x: equal_objects(n, x, b)),),
    "toString": (("", lambda b, n: to_text(n, b)),),
    "hashCode": (("", lambda b, n: int_hash(b, n) if isinstance(n, int) else float_hash(n)),),
}


def float_hash(value: float) -> int:
    """Return Java's hash code of a Double."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", value))
    return int32((bits ^ bits >> 32) & 0xFFFFFFFF)


BOOLEAN: dict[str, tuple[Overload, ...]] = {
    "booleanValue": (("", lambda _b, x: x),),
    "compareTo": (("B", lambda _b, x, y: x - y), ("O", incomparable)),
    "equals": (("O", lambda _b, x, y: x is y),),
    "toString": (("", lambda b, x: to_text(x, b)),),
    "hashCode": (("", lambda _b, x: 1231 if x else 1237),),
}

TABLES: dict[type, dict[str, tuple[Overload, ...]]] = {
    str: STRING,
    Array: ARRAY,
    View: VIEW,
    list: LIST,
    tuple: LIST_READ,
    dict: MAP,
    bool: BOOLEAN,
    int: NUMBER,
    float: NUMBER,
}


# -- look-up ----------------------------------------------------------------------------------------------------------


def table_of(kind: type) -> dict[str, tuple[Overload, ...]]:
    """Return the methods of a plain value's type."""
    for base in kind.__mro__:
        if base in TABLES:
            return TABLES[base]
    return {}


def accepted(letter: str, kind: type) -> bool:
    """Whether an argument of a type fits a parameter."""
    return issubclass(kind, ACCEPTS[letter]) and not (letter in "IN" and issubclass(kind, bool))


@lru_cache(maxsize=4096)
def plain_method(kind: type, name: str, count: int) -> Invoke | None:
    """Return how to call a method of a plain value with `count` arguments, or None."""
    overloads = [overload for overload in table_of(kind).get(name, ()) if len(overload[0]) == count]
    if not overloads:
        return None
    if count == 0:
        function = overloads[0][1]
        return lambda budget, value, _given: function(budget, value)

    @lru_cache(maxsize=256)
    def choose(*kinds: type) -> Function | None:
        fitting = (function for letters, function in overloads if all(map(accepted, letters, kinds)))
        return next(fitting, None)

    def invoke(budget: Budget, value: object, given: list[Any]) -> object:
        function = choose(*map(type, given))
        return NotImplemented if function is None else function(budget, value, *given)

    return invoke


def find_method(kind: type, name: str, count: int) -> Invoke | None:
    """Return how to call a method of any value, or None. What it gives is NotImplemented when no overload fits."""
    function = host_function(kind, name, count)
    if function is not None:
        return lambda _budget, value, arguments: function(value, *arguments)
    return plain_method(kind, name, count)


def find_property(kind: type, name: str) -> Callable[[Any], object] | None:
    """Return the getter behind `.name` of any value, or None."""
    if hasattr(kind, "VTL_METHODS"):
        return host_property(kind, name)
    if issubclass(kind, dict):
        return lambda value: value.get(name)
    for overload_name in ("is" + capital(name), "is" + name[0].lower() + name[1:]):
        for types, function in table_of(kind).get(overload_name, ()):
            if not types:
                return partial(function, None)
    return None


def known_members(value: object) -> list[str]:
    """Return the names of what a template can call on a value."""
    if is_host(value):
        return sorted(type(value).VTL_METHODS)  # type: ignore[attr-defined] # is_host says that it is there
    return sorted(table_of(type(value)))
