"""Where a run finds what belongs to it: at fixed places, so that no script can put something else there."""

from __future__ import annotations

ROOT = "/tmp/infraxys"  # noqa: S108 - the fixed path inside the sandbox


def system(name: str) -> str:
    """Give the path of a file that the server has made for this run."""
    return f"{ROOT}/system/{name}"


def variable(name: str, kind: str = "") -> str:
    """Give the path of a variable that is saved to a file, of a type if it has one."""
    return f"{ROOT}/variables/{kind}/{name}" if kind else f"{ROOT}/variables/{name}"


def certificates() -> str:
    """Give the path of the certificates by which the server is known."""
    return f"{ROOT}/core/server_ca.pem"
