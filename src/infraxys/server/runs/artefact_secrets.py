"""Keeping secrets out of artefacts: out of the names of files, and out of the text in them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

from infraxys.engine.masking import Masker
from infraxys.kit import trees

READ_BYTES = 256 * 1024
MAX_NAMED = 3  # files that the note names


def hide_secrets(top: int, masker: Masker, spare: Path, *, most: int) -> str:
    """Take secrets out of the plain files in an open folder; gives a sentence for people where there were some. Blocks.

    Text gets `********` in their place, in a copy that is made in the folder `spare`. What is no text would be damaged
    by that, and is removed.
    """
    hidden, removed = 0, []
    for path, entry in trees.files(top, most=most):
        names, masked = tuple(path.split("/")), masker.text(path)
        try:
            is_changed = _hide_in_file(top, names, masker, spare, is_executable=entry.is_executable)
            if masked != path:
                _rename(top, names, tuple(masked.split("/")))
        except OSError:  # no text, not readable, too long a name: whatever it is, it is not given out
            with trees.descended(top, names[:-1]) as folder:
                os.unlink(names[-1], dir_fd=folder)
            removed.append(masked)
            continue
        hidden += is_changed or masked != path
    said = [f"secrets in {hidden} of the artefacts were replaced by ********"] if hidden else []
    if removed:
        more = f" and {len(removed) - MAX_NAMED} more" if len(removed) > MAX_NAMED else ""
        named = ", ".join(removed[:MAX_NAMED])
        said.append(f"artefacts were not kept because secrets in them cannot be replaced: {named}{more}")
    return "; ".join(said)


def masked_copy(descriptor: int, masker: Masker, spare: Path) -> int:
    """Give a file as it may be seen; closes the one that is given. Blocks. Raises OSError, for one that is no text."""
    try:
        if not _holds_secrets(descriptor, masker):
            return os.dup(descriptor)
        with TemporaryFile(dir=spare) as copy:
            _write_masked(descriptor, copy.fileno(), masker)
            return os.dup(copy.fileno())
    finally:
        os.close(descriptor)


class _NotText(OSError):  # noqa: N818 - reads as what is wrong
    """A file has secrets in it and is no text."""


def _hide_in_file(top: int, names: tuple[str, ...], masker: Masker, spare: Path, *, is_executable: bool) -> bool:
    """Take secrets out of a file; gives whether there were any. Raises _NotText and OSError."""
    try:
        descriptor = trees.open_file(top, names)
    except PermissionError:
        return False  # nor can it be given out
    try:
        if not _holds_secrets(descriptor, masker):
            return False
        copy = spare / uuid4().hex
        target = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_masked(descriptor, target, masker)
        finally:
            os.close(target)
    finally:
        os.close(descriptor)
    trees.put_file(top, names, copy, executable=is_executable, replace=True)
    return True


def _holds_secrets(descriptor: int, masker: Masker) -> bool:
    """Whether there are any in a file; its holes are not looked at."""
    looking, pending = masker.again(), b""
    for _, data in _data(descriptor):
        pending += data
        given = looking.feed("file", data)
        if not pending.startswith(given):
            return True
        pending = pending[len(given) :]
    return looking.finish("file") != pending


def _write_masked(descriptor: int, target: int, masker: Masker) -> None:
    """Write a text without its secrets. Raises _NotText and OSError."""
    writing, place = masker.again(), 0
    with open(target, "wb", closefd=False) as copy:
        for offset, data in _data(descriptor):
            if offset != place or b"\0" in data:
                raise _NotText
            place += len(data)
            copy.write(writing.feed("file", data))
        copy.write(writing.finish("file"))


def _data(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Give what is in a file and where, without its holes."""
    offset = 0
    with suppress(OSError):  # there is nothing more than a hole
        while True:
            offset = os.lseek(descriptor, offset, os.SEEK_DATA)
            end = os.lseek(descriptor, offset, os.SEEK_HOLE)
            while offset < end and (data := os.pread(descriptor, min(READ_BYTES, end - offset), offset)):
                yield offset, data
                offset += len(data)


def _rename(top: int, names: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    """Give a file another name below the same folder, with a number where that is taken."""
    with trees.descended(top, names[:-1]) as source, trees.descended(top, wanted[:-1], make=True) as target:
        for number in range(1, 1000):
            name = wanted[-1] if number == 1 else f"{wanted[-1]}-{number}"
            with suppress(FileExistsError):
                os.link(names[-1], name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
                break
        os.unlink(names[-1], dir_fd=source)
    for depth in range(len(names) - 1, 0, -1):  # folders that a secret may have given their names
        with suppress(OSError), trees.descended(top, names[: depth - 1]) as above:
            os.rmdir(names[depth - 1], dir_fd=above)
