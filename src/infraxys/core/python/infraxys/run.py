"""What the run was given: its argument, attributes and variables."""

from __future__ import annotations

import os

from . import places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def get_argument(default: Any = None) -> Any:
    """Give the JSON value that the run was started with; `default` where none was given."""
    import json

    try:
        with open(places.system("custom/arguments.json"), encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return default
    return json.loads(text) if text.strip() else default


def get_attribute(name: str, default: str = "") -> str:
    """Give the value of an attribute of the instance, or of what is published in its container or environment."""
    return os.environ.get(name, default)


def get_variable(name: str, type: str = "") -> str:
    """Give a variable that is saved to a file, or else one that is exported. Raises NotFoundException."""
    try:
        with open(places.variable(name, type), encoding="utf-8") as file:
            return file.read()
    except OSError:
        if name in os.environ:
            return os.environ[name]
    from .exceptions import NotFoundException

    raise NotFoundException(f"there is no variable '{f'{type}/' if type else ''}{name}'")


def is_interactive() -> bool:
    """Whether somebody is there to answer questions."""
    return os.environ.get("INTERACTIVE") == "true"
