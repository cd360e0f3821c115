"""The cookies of sign-ins that have begun in a browser."""

import hashlib

SIGN_IN_SECONDS = 600
COOKIE = "__Host-infraxys-openid-"


def cookie_name(state: str) -> str:
    """Give the name of a sign-in's cookie: each has its own, so that several tabs can sign in."""
    return COOKIE + hashlib.sha256(state.encode()).hexdigest()[:16]
