"""The template engine: text in, text out.

    template = compile("Hello $name", "greeting")
    template.render({"name": "Ann"}).text

The language is that of Apache Velocity 1.7. A template reaches the values of its context, the methods that
`methods` lists for plain values, and those that a class of the host names in VTL_METHODS (see `objects`).
"""

from infraxys.velocity.errors import (
    LimitError,
    MethodError,
    ResourceError,
    UndefinedReferenceError,
    VelocityError,
    VelocityParseError,
)
from infraxys.velocity.hosts import JavaInteger, JavaString
from infraxys.velocity.limits import Limits
from infraxys.velocity.linter import free_names, lint
from infraxys.velocity.runtime import LiveScope
from infraxys.velocity.template import Result, Template, compile, render  # noqa: A004 - see template.compile

__all__ = [
    "JavaInteger",
    "JavaString",
    "LimitError",
    "Limits",
    "LiveScope",
    "MethodError",
    "ResourceError",
    "Result",
    "Template",
    "UndefinedReferenceError",
    "VelocityError",
    "VelocityParseError",
    "compile",
    "free_names",
    "lint",
    "render",
]
