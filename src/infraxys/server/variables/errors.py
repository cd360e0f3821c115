"""What is refused about variables."""

from infraxys.server.errors import Conflict, NotFound, Unavailable, Unprocessable


class UnknownVariable(NotFound):
    """There is no such variable at the level."""

    code = "unknown_variable"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no variable '{name[:100]}' here")


class UnknownPlace(NotFound):
    """There is no such environment or container, or none that the caller may know of."""

    code = "unknown_environment"

    def __init__(self, what: str, wanted: str) -> None:
        super().__init__(f"there is no {what} '{wanted[:100]}'")


class TooManyVariables(Conflict):
    """There are as many as there can be."""

    code = "too_many"


class BadVariable(Unprocessable):
    """The variable cannot be like this."""

    code = "variable_not_possible"


class ReferenceNotAllowed(Unprocessable):
    """The path of the store is none of the project's."""

    code = "reference_not_allowed"


class SecretsUnusable(Unavailable):
    """The master key is not there, or not the one that a value was sealed under."""

    code = "secrets_unusable"


class CannotResolve(Exception):  # noqa: N818 - reads as what is wrong
    """A step cannot get its variables. `code` is stable; the message is for people and holds nothing secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
