"""The library that actions import: it asks people and the server, reads what the run was given, and calls the API.

The standard library only, Python 3.8 and later. Modules are read when they are imported: `from infraxys.logger import
Logger`. The functions of `infraxys.run` are here as well: `infraxys.get_argument()`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the module `typing` costs as much as all of this
if TYPE_CHECKING:
    from .run import get_argument, get_attribute, get_variable, is_interactive

__all__ = ["get_argument", "get_attribute", "get_variable", "is_interactive"]


def __getattr__(name: str) -> object:
    """Give a function of `infraxys.run`, which is read at its first use."""
    if name in __all__:
        from . import run

        return getattr(run, name)
    raise AttributeError(f"module 'infraxys' has no attribute '{name}'")
