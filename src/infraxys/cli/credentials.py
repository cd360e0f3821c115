"""What `infraxys login` stored: a file that only its owner can read, with an entry for each server.

Standard library only, as every command looks here.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infraxys.cli.output import Failed
from infraxys.kit.files import write_private

REFRESH_BEFORE_SECONDS = 30


def folder() -> Path:
    """Give the folder of the person's settings."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "infraxys"


def _path() -> Path:
    return folder() / "credentials.json"


def _read() -> dict[str, Any]:
    path = _path()
    try:
        status = path.stat()
        text = path.read_text()
    except FileNotFoundError:
        return {"last": None, "servers": {}}
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}") from error
    if status.st_mode & 0o077 or status.st_uid != os.geteuid():
        raise Failed(f"{path} is open to others: delete it, or make it yours alone (chmod 600), and sign in again")
    try:
        value: dict[str, Any] = json.loads(text)
        return {"last": value["last"], "servers": dict(value["servers"])}
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(f"{path} is damaged: delete it and sign in again with 'infraxys login'") from error


def _write(value: dict[str, Any]) -> None:
    try:
        write_private(_path(), json.dumps(value).encode(), replace=True)
    except OSError as error:
        raise Failed(f"{_path()} cannot be written: {error.strerror}") from error


@contextmanager
def _locked() -> Iterator[None]:
    """Keep other commands of the person out: a refresh token is good for one use."""
    try:
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder() / "credentials.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise Failed(f"{folder()} cannot be written: {error.strerror}") from error


def last_server() -> str | None:
    """Give the server of the last sign-in."""
    found: str | None = _read()["last"]
    return found


def find(server: str) -> dict[str, Any] | None:
    """Give what is stored for a server."""
    found: dict[str, Any] | None = _read()["servers"].get(server)
    return found


def store(server: str, entry: dict[str, Any]) -> None:
    """Keep what a sign-in gave."""
    with _locked():
        value = _read()
        value["servers"][server] = entry
        value["last"] = server
        _write(value)


def remove(server: str) -> None:
    """Forget a server."""
    with _locked():
        value = _read()
        value["servers"].pop(server, None)
        if value["last"] == server:
            value["last"] = None
        _write(value)


def authorization(server: str, refused: str | None = None) -> str | None:
    """Give the value of the Authorization header for a server, refreshed when it has to be. Raises Failed.

    `refused` is a value that the server did not accept: a new one is fetched though the old one is not expired.
    """
    entry = find(server)
    if entry is None:
        return None
    if "token" in entry:
        return f"token {entry['token']}"
    if _is_old(entry, refused):
        with _locked():
            value = _read()
            entry = value["servers"].get(server)
            if entry is None:
                return None
            if _is_old(entry, refused):  # and no other command was faster
                from infraxys.cli.device import refresh

                entry = value["servers"][server] = refresh(entry, server)
                _write(value)
    return f"Bearer {entry['accessToken']}"


def _is_old(entry: dict[str, Any], refused: str | None) -> bool:
    expires_at: float = entry["expiresAt"]
    return expires_at - time.time() < REFRESH_BEFORE_SECONDS or refused == f"Bearer {entry['accessToken']}"
