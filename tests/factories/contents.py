"""What stands in the files of a folder, for tests that look for secrets in all of them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Give every regular file with its bytes; holes of sparse files are left out, as are files that go meanwhile."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                yield path, b"".join(pieces(file.fileno()))


def pieces(descriptor: int) -> Iterator[bytes]:
    """Read what a file has on disk."""
    end = os.fstat(descriptor).st_size
    start = 0
    while start < end:
        try:
            start = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError:  # nothing but a hole to its end
            return
        hole = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield os.pread(descriptor, hole - start, start)
        start = hole
