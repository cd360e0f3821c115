"""Writing files that must be whole or not there at all."""

import os
import secrets
from pathlib import Path


def write_private(path: Path, data: bytes, *, replace: bool) -> bool:
    """Write a file that only its owner can read, whole at once, whatever dies meanwhile.

    With `replace` False a file that is there already stays; tells whether this one was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
            return True
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        return True
    finally:
        temporary.unlink(missing_ok=True)
