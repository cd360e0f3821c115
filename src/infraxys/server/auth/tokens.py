"""Personal access tokens: `ifx_<id>_<secret>_<crc>`.

The id finds the row, the 256-bit secret proves it, the CRC catches typing errors without asking the database. Stored
is an HMAC of the secret under a key that is not in the database.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from infraxys.kit.clock import utc_now
from infraxys.kit.files import write_private
from infraxys.server.db.tables import tokens, users

PREFIX = "ifx"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH, SECRET_LENGTH, CRC_LENGTH = 16, 43, 6
PATTERN = re.compile(
    rf"{PREFIX}_([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})_([0-9A-Za-z]{{{CRC_LENGTH}}})\Z"
)
MAX_TEXT = 200
KEY_LENGTH = 32


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


def create_token(
    connection: Connection, key: TokenKey, user_id: str, name: str, expires_in: timedelta | None = None
) -> NewToken:
    """Make and record a token for a user."""
    token_id = base62(secrets.randbits(95), ID_LENGTH)
    secret = base62(secrets.randbits(256), SECRET_LENGTH)
    body = f"{PREFIX}_{token_id}_{secret}"
    now = utc_now()
    connection.execute(
        tokens.insert().values(
            id=token_id,
            user_id=user_id,
            name=name,
            digest=key.digest(secret),
            created_at=now,
            expires_at=now + expires_in if expires_in else None,
        )
    )
    return NewToken(token_id, f"{body}_{checksum(body)}")


_FIND = (
    sa.select(
        tokens.c.id,
        tokens.c.digest,
        tokens.c.expires_at,
        tokens.c.revoked_at,
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
    expired = row["expires_at"] is not None and row["expires_at"] <= now
    return matches and not expired and row["revoked_at"] is None and row["disabled_at"] is None


def list_tokens(connection: Connection, user_id: str | None = None) -> list[dict[str, Any]]:
    """Give the tokens of a user (or of all), newest first, without anything secret."""
    query = (
        sa.select(tokens, users.c.name.label("user_name"))
        .join(users, users.c.id == tokens.c.user_id)
        .where(tokens.c.revoked_at.is_(None))
        .order_by(tokens.c.created_at.desc())
    )
    if user_id is not None:
        query = query.where(tokens.c.user_id == user_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def revoke_token(connection: Connection, token_id: str, user_id: str | None = None) -> bool:
    """Make a token unusable for good; tells whether there was one."""
    query = tokens.update().where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None)).values(revoked_at=utc_now())
    if user_id is not None:
        query = query.where(tokens.c.user_id == user_id)
    return connection.execute(query).rowcount > 0


def mark_used(connection: Connection, token_id: str, address: str) -> None:
    """Note when and from where a token was used last."""
    connection.execute(
        tokens.update().where(tokens.c.id == token_id).values(last_used_at=utc_now(), last_used_address=address[:64])
    )
