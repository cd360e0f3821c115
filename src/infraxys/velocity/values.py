"""The values of a template as Java would show, compare and add them.

A value is str, int, float, bool, None, list, dict or an object of the host (see `objects.py`). Whatever can take
long or grow is paid for from the `Budget` of the render.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from infraxys.velocity.errors import LimitError, VelocityError
from infraxys.velocity.limits import Budget, current
from infraxys.velocity.objects import Array, View, host_text, is_host

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_NESTED = 50
SURROGATE = re.compile("[\ud800-\udfff]")

NAMES: dict[type, str] = {
    str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null",
    list: "list", Array: "list", View: "collection", dict: "map",
}  # fmt: skip


def type_name(value: object) -> str:
    """Name the type of a value for a message; a class of the host can say its name in VTL_NAME."""
    kind = type(value)
    return NAMES.get(kind) or (str(getattr(kind, "VTL_NAME", kind.__name__)) if is_host(value) else kind.__name__)


def a_type(value: object, *, capital: bool = False) -> str:
    """Name the type of a value with its article."""
    name = type_name(value)
    article = "an" if name[0].lower() in "aeiou" else "a"
    return f"{article.capitalize() if capital else article} {name}"


def is_number(value: object) -> bool:
    """Whether a value is an integer or floating point number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


# -- text -------------------------------------------------------------------------------------------------------------


def to_text(value: object, budget: Budget, depth: int = 0) -> str:  # noqa: PLR0911 - one line a type
    """Return the text of a value that is not null as Java's toString() gives it."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, list | tuple | dict):
        return collection_text(value, budget, depth)
    if value is None:
        return "null"
    if is_host(value):
        return host_text(value, budget)
    raise VelocityError(f"A template cannot use a value of the type {type(value).__name__}")


def joined(text: str) -> str:
    """Make one character of each pair of surrogates, which `charAt` and `substring` can cut apart."""
    if text.isascii() or not SURROGATE.search(text):
        return text
    return text.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")


def shown(value: object) -> str:
    """Return the text of a value for a method of a host."""
    return to_text(value, current())


def collection_text(value: list[object] | tuple[object, ...] | dict[object, object], budget: Budget, depth: int) -> str:
    """Return `[a, b]` or `{k=v}`."""
    if depth >= MAX_NESTED:
        raise LimitError(f"A list or map is nested more than {MAX_NESTED} levels deep")
    budget.spend(len(value) + 1)
    parts: list[str] = []
    size = 0
    itself = "(this Map)" if isinstance(value, dict) else "(this Collection)"
    for item in value:
        part = itself if item is value else to_text(item, budget, depth + 1)
        if isinstance(value, dict):
            part += "=" + (itself if value[item] is value else to_text(value[item], budget, depth + 1))
        size += len(part) + 2
        budget.fits(size)
        parts.append(part)
    text = ", ".join(parts)
    budget.made(text)
    return "{" + text + "}" if isinstance(value, dict) else "[" + text + "]"


def float_text(value: float) -> str:
    """Return a floating point number as Java's Double.toString() does."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    size = abs(value)
    if size == 0 or 1e-3 <= size < 1e7:
        return repr(value)
    _, digits, _ = Decimal(repr(size)).as_tuple()
    shown = "".join(map(str, digits)).rstrip("0") or "0"
    exponent = Decimal(repr(size)).adjusted()
    return f"{'-' if value < 0 else ''}{shown[0]}.{shown[1:] or '0'}E{exponent}"


# -- comparison -------------------------------------------------------------------------------------------------------


def equal_objects(left: object, right: object, budget: Budget, depth: int = 0) -> bool:
    """Compare as Java's equals(): 1 is not 1.0, and true is not 1."""
    if left is right:
        return True
    budget.spend(1)
    if isinstance(left, list) and isinstance(right, list):
        if depth >= MAX_NESTED:
            raise LimitError(f"A list or map is nested more than {MAX_NESTED} levels deep")
        return len(left) == len(right) and all(
            equal_objects(one, other, budget, depth + 1) for one, other in zip(left, right, strict=True)
        )
    if isinstance(left, dict) and isinstance(right, dict):
        if depth >= MAX_NESTED:
            raise LimitError(f"A list or map is nested more than {MAX_NESTED} levels deep")
        return len(left) == len(right) and all(
            key in right and equal_objects(item, right[key], budget, depth + 1) for key, item in left.items()
        )
    if type(left) is not type(right):
        return False
    return bool(left == right)


def equal(left: object, right: object, budget: Budget) -> bool:
    """Compare as `==` does: numbers by value, one type by equals(), anything else by its text."""
    if is_number(left) and is_number(right):
        return left == right
    if left is None or right is None:
        return left is right
    if type(left) is type(right):
        return equal_objects(left, right, budget)
    return to_text(left, budget) == to_text(right, budget)


# -- arithmetic -------------------------------------------------------------------------------------------------------


def divide(left: float, right: float) -> float | None:
    """Divide; integers truncate, zero gives null."""
    if right == 0:
        return None
    if isinstance(left, int) and isinstance(right, int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    return float(left) / float(right)


def modulo(left: float, right: float) -> float | None:
    """Return the rest with the sign of the dividend; zero gives null."""
    if right == 0:
        return None
    if isinstance(left, int) and isinstance(right, int):
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    return math.nan if math.isinf(left) else math.fmod(left, right)


ARITHMETIC: dict[str, Callable[[float, float], float | None]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": divide,
    "%": modulo,
}
ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def calculate(operator: str, left: object, right: object, budget: Budget) -> float | None:
    """Apply an arithmetic operator; anything but two numbers gives null."""
    if not (
        isinstance(left, int | float)
        and isinstance(right, int | float)
        and not isinstance(left, bool)
        and not isinstance(right, bool)
    ):
        return None
    try:
        result = ARITHMETIC[operator](left, right)
    except OverflowError:
        return math.nan if operator == "%" else math.inf
    if type(result) is not float and result is not None:
        budget.integer(int(result))
    return result
