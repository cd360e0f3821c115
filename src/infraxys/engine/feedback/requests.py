"""Reads one request: a verb with `key=value` lines, or one JSON object with `requestType` and `subType`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from infraxys.engine.feedback.lenient import NotReadable, join_surrogates, parse

Style = Literal["lines", "json"]
MAX_TEXT = 64 * 1024  # characters of one text that is shown to people
RESOURCE_REQUESTS = frozenset(
    {
        "CREATE INSTANCE",
        "ENSURE INSTANCE",
        "UPDATE INSTANCE",
        "IMPORT INSTANCES",
        "GET INSTANCE",
        "CREATE CONTAINER",
        "ENSURE CONTAINER",
        "CLONE CONTAINER",
        "ENSURE ENVIRONMENT",
        "CLONE ENVIRONMENT",
    }
)
WITHDRAWN = frozenset({"EXECUTE ACTION", "EXECUTE PIPELINE", "UI/EXECUTE_ACTION"})
NOTICES = frozenset({"ADD_ACTION_ERROR", "ADD_ACTION_LOG", "SET_REST_RESPONSE"})
UI_REQUESTS = frozenset(
    {
        "UI/BUTTON_DIALOG",
        "UI/SELECTION_LIST",
        "UI/CREATE INSTANCE",
        "UI/SHOW DIALOG",
        "UI/SHOW MESSAGE",
        "UI/STATUS",
        "UI/WINDOW",
        "UI/FORM",
        "UI/UPDATE DATA PART",
        "UI/UPDATE VALUE",
        "UI/SET ENABLED",
        "UI/STORE SELECTED ITEMS",
        "UI/DOWNLOAD FILE",
        "UI/ACTION",
        "UI/OPEN CLIENT APP",
    }
)
KNOWN = RESOURCE_REQUESTS | WITHDRAWN | NOTICES | UI_REQUESTS | {"SYSTEM/STATUS", "SYSTEM/AUDIT"}
_VERBS = {"ui interaction", "create container", "create instance"}
_BUTTON = re.compile(r'button caption="(.*)" location=(\w*)\s*\Z')
_DIALOG_KEYS = frozenset(
    {
        *("type", "width", "height", "title", "string_input_label", "default_button", "style_name", "is_html", "async"),
        *("instanceid", "guid", "instance_id", "filename"),
    }
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_REQUEST_TYPE = re.compile(r"""['"]?requestType['"]?\s*[:=]""")


class NoRequest(ValueError):  # noqa: N818 - reads as what it is
    """What stands between the markers is no request; `is_meant` when an action seems to wait for an answer to it."""

    def __init__(self, message: str, *, is_meant: bool) -> None:
        super().__init__(message)
        self.is_meant = is_meant


class RequestFailed(Exception):  # noqa: N818 - reads as what happened
    """A request cannot be fulfilled; the message is for the log of the action."""


@dataclass(frozen=True, slots=True)
class FeedbackRequest:
    """One request. `verb` is one of `KNOWN`; `style` is the form in which it was written, and its answer is read."""

    verb: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    style: Style = "json"


class Requests(Protocol):
    """Fulfils what is asked of instances, containers and environments (`RESOURCE_REQUESTS`)."""

    async def handle(self, run_id: str, step: int, request: Mapping[str, Any]) -> list[str]:
        """Do it with the rights of whoever started the run; gives the lines of the answer.

        `step` is the number of the step that asks, from 0. `request` has `requestType` and the members of spec 7.3, for
        those written as `key=value` as well. The lines are what both readers expect: one line of JSON or one id. Raises
        RequestFailed.
        """


def read_request(body: str) -> FeedbackRequest:
    """Read what stands between the markers. Raises NoRequest."""
    text = body.replace("\0", "").strip("\r\n")
    if text.lstrip().startswith("{"):
        return _read_json(text)
    return _read_lines(text.replace("\r\n", "\n").split("\n"))


def _read_json(text: str) -> FeedbackRequest:
    try:
        value = parse(text)
    except NotReadable as error:
        raise NoRequest(f"it cannot be read: {error}", is_meant=bool(_REQUEST_TYPE.search(text))) from error
    if not isinstance(value, dict) or not isinstance(value.get("requestType"), str):
        raise NoRequest("it has no 'requestType'", is_meant=False)
    kind, sub = value["requestType"].strip().upper(), value.get("subType")
    verb = f"{kind}/{sub.strip().upper()}" if isinstance(sub, str) and kind in {"UI", "SYSTEM"} else kind
    if kind == "UI" and verb not in KNOWN and "clientJson" in value:
        verb = "UI/OPEN CLIENT APP"
    if verb not in KNOWN:
        raise NoRequest(f"there is no request '{clean(verb)[:80]}'", is_meant=True)
    return FeedbackRequest(verb, sound(value))


def _read_lines(lines: list[str]) -> FeedbackRequest:
    settings: dict[str, Any] = {}
    rest = iter(lines)
    for line in rest:
        stripped = line.strip()
        if stripped in _VERBS:
            if stripped == "ui interaction":
                return _read_interaction(settings, rest)
            values = {**settings, **dict(_pairs(rest))}
            return FeedbackRequest(stripped.upper(), {"requestType": stripped.upper(), **values}, "lines")
        if stripped:
            key, separator, value = stripped.removeprefix("set ").partition("=")
            if not separator or not stripped.startswith("set "):
                break
            settings[key.strip()] = clean(value)
    raise NoRequest("it does not begin with a request", is_meant=False)


def _pairs(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        key, separator, value = line.strip().removeprefix("set ").partition("=")
        if separator:
            yield key.strip(), clean(value)


def _read_interaction(settings: dict[str, Any], lines: Iterator[str]) -> FeedbackRequest:
    """Read what follows `ui interaction`: settings, then what the type has: buttons and a text, or items."""
    fields = dict(settings)
    buttons: list[dict[str, str]] = []
    items: list[str] = []
    is_head = True
    for line in lines:
        key, separator, value = line.strip().partition("=")
        if is_head and (match := _BUTTON.match(line.strip())):
            buttons.append({"label": clean(match[1]), "location": match[2].upper()})
        elif is_head and separator and (key in _DIALOG_KEYS or fields.get("type") == "selection_list"):
            fields[key] = clean(value)
        else:
            is_head = False
            items.append(clean(line))
    kind = str(fields.pop("type", "")).strip()
    verb = f"UI/{kind.upper()}"
    if verb not in KNOWN:
        raise NoRequest(f"there is no dialog '{clean(kind)[:80]}'", is_meant=bool(kind))
    return FeedbackRequest(verb, {**fields, "buttons": buttons, "items": items}, "lines")


def clean(text: str) -> str:
    """Give a text as every database and every browser can keep it: no control characters but tabs and line ends."""
    return join_surrogates(_CONTROL.sub("", text))


def sound(value: Any) -> Any:
    """Clean every text in a value."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [sound(item) for item in value]
    if isinstance(value, dict):
        return {clean(str(key)): sound(item) for key, item in value.items()}
    return value
