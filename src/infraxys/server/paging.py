"""Cursors of lists: opaque to callers, good for the list that made them only."""

import base64
import binascii
import json

from infraxys.server.errors import BadRequest

MAX_KEY = 500


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
