"""Cursors of lists: opaque to callers, good for the list that made them only."""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import JSONResponse, Response

from infraxys.server.errors import BadRequest

MAX_KEY = 500
Item = dict[str, Any]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=1000, description="`nextCursor` of the page before")]


def encode_cursor(kind: str, key: str) -> str:
    """Make the cursor that continues a list of a kind behind a key."""
    return base64.urlsafe_b64encode(json.dumps([kind, key]).encode()).decode().rstrip("=")


def decode_cursor(kind: str, cursor: str) -> str:
    """Give the key of a cursor. Raises BadRequest for anything that this list did not make."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        made_for, key = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, TypeError, RecursionError) as error:
        raise BadRequest("the cursor is not one of this list") from error
    if made_for != kind or not isinstance(key, str) or len(key) > MAX_KEY or not key.isprintable():
        raise BadRequest("the cursor is not one of this list")
    return key


def listing(items: Sequence[Item], following: str | None = None) -> Response:
    """Answer with a page, and the cursor of what follows."""
    return JSONResponse({"items": items, "nextCursor": following})


def ordered_page(
    items: Sequence[Item], kind: str, limit: int, cursor: str | None, identity: Callable[[Item], str] = itemgetter("id")
) -> tuple[list[Item], str | None]:
    """Cut a page out of a bounded list whose order says something; gives it with the cursor of what follows.

    Raises BadRequest also when what the page before ended with is gone: nobody could say then where to go on.
    """
    start = 0
    if cursor is not None:
        last = decode_cursor(kind, cursor)
        found = [place for place, item in enumerate(items) if identity(item) == last]
        if not found:
            raise BadRequest("the cursor is not one of this list, or the list has changed; start again")
        start = found[0] + 1
    page = list(items[start : start + limit])
    is_all = start + limit >= len(items)
    return page, None if is_all else encode_cursor(kind, identity(page[-1]))


def sorted_page(
    items: Iterable[Item], kind: str, limit: int, cursor: str | None, sort: str
) -> tuple[list[Item], str | None]:
    """Sort a bounded list by a member, with "-" the other way round, and cut a page out of it."""
    name, is_reversed, kind = sort.removeprefix("-"), sort.startswith("-"), f"{kind} {sort}"

    def key(item: Item) -> list[str]:
        return [item[name] or "", item["id"]]

    rest = sorted(items, key=key, reverse=is_reversed)
    if cursor is not None:
        last = _sort_key(decode_cursor(kind, cursor))
        rest = [item for item in rest if (key(item) < last if is_reversed else key(item) > last)]
    page = rest[:limit]
    return page, encode_cursor(kind, json.dumps(key(page[-1]), ensure_ascii=False)) if len(rest) > limit else None


def _sort_key(text: str) -> list[str]:
    try:
        value, identity = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRequest("the cursor is not one of this list") from error
    if not isinstance(value, str) or not isinstance(identity, str):
        raise BadRequest("the cursor is not one of this list")
    return [value, identity]
