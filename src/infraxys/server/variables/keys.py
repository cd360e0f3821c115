"""The embedded store of secrets: values are sealed under a key of their own, that key under the master key.

A stolen database holds nothing readable. What was sealed for one variable, version and protection opens for no other,
so that nobody who can write to the database moves a secret to where it may be seen. Another master key is taken by
sealing the small keys again; values stay as they are.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infraxys.kit.files import write_private
from infraxys.server.secret_options import SecretOptions

KEY_BYTES, NONCE_BYTES, TAG_BYTES, ID_BYTES = 32, 12, 16, 8
FORMAT = b"\x01"
_WRAPPED = NONCE_BYTES + KEY_BYTES + TAG_BYTES
VARIABLE = "INFRAXYS_SECRETS_KEY"


class KeyProblem(Exception):  # noqa: N818 - reads as what is wrong
    """The master key cannot be used; the message says which one and what to do."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a sealed value belongs to."""

    path: tuple[str, ...]
    version: int
    is_protected: bool

    def data(self, key_id: str) -> bytes:
        """Give what is authenticated with the value."""
        return json.dumps([key_id, *self.path, self.version, self.is_protected]).encode()


def key_id_of(key: bytes) -> str:
    """Give the public name of a master key."""
    return hashlib.sha256(b"infraxys master key\0" + key).digest()[:ID_BYTES].hex()


def read_keys(text: str) -> list[bytes]:
    """Read master keys, base64 and 32 bytes each, the current one first. Raises ValueError."""
    keys = [base64.b64decode(part, validate=True) for part in text.replace(",", " ").split()]
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise ValueError("a master key is 32 bytes in base64")
    return keys


class KeyRing:
    """The master keys: one seals, all open. From the environment, else from a file that only the server may read.

    The file is read again when it has changed, so that a rotation beside a running server is seen by it.
    """

    def __init__(self, path: Path, given: str | None = None) -> None:
        self._path, self._given = path, given
        self._state: tuple[int, int] | None = None
        self._keys: Mapping[str, bytes] = {}
        if given is not None:
            try:
                self._keys = {key_id_of(key): key for key in read_keys(given)}
            except ValueError as error:
                raise KeyProblem(f"{VARIABLE} is wrong: {error}; several are separated by commas") from error

    @property
    def is_from_environment(self) -> bool:
        """Whether somebody else keeps the keys."""
        return self._given is not None

    def open(self, *, is_needed: bool) -> None:
        """Read the keys, or make the first one; not where something is sealed already. Raises KeyProblem."""
        if self._given is None and not self._path.exists():
            if is_needed:
                raise KeyProblem(
                    f"the key file '{self._path.name}' is missing, and there are variables that only it opens; "
                    "restore it from a backup"
                )
            write_private(self._path, _written([secrets.token_bytes(KEY_BYTES)]), replace=False)
        self._read()

    def rotate(self) -> str:
        """Take another key from now on; those before still open. Gives its id. Raises KeyProblem."""
        if self._given is None:
            write_private(
                self._path, _written([secrets.token_bytes(KEY_BYTES), *self._current().values()]), replace=True
            )
        return next(iter(self._current()))

    def forget_others(self) -> int:
        """Drop every key but the one that seals; gives how many there were. Raises KeyProblem."""
        keys = list(self._current().values())
        if self._given is None and len(keys) > 1:
            write_private(self._path, _written(keys[:1]), replace=True)
        return len(keys) - 1

    @property
    def key_id(self) -> str:
        """The id of the key that seals. Raises KeyProblem."""
        return next(iter(self._current()))

    def seal(self, value: bytes, bound: Bound) -> bytes:
        """Seal a value. Raises KeyProblem."""
        key_id, master = next(iter(self._current().items()))
        own = secrets.token_bytes(KEY_BYTES)
        # The key of the value is used once: a fixed nonce does for it, but costs nothing to have one.
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + AESGCM(own).encrypt(nonce, value, bound.data(""))
        return FORMAT + bytes.fromhex(key_id) + _wrap(master, own, bound.data(key_id)) + sealed

    def unseal(self, sealed: bytes, bound: Bound) -> bytes:
        """Open a value. Raises KeyProblem."""
        own, rest = self._unwrap(sealed, bound)
        try:
            return AESGCM(own).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], bound.data(""))
        except (InvalidTag, ValueError):
            raise _damaged() from None

    def rewrap(self, sealed: bytes, bound: Bound) -> bytes:
        """Seal the key of a value under the current master key. Raises KeyProblem."""
        own, rest = self._unwrap(sealed, bound)
        key_id, master = next(iter(self._current().items()))
        return FORMAT + bytes.fromhex(key_id) + _wrap(master, own, bound.data(key_id)) + rest

    def _unwrap(self, sealed: bytes, bound: Bound) -> tuple[bytes, bytes]:
        key_id = sealed[1 : 1 + ID_BYTES].hex()
        start = 1 + ID_BYTES
        wrapped, rest = sealed[start : start + _WRAPPED], sealed[start + _WRAPPED :]
        master = self._current().get(key_id)
        if master is None:
            raise KeyProblem(f"the master key {key_id} is not there, which a value was sealed under; bring it back")
        try:
            own = AESGCM(master).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound.data(key_id))
        except (InvalidTag, ValueError):
            raise _damaged() from None
        return own, rest

    def _current(self) -> Mapping[str, bytes]:
        if self._given is None:
            status = self._status()
            if (status.st_mtime_ns, status.st_ino) != self._state:
                self._read()
        return self._keys

    def _status(self) -> os.stat_result:
        try:
            status = self._path.stat()
        except OSError as error:
            raise KeyProblem(f"the key file '{self._path.name}' cannot be read: {error.strerror}") from error
        if status.st_mode & 0o077 or status.st_uid != os.geteuid():
            raise KeyProblem(
                f"the key file '{self._path.name}' is open to others or not the server's: make it the server's "
                "account's, with mode 600"
            )
        return status

    def _read(self) -> None:
        if self._given is not None:
            return
        status = self._status()
        try:
            keys = read_keys(self._path.read_text())
        except (OSError, ValueError) as error:
            raise KeyProblem(f"the key file '{self._path.name}' is damaged; restore it from a backup") from error
        self._keys = {key_id_of(key): key for key in keys}
        self._state = (status.st_mtime_ns, status.st_ino)


def key_ring(options: SecretOptions, data: Path) -> KeyRing:
    """Give the master keys of a server with this data folder, not read yet. Raises KeyProblem."""
    given = options.secrets_key.get_secret_value() if options.secrets_key else None
    return KeyRing(options.secrets_key_file or data.expanduser() / "keys" / "secrets.key", given)


def _wrap(master: bytes, own: bytes, data: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(master).encrypt(nonce, own, data)


def _written(keys: list[bytes]) -> bytes:
    return b"".join(base64.b64encode(key) + b"\n" for key in keys)


def _damaged() -> KeyProblem:
    return KeyProblem("a value in the database is not what was sealed there; set the variable again")
