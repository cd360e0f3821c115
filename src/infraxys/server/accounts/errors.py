"""Refusals about accounts."""

from infraxys.server.auth.users import UserProblem
from infraxys.server.errors import Conflict, NotFound, Problem, Unauthorized, Unprocessable


class SignInFailed(Unauthorized):
    """Unknown, disabled, without a password, or another password: one text for all."""

    code = "sign_in_failed"

    def __init__(self) -> None:
        super().__init__()
        self.detail = "the name or the password is wrong"


class SetUpRefused(Problem):
    """The link for the first administrator does not work any more, or never did."""

    status = 403
    code = "setup_link_invalid"

    def __init__(self) -> None:
        super().__init__(
            "this link was used, has expired, or is of another server; while there is no administrator, every start of "
            "the server prints a new one"
        )


class NoAccount(Conflict):
    """In developer mode there is nobody to sign in."""

    code = "no_account"

    def __init__(self) -> None:
        super().__init__("in developer mode calls need no account; start the server with --mode server for accounts")


class UnknownUser(NotFound):
    """There is no such account."""

    code = "unknown_user"

    def __init__(self) -> None:
        super().__init__("there is no such account")


class UnknownToken(NotFound):
    """There is no such token of this owner."""

    code = "unknown_token"

    def __init__(self) -> None:
        super().__init__("there is no such token")


class UnknownSession(NotFound):
    """There is no such session of the caller."""

    code = "unknown_session"

    def __init__(self) -> None:
        super().__init__("you have no such session")


class PasswordRefused(Unprocessable):
    """The password is too weak, or the account has none."""

    code = "weak_password"

    def __init__(self, detail: str, loc: str = "password") -> None:
        super().__init__(detail, errors=[{"loc": loc, "message": detail}])


class WrongPassword(Unprocessable):
    """What was given as the current password is another one."""

    code = "wrong_password"

    def __init__(self) -> None:
        message = "this is not the current password"
        super().__init__(message, errors=[{"loc": "currentPassword", "message": message}])


def refusal(problem: UserProblem) -> Problem:
    """Give what the API answers to a problem with an account."""
    if problem.code in {"user_exists", "last_administrator"}:
        conflict = Conflict(str(problem))
        conflict.code = problem.code
        return conflict
    refused = Unprocessable(str(problem), errors=[{"loc": "name", "message": str(problem)}])
    refused.code = problem.code
    return refused
