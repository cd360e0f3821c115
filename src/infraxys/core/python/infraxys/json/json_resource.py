"""Something that is shown in the window of forms."""

from __future__ import annotations

import os

from ..logger import Logger
from .json_window import JsonWindow


def shown_window() -> JsonWindow:
    """Give the window, open, with the styles that JSON_WINDOW_CSS_FILE names below the modules."""
    window = JsonWindow.get_instance()
    if not window.window_is_open:
        css_file = os.environ.get("JSON_WINDOW_CSS_FILE")
        window.show(f"{os.environ['MODULES_ROOT']}/{css_file}" if css_file else None)
    return window


class JsonResource:
    """Has the window at hand."""

    def __init__(self, json_window: JsonWindow | None = None) -> None:
        self.json_window = json_window
        self.logger = Logger.get_logger(type(self).__name__)

    def _get_json_window(self) -> JsonWindow:
        if self.json_window is None:
            self.json_window = shown_window()
        return self.json_window
