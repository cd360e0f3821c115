"""Signing in to a server and out again."""

import json
import sys
from datetime import timedelta
from socket import gethostname
from typing import Annotated, Any

import typer

from infraxys.cli import credentials
from infraxys.cli.api import Api, segment
from infraxys.cli.output import Failed

Server = Annotated[str | None, typer.Option("--server", help="URL of the server; or INFRAXYS_URL.")]
TOKEN_LIFETIME = timedelta(days=30)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(login)
    app.command()(logout)


def login(
    server: Server = None,
    user: Annotated[str | None, typer.Option(help="Sign in with this name and a password.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
) -> None:
    """Sign in, for all commands until 'logout'. Example: infraxys login --server https://infraxys.example.org."""
    api = Api(server, None, stored=False)
    offered = api.call("GET", "/login")
    device = (offered.get("openid") or {}).get("device")
    if user is None and device is not None:
        from infraxys.cli.device import sign_in

        entry = sign_in(offered["openid"]["issuer"], device, lambda line: print(line, flush=True))
    elif offered["password"]:
        entry = sign_in_with_password(api, user, password_stdin)
    else:
        raise Failed(f"nobody has to sign in at {api.url}: it runs in developer mode")
    credentials.store(api.url, entry)
    name = Api(api.url, None).call("GET", "/me")["name"]
    print(f"You are signed in to {api.url} as {name}.")


def sign_in_with_password(api: Api, user: str | None, password_stdin: bool) -> dict[str, Any]:
    """Sign in for a moment, to make a personal token; gives what is to be stored. Raises Failed."""
    import getpass

    from infraxys.kit.clock import utc_now

    name = user or input("Name: ")
    password = sys.stdin.readline().rstrip("\n") if password_stdin else getpass.getpass("Password: ")
    answer = api.open("POST", "/session", json.dumps({"name": name, "password": password}).encode())
    answer.read()
    cookie = {"Cookie": (answer.getheader("Set-Cookie") or "").partition(";")[0]}
    expires_at = (utc_now() + TOKEN_LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"name": f"infraxys login on {gethostname()}"[:100], "expiresAt": expires_at}
    made = api.call("POST", "/tokens", body, cookie)
    api.call("DELETE", "/session", headers=cookie)
    return {"token": made["token"], "tokenId": made["id"]}


def logout(server: Server = None) -> None:
    """Sign out: the stored sign-in is taken back and forgotten. Example: infraxys logout."""
    url = Api(server, None, stored=False).url
    entry = credentials.find(url)
    if entry is None:
        raise Failed(f"you are not signed in to {url}")
    try:
        if "token" in entry:
            Api(url, entry["token"]).call("DELETE", f"/tokens/{segment(entry['tokenId'])}")
        else:
            from infraxys.cli.device import revoke

            try:
                Api(url, None).call("DELETE", "/session")
            finally:  # with the token of now: that one may have been exchanged for the call
                revoke(credentials.find(url) or entry)
    except Failed as failure:
        print(f"infraxys: it is forgotten here, but could not be taken back: {failure}", file=sys.stderr)
    credentials.remove(url)
    print(f"You are signed out of {url}.")
