"""The terminal of an interactive action: a pseudo-terminal, whose other side is the sandbox's standard streams."""

import fcntl
import os
import signal
import struct
import termios
from pathlib import Path

COLUMNS, ROWS = 120, 40  # until somebody looks
IUTF8 = 0x4000  # of Linux; Python has no name for it
MAX_CELLS = 1000  # columns, and rows
TYPING = termios.ECHO | termios.ICANON | termios.ISIG  # what a terminal does for a person: show, edit, interrupt
SIZE = struct.Struct("HHHH")  # rows, columns, and two that nobody uses


def open_terminal(ours: list[int], theirs: list[int]) -> None:
    """Make a terminal: adds two descriptors of our side, to write and to read, and three of the action's side.

    Raises OSError.
    """
    us, them = os.openpty()
    ours.append(us)
    theirs.append(them)
    set_size(us, COLUMNS, ROWS)
    attributes = termios.tcgetattr(them)
    attributes[0] |= IUTF8  # a backspace takes away a whole character
    termios.tcsetattr(them, termios.TCSANOW, attributes)
    ours.append(os.dup(us))
    theirs += [os.dup(them), os.dup(them)]


def set_size(terminal: int, columns: int, rows: int) -> None:
    """Change the size; the kernel tells what runs in the foreground. Raises OSError and, out of range, ValueError."""
    check_size(columns, rows)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, SIZE.pack(rows, columns, 0, 0))


def check_size(columns: int, rows: int) -> None:
    """Raise ValueError for a size that no terminal has."""
    if not (1 <= columns <= MAX_CELLS and 1 <= rows <= MAX_CELLS):
        raise ValueError(f"a terminal has 1 to {MAX_CELLS} columns and rows, not {columns} and {rows}")


def suspend_typing(terminal: int) -> int:
    """Let the lines of a program pass: of any length, as they are, and not shown. Gives what was on. Raises OSError."""
    attributes = termios.tcgetattr(terminal)
    before: int = attributes[3] & TYPING
    attributes[3] &= ~TYPING
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    return before


def resume_typing(terminal: int, before: int) -> None:
    """Turn on again what was on. Raises OSError."""
    attributes = termios.tcgetattr(terminal)
    attributes[3] |= before
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)


def hangs_up_only(process: int) -> bool:
    """Whether a process ignores the request to end but not that its terminal goes away, as interactive shells do."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return False
    ignored = next((int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:")), 0)
    return bool(ignored & bit(signal.SIGTERM)) and not ignored & bit(signal.SIGHUP)


def bit(number: signal.Signals) -> int:
    """Give a signal's bit in the masks of the kernel."""
    return 1 << (number - 1)


def is_stopped(process: int) -> bool:
    """Whether a process was stopped by a signal, so that it hears no other until it goes on."""
    try:
        after_name = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return after_name[:1] == [b"T"]
