"""Trees that somebody made to do harm."""

import os
import socket
from pathlib import Path


def make_deep(folder: Path, depth: int) -> None:
    """Nest folders deeper than any path can be long."""
    current = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=current)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
        os.close(current)
        current = below
    os.close(os.open("bottom", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=current))
    os.close(current)


def make_hostile(folder: Path, outside: Path, depth: int = 3) -> None:
    """Put everything into a folder that a careless clean-up stumbles over or gets out by."""
    (folder / "to-a-file").symlink_to(outside / "precious")
    (folder / "to-a-folder").symlink_to(outside)
    (folder / "to-nothing").symlink_to("nowhere")
    (folder / "to-itself").symlink_to("to-itself")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
    (folder / "-rf").write_text("name")
    (folder / "a b\nc\x1b[31m").write_text("name")
    os.close(os.open(os.fsencode(folder) + b"/\xff\xfe", os.O_WRONLY | os.O_CREAT, 0o644))
    (folder / "closed").mkdir()
    (folder / "closed" / "inside").write_text("data")
    (folder / "closed" / "deeper").mkdir()
    (folder / "closed" / "deeper" / "inside").write_text("data")
    (folder / "closed" / "deeper").chmod(0)
    (folder / "closed").chmod(0)
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(2**40)
    make_deep(folder, depth)


def make_outside(folder: Path) -> Path:
    """Make something that must stay as it is."""
    outside = folder / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    return outside


def is_untouched(outside: Path) -> bool:
    """Whether it did."""
    return [path.name for path in outside.iterdir()] == ["precious"] and (
        outside / "precious"
    ).read_text() == "precious"
