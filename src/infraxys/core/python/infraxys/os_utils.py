"""Programs and folders."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class OsUtils:
    """What scripts need of the system."""

    @staticmethod
    def run_command(
        command_line: str | Sequence[str],
        workdir: str | None = None,
        hide_stdout: bool = False,
        hide_stderr: bool = False,
    ) -> tuple[int, str, str]:
        """Execute a program; gives its exit status, its output and its errors; empty where they are hidden.

        `command_line` is cut at its spaces and nothing else; a list of words is taken as it is.
        """
        import subprocess

        words = command_line.split() if isinstance(command_line, str) else list(command_line)
        ended = subprocess.run(  # noqa: S603 - no shell; what the action wants executed
            words,
            cwd=workdir,
            stdout=subprocess.DEVNULL if hide_stdout else subprocess.PIPE,
            stderr=subprocess.DEVNULL if hide_stderr else subprocess.PIPE,
            check=False,
        )
        output, errors = ((text or b"").decode(errors="replace") for text in (ended.stdout, ended.stderr))
        return ended.returncode, output, errors

    @staticmethod
    def ensure_dir(path: str, extra_dir: str | None = None, exit_on_error: bool = True) -> None:
        """Make a folder, and one in it, unless they are there. Ends the action where that is impossible."""
        try:
            os.makedirs(f"{path}/{extra_dir}" if extra_dir else path, exist_ok=True)
        except OSError as problem:
            print(problem, file=sys.stderr, flush=True)
            if exit_on_error:
                sys.exit(1)
