"""The shapes of accounts, sessions and tokens: what is sent, and what is answered."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from infraxys.kit.clock import timestamp
from infraxys.server.answers import SOME_ID, Answer, Moment, Page, example
from infraxys.server.auth.subject import Subject


def printable(value: str) -> str:
    """Refuse what terminals obey and people do not see. Raises ValueError."""
    if not value.isprintable():
        raise ValueError("only characters that can be seen are possible")
    return value


# What somebody typed to sign in; it need not be a name.
Typed = Annotated[str, Field(min_length=1, max_length=200)]
Name = Annotated[Typed, AfterValidator(printable)]
# Any longer one is not hashed; whether it is good enough is said where it is set.
Password = Annotated[str, Field(min_length=1, max_length=1000)]
WEEK = 7 * 86400
_SOME = ("three-Horses-swim-2-Oslo", "seven-Lamps-sing-4-Rome", "aNsx…pw", "ifx_4wcvCTCxbW6BrqFm_<secret>_1WVzt3")


class Body(BaseModel):
    """What all bodies have in common: camelCase, nothing unknown, nothing converted."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, populate_by_name=False)


class SignIn(Body):
    """Who wants to sign in."""

    name: Typed
    password: Password

    model_config = example(name="ada", password=_SOME[0])


class SetUp(SignIn):
    """The first administrator, and the secret of the link that the server printed."""

    token: Annotated[str, Field(min_length=1, max_length=200)]

    model_config = example(token=_SOME[2], name="ada", password=_SOME[0])


class ChangePassword(Body):
    """The caller's own password."""

    current_password: Password
    new_password: Password

    model_config = example(currentPassword=_SOME[0], newPassword=_SOME[1])


class NewToken(Body):
    """A token to make. Without scopes it may do what its owner may."""

    name: Name
    description: Annotated[str, Field(max_length=2000)] | None = None
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = None
    scopes: Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=200)] | None = None

    model_config = example(name="pipeline", expiresAt="2027-01-31T12:00:00Z", scopes=["action.execute", "run.read"])


class RotateToken(Body):
    """How long the old secret stays good beside the new one."""

    overlap_seconds: Annotated[int, Field(ge=0, le=WEEK)] = 0

    model_config = example(overlapSeconds=3600)


class NewUser(Body):
    """An account to make. A service account has tokens only."""

    name: Name
    display_name: Name | None = None
    kind: Literal["local", "service"] = "local"
    password: Password | None = None
    is_administrator: bool = False

    model_config = example(name="grace", displayName="Grace Hopper", password=_SOME[1])


class ChangeUser(Body):
    """What to change of an account; what is left out stays."""

    display_name: Name | None = None
    is_administrator: bool | None = None
    is_disabled: bool | None = None
    password: Password | None = None

    model_config = example(isDisabled=True)


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Document a body."""
    return {
        "requestBody": {"content": {"application/json": {"schema": model.model_json_schema()}}, "required": required}
    }


class TeamOfMine(Answer):
    """A team that the caller is in."""

    id: str
    name: str
    project_id: str


class Me(Answer):
    """The caller: the account, and what these credentials may do on the whole server (`*`: everything)."""

    id: str | None = Field(description="null for the local user of developer mode")
    name: str
    display_name: str
    is_administrator: bool
    teams: list[TeamOfMine]
    grants: list[str]
    token_id: str | None
    session_id: str | None

    model_config = example(
        id=SOME_ID, name="ada", displayName="Ada Lovelace", isAdministrator=False,
        teams=[{"id": SOME_ID, "name": "Operators", "projectId": "root"}],
        grants=["action.execute", "run.list", "run.read"], tokenId="4wcvCTCxbW6BrqFm", sessionId=None,
    )  # fmt: skip


class User(Answer):
    """An account."""

    id: str
    name: str
    display_name: str
    kind: Literal["local", "oidc", "service"]
    is_administrator: bool
    is_disabled: bool
    created_at: Moment
    disabled_at: Moment | None

    model_config = example(
        id=SOME_ID, name="ada", displayName="Ada Lovelace", kind="local", isAdministrator=False, isDisabled=False,
        createdAt="2026-01-31T12:00:00.000000Z", disabledAt=None,
    )  # fmt: skip


class UserPage(Page):
    """A page of accounts."""

    items: list[User]


class Token(Answer):
    """A personal access token, without its text. `scopes` null: as wide as the owner."""

    id: str
    name: str
    description: str | None
    scopes: list[str] | None
    created_at: Moment
    rotated_at: Moment | None
    expires_at: Moment | None
    last_used_at: Moment | None
    last_used_address: str | None

    model_config = example(
        id="4wcvCTCxbW6BrqFm", name="pipeline", description=None, scopes=["action.execute", "run.read"],
        createdAt="2026-01-31T12:00:00.000000Z", rotatedAt=None, expiresAt="2027-01-31T12:00:00.000000Z",
        lastUsedAt=None, lastUsedAddress=None,
    )  # fmt: skip


class TokenPage(Page):
    """A page of tokens."""

    items: list[Token]


class MadeToken(Token):
    """A token that was made just now, with its text, which is shown here and never again."""

    token: str

    model_config = example(
        id="4wcvCTCxbW6BrqFm", name="pipeline", description=None, scopes=None,
        createdAt="2026-01-31T12:00:00.000000Z", rotatedAt=None, expiresAt=None, lastUsedAt=None, lastUsedAddress=None,
        token=_SOME[3],
    )  # fmt: skip


class Session(Answer):
    """A session of somebody who signed in."""

    id: str
    created_at: Moment
    seen_at: Moment
    expires_at: Moment
    address: str
    user_agent: str
    is_current: bool

    model_config = example(
        id="1e30b44d8a22c6c2484607", createdAt="2026-01-31T12:00:00.000000Z", seenAt="2026-01-31T12:30:00.000000Z",
        expiresAt="2026-02-07T12:00:00.000000Z", address="192.0.2.7", userAgent="Mozilla/5.0 …", isCurrent=True,
    )  # fmt: skip


class SessionPage(Page):
    """A page of sessions."""

    items: list[Session]


class MadeAdministrator(Answer):
    """The id of the first administrator's account."""

    id: str

    model_config = example(id=SOME_ID)


