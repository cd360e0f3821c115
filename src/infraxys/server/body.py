"""Reading request bodies: strictly, within limits, and without changing a byte of what is passed on."""

import json
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from infraxys.server.errors import NotJson, TooLarge, Unprocessable, UnsupportedContentType

M = TypeVar("M", bound=BaseModel)
_SPACE = " \t\n\r"


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A JSON object from a request: its values, and the exact text of each member's value."""

    value: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)


def _refuse_constant(name: str) -> NoReturn:
    raise Unprocessable(f"{name} is not JSON", errors=[{"loc": "body", "message": f"{name} is not JSON"}])


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        _refuse(double[:100], "the key stands twice in one object")
    return value


def _refuse(location: str, message: str) -> NoReturn:
    raise Unprocessable(f"{location}: {message}", errors=[{"loc": location, "message": message}])


class Number(str):
    """The text of a JSON number."""

    __slots__ = ()


# Numbers stay texts here, so that reading can neither round them nor take long; models read them again.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_refuse_constant, parse_int=Number,
    parse_float=Number,
)  # fmt: skip


async def read_json_object(request: Request) -> JsonObject:
    """Read the body as one JSON object; no body at all is an empty object. Raises 400, 413 and 422 problems."""
    data = await request.body()
    if not data.strip():
        return JsonObject()
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise UnsupportedContentType("send the body as 'Content-Type: application/json'")
    return parse_json_object(data)


def parse_json_object(data: bytes) -> JsonObject:
    """Read one JSON object. Raises NotJson or Unprocessable."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise NotJson(f"the body is not UTF-8 (byte {error.start})") from error
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        _not_json(text, position, "a JSON object is expected")
    value: dict[str, Any] = {}
    raw: dict[str, str] = {}
    position = _skip(text, position + 1)
    if text[position : position + 1] != "}":
        while True:
            key, position = _decode(text, position)
            if type(key) is not str:
                _not_json(text, position, "a key in double quotes is expected")
            position = _expect(text, position, ":")
            start = position
            member, position = _decode(text, position)
            if key in value:
                _refuse(key[:100], "the key stands twice in one object")
            value[key], raw[key] = member, text[start:position]
            position = _skip(text, position)
            if text[position : position + 1] == "}":
                break
            position = _expect(text, position, ",")
    if _skip(text, position + 1) != len(text):
        _not_json(text, position + 1, "there is something behind the object")
    return JsonObject(value, raw)


def _decode(text: str, position: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        _not_json(text, error.pos, error.msg)
    except RecursionError:
        raise Unprocessable("the body nests too deep", errors=[{"loc": "body", "message": "nests too deep"}]) from None


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def _expect(text: str, position: int, character: str) -> int:
    position = _skip(text, position)
    if text[position : position + 1] != character:
        _not_json(text, position, f"'{character}' is expected")
    return _skip(text, position + 1)


def _not_json(text: str, position: int, message: str) -> NoReturn:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    raise NotJson(f"the body is not JSON: {message} (line {line}, column {column})")


def plain(value: Any) -> Any:
    """Turn the texts of numbers into numbers, for models."""
    if type(value) is Number:
        try:
            return int(value) if value.lstrip("-").isdigit() and len(value) < 300 else float(value)
        except (ValueError, OverflowError):
            return value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def validate(model: type[M], value: dict[str, Any]) -> M:
    """Check a value against a model. Raises Unprocessable with every finding."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        findings = [
            {
                "loc": ".".join(str(part) for part in item["loc"]) or "body",
                "message": item["msg"].removeprefix("Value error, "),
            }
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        first = findings[0]
        raise Unprocessable(f"{first['loc']}: {first['message']}", errors=findings[:100]) from error


def too_large(limit: int) -> TooLarge:
    """Refuse a body over the limit."""
    return TooLarge(f"the body is larger than {limit} bytes")
