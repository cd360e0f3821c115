"""Personal access tokens: `ifx_<id>_<secret>_<crc>`.

The id finds the row, the 256-bit secret proves it, the CRC catches typing errors without asking the database. Stored
is an HMAC of the secret under a key that is not in the database.
"""

import hashlib
import hmac
import json
import re
import secrets
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from infraxys.kit.clock import timestamp, utc_now
from infraxys.kit.files import write_private
from infraxys.server.audit.trail import record
from infraxys.server.db.tables import tokens, users

PREFIX = "ifx"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH, SECRET_LENGTH, CRC_LENGTH = 16, 43, 6
PATTERN = re.compile(
    rf"{PREFIX}_([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})_([0-9A-Za-z]{{{CRC_LENGTH}}})\Z"
)
MAX_TEXT = 200
KEY_LENGTH = 32
# Of one owner. A list of them is one page.
MAX_TOKENS = 200


class TooManyTokens(Exception):  # noqa: N818 - reads as what is wrong
    """The owner has as many tokens as an account may have."""

    def __init__(self) -> None:
        super().__init__(f"an account has at most {MAX_TOKENS} tokens; delete those that are no longer used")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. `text` is shown once and kept nowhere."""

    id: str
    text: str


def base62(number: int, length: int) -> str:
    """Write a number with letters and digits."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def checksum(body: str) -> str:
    """Give the last part of a token."""
    return base62(zlib.crc32(body.encode()), CRC_LENGTH)


def parse(text: str) -> tuple[str, str] | None:
    """Split a token into id and secret; None when it cannot be one."""
    match = PATTERN.match(text) if len(text) <= MAX_TEXT else None
    if match is None:
        return None
    body, _, crc = text.rpartition("_")
    return (match[1], match[2]) if hmac.compare_digest(checksum(body), crc) else None


