"""Refusals. Each has a status and a stable code, and becomes `application/problem+json` (RFC 9457) at the edge."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

PROBLEM_JSON = "application/problem+json"
TYPE_BASE = "https://infraxys.dev/problems/"


class Problem(Exception):  # noqa: N818 - the RFC's word
    """Base of all refusals. `errors` lists single findings as {loc, message}; `extra` are further members."""

    status: int = 500
    code: str = "internal_error"

    def __init__(
        self,
        detail: str,
        *,
        errors: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def body(self, instance: str) -> dict[str, Any]:
        """Give the JSON members. `message` repeats `detail` for older clients."""
        body: dict[str, Any] = {
            "type": f"{TYPE_BASE}{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "message": self.detail,
            **self.extra,
        }
        if self.errors:
            body["errors"] = self.errors
        return body


class BadRequest(Problem):
    """The request cannot be read."""

    status = 400
    code = "bad_request"


class NotJson(BadRequest):
    """The body is not JSON."""

    code = "not_json"


class UnsupportedContentType(BadRequest):
    """The body is of another kind than JSON."""

    code = "unsupported_content_type"


class Unauthorized(Problem):
    """No, or no usable, credentials. One text for all reasons."""

    status = 401
    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "valid credentials are required: send the header 'Authorization: token <personal access token>'",
            headers={"WWW-Authenticate": 'token realm="infraxys", Bearer realm="infraxys"'},
        )


class Forbidden(Problem):
    """The caller is known but lacks a grant."""

    status = 403
    code = "forbidden"

    def __init__(self, grant: str) -> None:
        super().__init__(f"the grant '{grant}' is required for this", extra={"grant": grant})


class CrossSite(Problem):
    """A page of somebody else made the browser send this."""

    status = 403
    code = "cross_site"

    def __init__(self) -> None:
        super().__init__("this was sent by a page of another site; only pages of this server may change something")


class SessionRequired(Problem):
    """A token is not enough: who has it could give himself more than it allows."""

    status = 403
    code = "session_required"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs a person who signed in; a token is not enough for it")


class NotFound(Problem):
    """There is no such thing, or the caller may not know of it."""

    status = 404
    code = "not_found"


class MethodNotAllowed(Problem):
    """The path exists, for other methods."""

    status = 405
    code = "method_not_allowed"


class RequestTimeout(Problem):
    """The body did not arrive in time."""

    status = 408
    code = "request_timeout"


class Conflict(Problem):
    """The state of things does not allow it."""

    status = 409
    code = "conflict"


class TooLarge(Problem):
    """The body is over the limit."""

    status = 413
    code = "too_large"


class RangeNotSatisfiable(Problem):
    """The range starts behind the end."""

    status = 416
    code = "range_not_satisfiable"


class MisdirectedRequest(Problem):
    """The Host header is none of ours."""

    status = 421
    code = "misdirected_request"


class HeadTooLarge(Problem):
    """The line and the headers of a request are over the limit."""

    status = 431
    code = "head_too_large"

    def __init__(self) -> None:
        super().__init__("the headers of the request are too large")


class Unprocessable(Problem):
    """The JSON does not fit what is expected."""

    status = 422
    code = "validation_failed"


class TooManyRequests(Problem):
    """The caller asks faster than is allowed."""

    status = 429
    code = "too_many_requests"

    def __init__(self, wait_seconds: float) -> None:
        seconds = max(1, math.ceil(wait_seconds))
        super().__init__(f"too many requests; try again in {seconds} s", headers={"Retry-After": str(seconds)})


class Unavailable(Problem):
    """It does not work right now."""

    status = 503
    code = "unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class InternalError(Problem):
    """A mistake of ours; the log has the rest under the request's id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"something went wrong in the server; its log has more under the request id {request_id}")


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "required": ["type", "title", "status", "detail", "code", "message"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "description": "stable, what clients match on"},
        "message": {"type": "string", "description": "the same as detail"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"loc": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the refusals of a route."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