class SignedOut(Answer):
    """Where the browser signs out of the OpenID provider as well."""

    logout_url: str

    model_config = example(logoutUrl="https://provider.example.org/session/end?client_id=infraxys")


class DeviceLogin(Answer):
    """What `infraxys login` needs."""

    client_id: str
    scopes: list[str]
    resource: str | None


class OpenIdLogin(Answer):
    """The OpenID provider: a browser goes to `url`; `device` null: no sign-in on the command line."""

    issuer: str
    url: str
    device: DeviceLogin | None


class Login(Answer):
    """How one can sign in."""

    password: bool
    openid: OpenIdLogin | None

    model_config = example(
        password=True,
        openid={
            "issuer": "https://provider.example.org",
            "url": "/api/v1/login/openid",
            "device": {"clientId": "infraxys-cli", "scopes": ["openid"], "resource": "https://infraxys.example.org"},
        },
    )


def me_object(subject: Subject) -> dict[str, Any]:
    """Write the caller."""
    return Me(
        id=subject.user_id,
        name=subject.name,
        display_name=subject.display_name,
        is_administrator=subject.is_administrator,
        teams=[
            TeamOfMine(id=team.id, name=team.name, project_id=team.project_id) for team in subject.rights.own_teams()
        ],
        grants=list(subject.grants),
        token_id=subject.token_id,
        session_id=subject.session_id,
    ).written()


def user_object(row: dict[str, Any]) -> dict[str, Any]:
    """Write an account."""
    return User(
        id=row["id"],
        name=row["name"],
        display_name=row["display_name"],
        kind=row["kind"],
        is_administrator=bool(row["is_administrator"]),
        is_disabled=row["disabled_at"] is not None,
        created_at=timestamp(row["created_at"]),
        disabled_at=timestamp(row["disabled_at"]),
    ).written()


def token_object(row: dict[str, Any], secret: str | None = None) -> dict[str, Any]:
    """Write a token; with its text only where it was made just now."""
    written = Token(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        scopes=None if row["scopes"] is None else json.loads(row["scopes"]),
        created_at=timestamp(row["created_at"]),
        rotated_at=timestamp(row["rotated_at"]),
        expires_at=timestamp(row["expires_at"]),
        last_used_at=timestamp(row["last_used_at"]),
        last_used_address=row["last_used_address"],
    ).written()
    return written if secret is None else {**written, "token": secret}


def session_object(row: dict[str, Any], current: str | None) -> dict[str, Any]:
    """Write a session."""
    return Session(
        id=row["id"],
        created_at=timestamp(row["created_at"]),
        seen_at=timestamp(row["seen_at"]),
        expires_at=timestamp(row["expires_at"]),
        address=row["address"],
        user_agent=row["user_agent"],
        is_current=row["id"] == current,
    ).written()
