"""The window in which forms are shown."""

from __future__ import annotations

import sys

from ..communicator import Communicator
from ..logger import Logger
from .server_answer import ServerAnswer, ServerAnswerSchema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .json_form import JsonForm


class JsonWindow:
    """The one window of an action. `canceled` says that somebody has closed the form by its Cancel."""

    _instance: JsonWindow | None = None

    @staticmethod
    def get_instance() -> JsonWindow:
        """Give the one there is."""
        if JsonWindow._instance is None:
            JsonWindow._instance = JsonWindow()
        return JsonWindow._instance

    @staticmethod
    def is_open() -> bool:
        """Whether the window is shown."""
        return JsonWindow._instance is not None and JsonWindow._instance.window_is_open

    def __init__(self) -> None:
        self.css_file: str | None = None
        self.canceled = False
        self.auto_close = False
        self.window_is_open = False
        self.active_form: JsonForm | None = None
        self.form_loaded_listener: Callable[[ServerAnswer], Any] | None = None
        self.logger = Logger.get_logger(type(self).__name__)

    def show(self, css_file: str | None = None) -> None:
        """Open the window, with styles from a file."""
        self.css_file = css_file
        request = {"requestType": "UI", "subType": "WINDOW"}
        if css_file:
            from base64 import b64encode

            with open(css_file, "rb") as file:
                request["css"] = b64encode(file.read()).decode()
        Communicator.get_instance().send_synchronous(request)
        self.window_is_open = True

    def set_form(
        self,
        form: JsonForm,
        form_loaded_listener: Callable[[ServerAnswer], Any] | None = None,
        auto_close: bool = False,
        status: str = "",
    ) -> None:
        """Show a form; goes on when it has ended, or another one was shown in its place and has ended.

        It ends when the window is closed or a listener of a button gives True. With `auto_close` OK closes the window,
        unless a listener gives False. A window that nobody has opened is open as long as the form is shown.
        """
        is_own = not self.window_is_open
        if is_own:
            self.show()
        self.active_form, self.form_loaded_listener, self.auto_close = form, form_loaded_listener, auto_close
        self.canceled = False
        self.set_status(status)
        Communicator.get_instance().send_synchronous(form.generate_json(), self.answer_received)
        if is_own:
            self.close()

    def answer_received(self, json_object: Any) -> bool:
        """Take what happened in the form; False while it stays."""
        if not isinstance(json_object, dict):
            self.logger.info("The server's answer is no event of a form.")
            return False
        event = ServerAnswerSchema().load(json_object)
        form = self.active_form
        is_click = event.event_type == "BUTTON_CLICK"
        if is_click and event.event_details == "CANCEL":
            self.canceled = True
            self.close()
        elif event.event_type != "FORM_LOADED":
            ends = form is not None and form.event(event)
            if self.active_form is not form:
                return True  # a listener has shown another, which has ended
            if is_click and event.event_details == "OK" and ends and self.auto_close:
                self.close()
            return ends or not self.window_is_open
        elif self.form_loaded_listener:
            self.form_loaded_listener(event)
        return not self.window_is_open

    def close(self) -> None:
        """Close the window, if it is open."""
        if self.window_is_open:
            self.window_is_open = False
            request = {"requestType": "UI", "subType": "ACTION", "action": "close"}
            Communicator.get_instance().send_synchronous(request)

    def close_with_error(self, message: object) -> None:
        """Log an error, close the window and end the action."""
        self.logger.error(message)
        self.close()
        sys.exit(1)

    def set_status(self, message: object) -> None:
        """Show a text beside the run until the next one."""
        Communicator.set_status(message)