class TokenKey:
    """The key under which secrets are stored: a file that only the server's account can read.

    Raises OSError when it cannot be read or is damaged.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            write_private(path, secrets.token_bytes(KEY_LENGTH), replace=False)
        self._key = path.read_bytes()
        if len(self._key) != KEY_LENGTH:
            raise OSError(f"the token key '{path.name}' is damaged; restore it from a backup")

    def digest(self, secret: str) -> bytes:
        """Give what is stored of a secret."""
        return hmac.new(self._key, secret.encode(), hashlib.sha256).digest()


def new_secret(token_id: str | None = None) -> tuple[str, str, str]:
    """Make id, secret and text of a token; of a known id, another secret."""
    token_id = token_id or base62(secrets.randbits(95), ID_LENGTH)
    secret = base62(secrets.randbits(256), SECRET_LENGTH)
    body = f"{PREFIX}_{token_id}_{secret}"
    return token_id, secret, f"{body}_{checksum(body)}"


def create_token(
    connection: Connection,
    key: TokenKey,
    user_id: str,
    name: str,
    *,
    description: str | None = None,
    expires_at: datetime | None = None,
    scopes: Collection[str] | None = None,
) -> NewToken:
    """Make and record a token for a user; `scopes` None: as wide as the owner. Raises TooManyTokens."""
    count = sa.select(sa.func.count()).select_from(tokens).where(tokens.c.user_id == user_id)
    if connection.execute(count).scalar_one() >= MAX_TOKENS:
        raise TooManyTokens
    token_id, secret, text = new_secret()
    connection.execute(
        tokens.insert().values(
            id=token_id,
            user_id=user_id,
            name=name,
            description=description,
            digest=key.digest(secret),
            scopes=None if scopes is None else json.dumps(sorted(scopes)),
            created_at=utc_now(),
            expires_at=expires_at,
        )
    )
    given: dict[str, Any] = {"user": user_id, "name": name, "scopes": scopes, "expires_at": timestamp(expires_at)}
    record(connection, "token.create", f"token/{token_id}", **given)
    return NewToken(token_id, text)


def rotate_token(
    connection: Connection, key: TokenKey, user_id: str, token_id: str, overlap: timedelta
) -> NewToken | None:
    """Exchange the secret of a user's token; the old one is good for the overlap. None when there is no such token.

    A token that expires gets the life again that it was made with; what it may do stays as it is.
    """
    mine = (tokens.c.id == token_id, tokens.c.user_id == user_id)
    row = connection.execute(sa.select(tokens).where(*mine).with_for_update()).mappings().first()
    now = utc_now()
    if row is None or (row["expires_at"] is not None and row["expires_at"] <= now):
        return None
    _, secret, text = new_secret(token_id)
    began = row["rotated_at"] or row["created_at"]
    values = {
        "digest": key.digest(secret),
        "previous_digest": row["digest"] if overlap else None,
        "previous_until": now + overlap if overlap else None,
        "rotated_at": now,
        "expires_at": None if row["expires_at"] is None else now + (row["expires_at"] - began),
    }
    connection.execute(tokens.update().where(*mine).values(values))
    record(connection, "token.rotate", f"token/{token_id}", user=user_id, overlap_seconds=int(overlap.total_seconds()))
    return NewToken(token_id, text)


_FIND = (
    sa.select(
        tokens.c.digest,
        tokens.c.previous_digest,
        tokens.c.previous_until,
        tokens.c.scopes,
        tokens.c.expires_at,
        tokens.c.last_used_at,
        users.c.id.label("user_id"),
        users.c.name,
        users.c.display_name,
        users.c.is_administrator,
        users.c.disabled_at,
    )
    .join(users, users.c.id == tokens.c.user_id)
    .where(tokens.c.id == sa.bindparam("token_id"))
)


def find_token(connection: Connection, token_id: str) -> RowMapping | None:
    """Find a token with its owner."""
    return connection.execute(_FIND, {"token_id": token_id}).mappings().first()


def is_usable(row: RowMapping, digest: bytes, now: datetime) -> bool:
    """Whether the secret is right and token and owner are still good. Takes the same time whatever is wrong."""
    matches = hmac.compare_digest(row["digest"], digest)
    if row["previous_until"] is not None and row["previous_until"] > now:
        matches |= hmac.compare_digest(row["previous_digest"], digest)
    expired = row["expires_at"] is not None and row["expires_at"] <= now
    return matches and not expired and row["disabled_at"] is None


_PUBLIC = tuple(column for column in tokens.c if "digest" not in column.name)


def list_tokens(connection: Connection, user_id: str | None = None) -> list[dict[str, Any]]:
    """Give the tokens of a user (or of all), newest first, without anything secret."""
    query = (
        sa.select(*_PUBLIC, users.c.name.label("user_name"))
        .join(users, users.c.id == tokens.c.user_id)
        .order_by(tokens.c.created_at.desc())
    )
    if user_id is not None:
        query = query.where(tokens.c.user_id == user_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def find_own_token(connection: Connection, user_id: str, token_id: str) -> dict[str, Any] | None:
    """Find a user's token, without anything secret."""
    query = sa.select(*_PUBLIC).where(tokens.c.id == token_id, tokens.c.user_id == user_id)
    row = connection.execute(query).mappings().first()
    return dict(row) if row else None


def delete_token(connection: Connection, token_id: str, user_id: str | None = None) -> bool:
    """Make a token unusable for good; tells whether there was one."""
    query = tokens.delete().where(tokens.c.id == token_id)
    if user_id is not None:
        query = query.where(tokens.c.user_id == user_id)
    if connection.execute(query).rowcount == 0:
        return False
    record(connection, "token.delete", f"token/{token_id}")
    return True


def mark_used(connection: Connection, token_id: str, address: str) -> None:
    """Note when and from where a token was used last."""
    connection.execute(
        tokens.update().where(tokens.c.id == token_id).values(last_used_at=utc_now(), last_used_address=address[:64])
    )
