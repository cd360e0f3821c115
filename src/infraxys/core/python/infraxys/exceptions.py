"""What goes wrong between an action and the server."""

from __future__ import annotations


class BaseException(Exception):
    """All of them. `label` says what happened."""

    def __init__(self, label: str | None = None) -> None:
        super().__init__(*([] if label is None else [label]))
        self.label = label

    def __str__(self) -> str:
        name = type(self).__name__
        return f"{name}: {self.label}" if self.label else name


class UnauthorizedException(BaseException):
    """Whoever started the run may not do this."""


class BadRequestException(BaseException):
    """The server does not understand the request."""


class NotFoundException(BaseException):
    """There is no such thing."""
