"""Lines for the log: `[dd-mm-YYYY HH:MM:SS,ffff] [host] [LEVEL] [user] [tag] text`, in UTC."""

from __future__ import annotations

import os
import sys
import time

from .communicator import Communicator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

current_hostname = os.uname().nodename
current_os_user = os.environ.get("LOGNAME") or os.environ.get("USER") or "root"


class Logger:
    """Writes lines that carry a tag to the standard output, and entries to the audit trail."""

    @staticmethod
    def get_logger(tag: str, ticket: str = "") -> Logger:
        """Give one for a tag."""
        return Logger(tag, ticket)

    def __init__(self, tag: str, ticket: str = "") -> None:
        self.tag = tag
        self.ticket = ticket

    def trace(self, text: object, new_line: bool = True) -> None:
        """Log at level TRACE."""
        self._do_log("TRACE", text, new_line)

    def debug(self, text: object, new_line: bool = True) -> None:
        """Log at level DEBUG."""
        self._do_log("DEBUG", text, new_line)

    def info(self, text: object, new_line: bool = True) -> None:
        """Log at level INFO."""
        self._do_log("INFO ", text, new_line)

    def warn(self, text: object, new_line: bool = True) -> None:
        """Log at level WARN."""
        self._do_log("WARN ", text, new_line)

    def error(self, text: object, new_line: bool = True) -> None:
        """Log at level ERROR."""
        self._do_log("ERROR", text, new_line)

    def fatal(self, text: object, new_line: bool = True, exit_on_error: bool = True, exit_code: int = 1) -> None:
        """Log at level FATAL, and end the action."""
        self._do_log("FATAL", text, new_line)
        if exit_on_error:
            sys.exit(exit_code)

    def print_dot(self) -> None:
        """Write a dot and no more."""
        self._write(".", new_line=False)

    @staticmethod
    def print_object(object_to_print: object) -> None:
        """Write the attributes of an object."""
        from pprint import pprint

        pprint(vars(object_to_print))

    # -- the audit trail --

    def audit_json(self, json: Mapping[str, Any]) -> None:
        """Put an entry on record."""
        self._audit(json)

    def audit(self, text: object, ticket: str = "", audit_json: Mapping[str, Any] | None = None) -> None:
        """Log a text and put it on record."""
        self._do_log("AUDIT", text)
        self._audit({**(audit_json or {}), "ticket": ticket or self.ticket, "message": text})

    def audit_action_start(self, label: str, audit_json: Mapping[str, Any] | None = None) -> None:
        """Put on record that something begins."""
        self.audit_action(label, "start", audit_json)

    def audit_action_complete(self, label: str, audit_json: Mapping[str, Any] | None = None) -> None:
        """Put on record that something is done."""
        self.audit_action(label, "complete", audit_json)

    def audit_action(self, label: str, status: str | None = None, audit_json: Mapping[str, Any] | None = None) -> None:
        """Put on record what the action does. `audit_json` are further members of the entry."""
        self._audit({**(audit_json or {}), "label": label, **({"status": status} if status else {})})

    def _audit(self, json: Mapping[str, Any]) -> None:
        request = {"requestType": "SYSTEM", "subType": "AUDIT", "json": json}
        Communicator.get_instance().send_synchronous(request)

    def _do_log(self, level: str, text: object, new_line: bool = True) -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        moment = time.strftime("%d-%m-%Y %H:%M:%S", time.gmtime(seconds)) + f",{nanoseconds // 100_000:04d}"
        line = f"[{moment}] [{current_hostname}] [{level}] [{current_os_user}] [{self.tag}] {text}"
        self._write(line, new_line=new_line)

    @staticmethod
    def _write(text: str, *, new_line: bool) -> None:
        Communicator.is_line_open = not new_line
        print(text, end="\n" if new_line else "", flush=True)
