"""The shapes of accounts, sessions and tokens: what is sent, and what is answered."""

import json
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from infraxys.kit.clock import timestamp
from infraxys.server.auth.subject import Subject

Name = Annotated[str, Field(min_length=1, max_length=200)]
# Any longer one is not hashed; whether it is good enough is said where it is set.
Password = Annotated[str, Field(min_length=1, max_length=1000)]
WEEK = 7 * 86400


class Body(BaseModel):
    """What all bodies have in common: camelCase, nothing unknown, nothing converted."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, populate_by_name=False)


class SignIn(Body):
    """Who wants to sign in."""

    name: Name
    password: Password


class SetUp(SignIn):
    """The first administrator, and the secret of the link that the server printed."""

    token: Annotated[str, Field(min_length=1, max_length=200)]


class ChangePassword(Body):
    """The caller's own password."""

    current_password: Password
    new_password: Password


class NewToken(Body):
    """A token to make. Without scopes it may do what its owner may."""

    name: Name
    description: Annotated[str, Field(max_length=2000)] | None = None
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = None
    scopes: Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=200)] | None = None


class RotateToken(Body):
    """How long the old secret stays good beside the new one."""

    overlap_seconds: Annotated[int, Field(ge=0, le=WEEK)] = 0


class NewUser(Body):
    """An account to make. A service account has tokens only."""

    name: Name
    display_name: Name | None = None
    kind: Literal["local", "service"] = "local"
    password: Password | None = None
    is_administrator: bool = False


class ChangeUser(Body):
    """What to change of an account; what is left out stays."""

    display_name: Name | None = None
    is_administrator: bool | None = None
    is_disabled: bool | None = None
    password: Password | None = None


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Document a body."""
    return {
        "requestBody": {"content": {"application/json": {"schema": model.model_json_schema()}}, "required": required}
    }


def me_object(subject: Subject) -> dict[str, Any]:
    """Write the caller."""
    return {
        "id": subject.user_id,
        "name": subject.name,
        "displayName": subject.display_name,
        "isAdministrator": subject.is_administrator,
        "teams": [
            {"id": team.id, "name": team.name, "projectId": team.project_id} for team in subject.rights.own_teams()
        ],
        "grants": list(subject.grants),
        "tokenId": subject.token_id,
        "sessionId": subject.session_id,
    }


def user_object(row: dict[str, Any]) -> dict[str, Any]:
    """Write an account."""
    return {
        "id": row["id"],
        "name": row["name"],
        "displayName": row["display_name"],
        "kind": row["kind"],
        "isAdministrator": bool(row["is_administrator"]),
        "isDisabled": row["disabled_at"] is not None,
        "createdAt": timestamp(row["created_at"]),
        "disabledAt": timestamp(row["disabled_at"]),
    }


def token_object(row: dict[str, Any], secret: str | None = None) -> dict[str, Any]:
    """Write a token; with its text only where it was made just now."""
    written = {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "scopes": None if row["scopes"] is None else json.loads(row["scopes"]),
        "createdAt": timestamp(row["created_at"]),
        "rotatedAt": timestamp(row["rotated_at"]),
        "expiresAt": timestamp(row["expires_at"]),
        "lastUsedAt": timestamp(row["last_used_at"]),
        "lastUsedAddress": row["last_used_address"],
    }
    return written if secret is None else {**written, "token": secret}


def session_object(row: dict[str, Any], current: str | None) -> dict[str, Any]:
    """Write a session."""
    return {
        "id": row["id"],
        "createdAt": timestamp(row["created_at"]),
        "seenAt": timestamp(row["seen_at"]),
        "expiresAt": timestamp(row["expires_at"]),
        "address": row["address"],
        "userAgent": row["user_agent"],
        "isCurrent": row["id"] == current,
    }
