"""Programs and folders."""

from __future__ import annotations

import os
import sys

from .logger import Logger


class OsUtils:
    """What scripts need of the system."""

    logger = Logger.get_logger("OsUtils")

    @staticmethod
    def run_command_over_ssh(
        hostname: str,
        command_line: str,
        workdir: str | None = None,
        hide_stdout: bool = False,
        hide_stderr: bool = False,
        exit_on_error: bool = False,
        log_command: bool = True,
    ) -> tuple[int, str, str]:
        """Execute a command by the shell of another host, as `run_command` does."""
        return OsUtils.run_command(
            f"ssh -k {hostname}", command_line, workdir, hide_stdout, hide_stderr, exit_on_error, log_command
        )

    @staticmethod
    def run_command(
        command_line: str,
        arguments: str | None = None,
        workdir: str | None = None,
        hide_stdout: bool = False,
        hide_stderr: bool = False,
        exit_on_error: bool = False,
        log_command: bool = True,
        string_for_stdin: str | None = None,
    ) -> tuple[int, str, str]:
        """Execute a program; gives its exit status, its output and its errors; empty where they are hidden.

        `command_line` is cut at its spaces and nothing else, `arguments` is one word more, and never in the log. With
        `exit_on_error` the action ends where the program fails.
        """
        import subprocess

        if log_command:
            OsUtils.logger.debug(f"command_line: {command_line}")
        ended = subprocess.run(  # noqa: S603 - no shell; what the action wants executed
            [*command_line.split(), *([arguments] if arguments else [])],
            cwd=workdir,
            input=(string_for_stdin or "").encode(),
            stdout=subprocess.DEVNULL if hide_stdout else subprocess.PIPE,
            stderr=subprocess.DEVNULL if hide_stderr else subprocess.PIPE,
            check=False,
        )
        output, errors = ((text or b"").decode(errors="replace") for text in (ended.stdout, ended.stderr))
        if ended.returncode and exit_on_error:
            OsUtils.logger.error(f"Exit code {ended.returncode} {output} {errors}")
            sys.exit(1)
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
