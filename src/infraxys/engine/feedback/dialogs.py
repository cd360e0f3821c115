"""Dialogs: what an action shows to people, which answers fit, and how an answer is written for the action."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from infraxys.engine.feedback.requests import MAX_TEXT, FeedbackRequest, clean

Kind = Literal["buttons", "selection", "form", "instance", "store", "window", "message", "download", "app"]
QUESTIONS: frozenset[Kind] = frozenset({"buttons", "selection", "form", "instance", "store"})
MAX_TITLE = 1000
MAX_BUTTONS = 50
MAX_ITEMS = 20_000
DONE, FAILED = "SUCCESS", "FAILED"
# Buttons that lead away from what was asked, in the order in which nobody's answer is taken to mean them.
CANCELLING = ("cancel", "no", "abort", "close", "quit", "annuleren", "nee", "annuler", "non", "abbrechen", "nein")
# Lines by which the readers of answers know the end of one.
RESERVED = re.compile(r"SUCCESS|FAILED|processed|</?FROM_SERVER>|(?i:error).*", re.DOTALL)
_NOT_IN_LINE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class BadAnswer(ValueError):  # noqa: N818 - reads as what it is
    """An answer does not fit its dialog. `field` names the member that is wrong."""

    def __init__(self, member: str, message: str) -> None:
        super().__init__(message)
        self.field = member


@dataclass(frozen=True, slots=True)
class Dialog:
    """Something shown to people. `definition` is what a browser needs beside title and message, and nothing secret."""

    kind: Kind
    title: str = ""
    message: str = ""
    is_html: bool = False
    definition: Mapping[str, Any] = field(default_factory=dict)
    style: Literal["lines", "json"] = "json"

    @property
    def is_question(self) -> bool:
        """Whether the action waits for an answer."""
        return self.kind in QUESTIONS


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person answered: a button with or without a text, chosen items, or what happened in a form."""

    button: str | None = None
    value: str | None = None
    values: Sequence[Any] | None = None
    event: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it is written. `summary` is kept: never what was typed.

    `closes`: nothing more can be answered. `resumes`: the action goes on with it, rather than waiting for more.
    """

    lines: tuple[str, ...]
    closes: bool = True
    resumes: bool = True
    summary: Mapping[str, Any] = field(default_factory=dict)
    stored: Sequence[Any] | None = None


def dialog_of(request: FeedbackRequest, *, is_in_window: bool = False) -> Dialog | None:
    """Give the dialog that a request asks for; None for one that shows none."""
    make = _DIALOGS.get(request.verb)
    if make is None:
        return None
    dialog = make(request)
    if dialog.kind == "form":
        return Dialog("form", dialog.title, definition={**dialog.definition, "isInWindow": is_in_window})
    return dialog


def _text(fields: Mapping[str, Any], name: str, limit: int = MAX_TEXT) -> str:
    value = fields.get(name)
    return "" if value is None else clean(str(value))[:limit]


def _size(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _text(fields, name, 20) for name in ("width", "height") if fields.get(name) not in {None, ""}}


def _is_true(value: Any) -> bool:
    return value is True or str(value).strip().lower() == "true"


def _button_dialog(request: FeedbackRequest) -> Dialog:
    fields = request.fields
    buttons = [
        {"id": item["label"][:MAX_TITLE], "label": item["label"][:MAX_TITLE], "location": item["location"][:20]}
        for item in fields["buttons"][:MAX_BUTTONS]
    ]
    definition: dict[str, Any] = {
        **_size(fields),
        "buttons": buttons or [{"id": "OK", "label": "OK", "location": "MIDDLE"}],
        "style": _text(fields, "style_name", 20),
    }
    if fields.get("default_button"):
        definition["defaultButton"] = _text(fields, "default_button", MAX_TITLE)
    if fields.get("string_input_label"):
        definition["input"] = {"label": _text(fields, "string_input_label", MAX_TITLE)}
    kind: Kind = "message" if _is_true(fields.get("async")) else "buttons"
    message = "\n".join(fields["items"])[:MAX_TEXT]
    title = _text(fields, "title", MAX_TITLE)
    return Dialog(kind, title, message, _is_true(fields.get("is_html")), definition, "lines")


def _show_dialog(request: FeedbackRequest) -> Dialog:
    fields = request.fields
    listed = fields.get("buttons")
    buttons = [
        {"id": _text(item, "id", MAX_TITLE), "label": _text(item, "label", MAX_TITLE) or _text(item, "id", MAX_TITLE)}
        for item in (listed if isinstance(listed, list) else [])[:MAX_BUTTONS]
        if isinstance(item, dict)
    ]
    definition = {**_size(fields), "buttons": buttons or [{"id": "1", "label": "OK"}]}
    kind: Kind = "message" if _is_true(fields.get("async")) else "buttons"
    title, message = _text(fields, "title", MAX_TITLE), _text(fields, "message")
    return Dialog(kind, title, message, _is_true(fields.get("isHtml")), definition)


def _selection(request: FeedbackRequest) -> Dialog:
    fields = request.fields
    lines = [line for line in fields["items"] if line.strip()]
    if any(len(line) > MAX_TITLE * 4 for line in lines) or len(lines) > MAX_ITEMS:
        lines = [line[: MAX_TITLE * 4] for line in lines[:MAX_ITEMS]]
    has_names = _is_true(fields.get("is_name_value_list"))
    items = [dict(zip(("name", "value"), line.split("=", 1) if has_names else [line], strict=False)) for line in lines]
    definition = {
        **_size(fields),
        "items": items,
        "minSelected": _count(fields.get("min_selected_items_count")),
        "maxSelected": _count(fields.get("max_selected_items_count")),
        "columns": [_text(fields, "column_1_title", MAX_TITLE), _text(fields, "column_2_title", MAX_TITLE)],
        "isFirstColumnVisible": str(fields.get("column_1_visible", "true")).strip().lower() != "false",
    }
    listed = _text(fields, "list_type", 40) or _listed(lines)
    if listed:
        definition |= {"listType": listed, "items": []}
    return Dialog("selection", _text(fields, "title", MAX_TITLE), definition=definition, style="lines")


def _listed(lines: list[str]) -> str:
    """Give the kind of things to choose from, where the action names that instead of items."""
    return lines[0].partition("=")[2].strip()[:40] if len(lines) == 1 and lines[0].startswith("list_type=") else ""


def _count(value: Any) -> int:
    text = str(value or 0).strip()
    return int(text) if text.isdigit() and len(text) < 7 else 0


def _new_instance(request: FeedbackRequest) -> Dialog:
    fields = request.fields
    parent = _text(fields, "instanceid", 200)
    return Dialog(
        "instance", definition={"packetGuid": _text(fields, "guid", 200), "parentInstanceId": parent}, style="lines"
    )


def _message(request: FeedbackRequest) -> Dialog:
    fields = request.fields
    return Dialog("message", message=_text(fields, "message"), definition={"style": _text(fields, "type", 20).lower()})


def _window(request: FeedbackRequest) -> Dialog:
    try:
        css = base64.b64decode(str(request.fields.get("css") or ""), validate=False).decode(errors="replace")
    except (ValueError, binascii.Error):
        css = ""
    return Dialog("window", definition={"css": clean(css)[:MAX_TEXT]} if css else {})


def _form(request: FeedbackRequest) -> Dialog:
    definition = request.fields.get("json")
    form = definition.get("form") if isinstance(definition, dict) else None
    header = _text(form, "header", MAX_TITLE) if isinstance(form, dict) else ""
    return Dialog("form", header, definition={"json": definition if isinstance(definition, dict) else {}})


def _store(request: FeedbackRequest) -> Dialog:
    fields = request.fields
    selected = {
        "objectId": _text(fields, "objectId", 200),
        "selectedRowsOnly": _is_true(fields.get("selectedRowsOnly")),
    }
    return Dialog("store", definition=selected)


def _download(request: FeedbackRequest) -> Dialog:
    names = ("cachedFilename", "downloadFilename", "label")
    definition = {name: _text(request.fields, name, MAX_TITLE) for name in names}
    return Dialog("download", definition["label"], definition=definition)


def _app(request: FeedbackRequest) -> Dialog:
    return Dialog("app", definition={key: value for key, value in request.fields.items() if key != "requestType"})


_DIALOGS: Mapping[str, Callable[[FeedbackRequest], Dialog]] = {
    "UI/BUTTON_DIALOG": _button_dialog,
    "UI/SHOW DIALOG": _show_dialog,
    "UI/SELECTION_LIST": _selection,
    "UI/CREATE INSTANCE": _new_instance,
    "UI/SHOW MESSAGE": _message,
    "UI/WINDOW": _window,
    "UI/FORM": _form,
    "UI/STORE SELECTED ITEMS": _store,
    "UI/DOWNLOAD FILE": _download,
    "UI/OPEN CLIENT APP": _app,
}


# -- answers --


def reply_to(dialog: Dialog, answer: Answer) -> Reply:
    """Check an answer and write it as the action reads it. Raises BadAnswer."""
    reply = _REPLIES[dialog.kind](dialog, answer)
    for line in reply.lines:
        if _NOT_IN_LINE.search(line) or len(line) > MAX_TEXT * 16:
            raise BadAnswer("value", "an answer is one line of text")
    return reply


def _reply_buttons(dialog: Dialog, answer: Answer) -> Reply:
    known = [button["id"] for button in dialog.definition["buttons"]]
    if answer.button not in known:
        raise BadAnswer("button", f"has to be one of: {', '.join(known)}"[:500])
    summary = {"button": answer.button}
    line = str(answer.button)
    if "input" in dialog.definition and not is_cancelling(line):
        if answer.value is None:
            raise BadAnswer("value", "the dialog asks for a text")
        line = answer.value
        if RESERVED.fullmatch(line.strip()):
            raise BadAnswer("value", "this text would be read as the end of the answer; choose another one")
    elif answer.value is not None:
        raise BadAnswer("value", "the dialog does not ask for a text")
    return Reply((line, DONE) if dialog.style == "lines" else (line,), summary=summary)


def _reply_selection(dialog: Dialog, answer: Answer) -> Reply:
    if answer.button is not None and is_cancelling(answer.button):
        return Reply((FAILED,), summary={"button": answer.button})
    values = [str(value) for value in answer.values or ()]
    lowest, highest = dialog.definition["minSelected"], dialog.definition["maxSelected"]
    if len(values) < lowest or (highest and len(values) > highest):
        raise BadAnswer("values", f"choose {lowest} to {highest or 'all'} of the items")
    known = {item["name"] for item in dialog.definition["items"]}
    for value in values:
        if (known and value not in known) or RESERVED.fullmatch(value.strip()):
            raise BadAnswer("values", f"'{value[:100]}' is not one of the items")
    if len(set(values)) != len(values):
        raise BadAnswer("values", "an item is there twice")
    return Reply((*values, DONE), summary={"count": len(values)})


def _reply_form(dialog: Dialog, answer: Answer) -> Reply:
    event = answer.event
    if event is None or not isinstance(event.get("eventType"), str):
        raise BadAnswer("event", "the dialog is a form: tell what happened, with 'eventType'")
    written = {"eventDetails": "", "eventDetailsJson": [], "objectId": "", "results": [], **event}
    results = written["results"]
    if not isinstance(results, list) or not all(isinstance(item, dict) and "id" in item for item in results):
        raise BadAnswer("event", "'results' has to be a list of fields, each an object with its 'id'")
    line = json.dumps(written)
    details = str(written["eventDetails"])
    is_click = written["eventType"] == "BUTTON_CLICK"
    is_end = is_click and details in {"OK", "CANCEL"}
    summary = {"event": written["eventType"][:100], "button": details[:MAX_TITLE]}
    if dialog.definition.get("isInWindow"):
        return Reply((line,), closes=False, resumes=is_click, summary=summary)
    return Reply((line, DONE) if is_end else (line,), closes=is_end, resumes=is_click, summary=summary)


def _reply_instance(dialog: Dialog, answer: Answer) -> Reply:
    del dialog
    if answer.button is not None and is_cancelling(answer.button):
        return Reply((FAILED,), summary={"button": answer.button})
    if not answer.value or len(answer.value) > 200 or RESERVED.fullmatch(answer.value.strip()):
        raise BadAnswer("value", "has to be the id of the new instance")
    return Reply((answer.value, DONE), summary={"value": answer.value})


def _reply_store(dialog: Dialog, answer: Answer) -> Reply:
    del dialog
    if answer.values is None:
        raise BadAnswer("values", "has to be the rows of the table")
    return Reply((), stored=list(answer.values), summary={"count": len(answer.values)})


def _no_reply(dialog: Dialog, answer: Answer) -> Reply:
    del dialog, answer
    raise BadAnswer("dialogId", "this dialog asks nothing")


_REPLIES: Mapping[Kind, Callable[[Dialog, Answer], Reply]] = {
    "buttons": _reply_buttons,
    "selection": _reply_selection,
    "form": _reply_form,
    "instance": _reply_instance,
    "store": _reply_store,
    "window": _no_reply,
    "message": _no_reply,
    "download": _no_reply,
    "app": _no_reply,
}


def is_cancelling(label: str) -> bool:
    """Whether a button leads away from what was asked."""
    return label.strip().lower() in CANCELLING


def default_reply(dialog: Dialog) -> Reply | None:
    """Answer a question where nobody is there: what confirms nothing. None where there is no such answer.

    One button only: that one. Several: the one that cancels. A list that may be left empty: nothing chosen.
    """
    if dialog.kind == "buttons":
        buttons = dialog.definition["buttons"]
        cancelling = sorted(
            (button for button in buttons if is_cancelling(button["label"])),
            key=lambda button: CANCELLING.index(button["label"].strip().lower()),
        )
        if cancelling or (len(buttons) == 1 and "input" not in dialog.definition):
            chosen = (cancelling or buttons)[0]["id"]
            return Reply((chosen, DONE) if dialog.style == "lines" else (chosen,), summary={"button": chosen})
    if dialog.kind == "selection" and dialog.definition["minSelected"] == 0:
        return Reply((DONE,), summary={"count": 0})
    return None
