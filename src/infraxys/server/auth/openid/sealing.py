"""What only this server may read again: refresh tokens in the database, and the cookie of a sign-in under way."""

import json
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from infraxys.kit.files import write_private


class Sealer:
    """Encrypts and authenticates small JSON objects under a key in a file beside the database, not in it.

    Raises OSError when the file cannot be read or is damaged.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            write_private(path, Fernet.generate_key(), replace=False)
        try:
            self._fernet = Fernet(path.read_bytes())
        except ValueError as error:
            raise OSError(
                f"the key '{path.name}' is damaged; restore it from a backup, or delete it: people then have "
                "to sign in again"
            ) from error

    def seal(self, purpose: str, value: dict[str, Any]) -> bytes:
        """Seal an object. What was sealed for one purpose cannot be opened for another."""
        return self._fernet.encrypt(json.dumps({"purpose": purpose, "value": value}).encode())

    def open(self, purpose: str, sealed: bytes, max_seconds: int | None = None) -> dict[str, Any] | None:
        """Open what was sealed; None when it was not sealed here, for something else, or too long ago."""
        try:
            opened = json.loads(self._fernet.decrypt(sealed, ttl=max_seconds))
        except InvalidToken:
            return None
        value: dict[str, Any] | None = opened["value"] if opened["purpose"] == purpose else None
        return value
