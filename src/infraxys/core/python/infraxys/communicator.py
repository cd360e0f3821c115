"""The conversation with the server: requests go to the standard output, answers come by the standard input."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Callback = Callable[[Any], Any]

MAX_REQUEST = 1024 * 1024  # bytes with the markers; the server takes what is longer for output
_DONE = object()


class Communicator:
    """Asks people and the server. An answer of FAILED or ERROR ends the action, and so does the end of the input."""

    instance: Communicator | None = None
    is_line_open = False  # something was written without the end of its line

    @staticmethod
    def get_instance() -> Communicator:
        """Give the one there is."""
        if Communicator.instance is None:
            Communicator.instance = Communicator()
        return Communicator.instance

    # -- messages, which need no answer --

    @staticmethod
    def show_info_message(message: object) -> None:
        """Show a text."""
        Communicator.show_message(message, "INFO")

    @staticmethod
    def show_warning_message(message: object) -> None:
        """Show a warning."""
        Communicator.show_message(message, "WARNING")

    @staticmethod
    def show_error_message(message: object) -> None:
        """Show an error."""
        Communicator.show_message(message, "ERROR")

    @staticmethod
    def show_tray_message(message: object) -> None:
        """Show a text at the edge of the window."""
        Communicator.show_message(message, "TRAY")

    @staticmethod
    def show_message(message: object, type: str) -> None:
        """Show a text. `type` is INFO, WARNING, ERROR or TRAY."""
        _ask("UI", "SHOW MESSAGE", message=message, type=type)

    @staticmethod
    def set_status(message: object) -> None:
        """Show a text beside the run until the next one."""
        _ask("UI", "STATUS", message=message)

    @staticmethod
    def download_file(cached_filename: str, download_filename: str = "", label: str = "") -> None:
        """Offer a file of a cache for download, under a name of its own."""
        name = download_filename or cached_filename.rpartition("/")[2]
        fields = {"cachedFilename": cached_filename, "downloadFilename": name, "label": label}
        Communicator.get_instance().send_asynchronous({"requestType": "UI", "subType": "DOWNLOAD FILE", **fields})

    # -- questions --

    @staticmethod
    def show_exception_dialog(
        exception: object,
        title: str,
        is_html: bool = False,
        width: int | str = "90%",
        height: int | str = "90%",
    ) -> None:
        """Show an exception until somebody has seen it."""
        Communicator.show_dialog(str(exception), title, is_html, width, height)

    @staticmethod
    def show_error_dialog(
        message: object,
        title: str,
        is_html: bool = True,
        width: int | str = "90%",
        height: int | str = "90%",
    ) -> None:
        """Show an error until somebody has seen it."""
        Communicator.show_dialog(message, title, is_html, width, height)

    @staticmethod
    def show_yes_no(
        message: object,
        title: str = "",
        is_html: bool = True,
        width: int | str = 450,
        height: int | str = 450,
    ) -> bool:
        """Ask a question; True for yes."""
        buttons = [{"label": "Yes", "id": 1}, {"label": "No", "id": 2}]
        return bool(Communicator.show_dialog(message, title, is_html, width, height, buttons) == "1")

    @staticmethod
    def show_dialog(
        message: object,
        title: str = "",
        is_html: bool = True,
        width: int | str = 450,
        height: int | str = 450,
        buttons: Sequence[Mapping[str, Any]] = ({"label": "OK", "id": 1},),
    ) -> Any:
        """Show a text with buttons; gives the id of the one that was chosen, as text."""
        fields = {"isHtml": is_html, "message": message, "title": title, "width": width, "height": height}
        return _ask("UI", "SHOW DIALOG", **fields, buttons=buttons)

    def set_data_part(self, element_id: str, json_data_part: Any) -> None:
        """Change the data that a part of the open form shows."""
        _ask("UI", "UPDATE DATA PART", objectId=element_id, dataPart=json_data_part)

    # -- requests of any kind --

    def send_asynchronous(self, json: Mapping[str, Any]) -> None:
        """Send a request and go on. Raises ValueError for one that is too long."""
        block = f"<FEEDBACK>\n{_as_json(json)}\n</FEEDBACK>\n"
        if len(block) > MAX_REQUEST:
            kind = f"{json.get('requestType')} {json.get('subType', '')}".rstrip()
            raise ValueError(f"the request '{kind}' is too long: {len(block)} bytes of at most {MAX_REQUEST}")
        start = "\n" if Communicator.is_line_open else ""
        Communicator.is_line_open = False
        sys.stdout.write(start + block)
        sys.stdout.flush()

    def send_synchronous(
        self, json: Mapping[str, Any], callback: Callback | None = None, return_on_first_answer: bool = True
    ) -> Any:
        """Send a request and give its answer, as `wait_for_server` does."""
        self.send_asynchronous(json)
        return self.wait_for_server(callback, return_on_first_answer)

    def wait_for_server(self, callback: Callback | None = None, return_on_first_answer: bool = False) -> Any:
        """Give the next answer: a dictionary for JSON, other text as it is, None where it only says that it is done.

        With a callback each answer goes there, until one call does not give False. The callback may ask as well.
        `return_on_first_answer` is there for callers that give it; the first answer always counts.
        """
        del return_on_first_answer
        while True:
            answer = _read_answer()
            if answer is _DONE:
                return None
            if callback is None:
                return answer
            if callback(answer) is not False:
                return None

    def stop_listening(self) -> None:
        """Nothing is listened to but by `wait_for_server`; there for callers of old."""


def _ask(kind: str, sub: str, **fields: Any) -> Any:
    return Communicator.get_instance().send_synchronous({"requestType": kind, "subType": sub, **fields})


def _as_json(value: Any) -> str:
    """Write JSON on one line, in ASCII. What JSON does not know is a list or a text."""
    from json import dumps

    try:
        return dumps(value, default=_as_known)
    except TypeError:  # names that are no text
        return dumps(_with_names(value), default=_as_known)


def _as_known(value: object) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return value.decode(errors="replace") if isinstance(value, (bytes, bytearray)) else str(value)


def _with_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _with_names(item) for name, item in value.items()}
    return [_with_names(item) for item in value] if isinstance(value, (list, tuple)) else value


def _read_answer() -> Any:
    """Read one answer. Ends the action where there is none."""
    line = _read_line()
    if line == "<FROM_SERVER>":
        lines: list[str] = []
        while (line := _read_line()) != "</FROM_SERVER>":
            lines.append(line)
        line = "\n".join(lines)
    if line in {"SUCCESS", "processed"}:
        return _DONE
    if line == "FAILED":
        sys.exit(1)
    if line.startswith("{") and line.endswith("}"):
        from json import loads

        try:
            return loads(line)
        except (ValueError, RecursionError):
            return line
    if line[:5].upper() == "ERROR":
        print(line, file=sys.stderr, flush=True)
        sys.exit(1)
    return line


def _read_line() -> str:
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        sys.exit(1)
    if not line:
        print("The server gave no answer: the input of this action has ended.", file=sys.stderr, flush=True)
        sys.exit(1)
    return line.rstrip()
