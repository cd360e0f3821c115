"""From what the provider says about a person to an account of ours."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from infraxys.kit.clock import new_id, utc_now
from infraxys.server.audit.trail import record as record_action
from infraxys.server.auth.access import sync_groups
from infraxys.server.auth.openid.options import OpenIdOptions
from infraxys.server.auth.users import OIDC, UserProblem, normalise
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import openid_accounts, users

MAX_NAME = 200
MAX_GROUPS, MAX_GROUP = 2000, 500


class AccountRefused(Exception):  # noqa: N818 - reads as what happened
    """The person may not come in. The text is for them; it says nothing about other accounts."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as the provider describes them. `groups` None: it says nothing about groups.

    `issued_at` is when it said so (seconds since 1970): what is older than what is known already changes nothing.
    """

    issuer: str
    subject: str
    issued_at: int
    name: str | None
    display_name: str | None
    groups: frozenset[str] | None


def read_identity(issuer: str, claims: Mapping[str, Any], options: OpenIdOptions) -> Identity:
    """Read claims that were checked. Raises AccountRefused when one is not of the kind that it has to be."""
    name = _text(claims, "preferred_username")
    if name is None and claims.get("email_verified") is True:
        name = _text(claims, "email")
    return Identity(
        issuer=issuer,
        subject=claims["sub"],
        issued_at=int(claims["iat"]),
        name=name,
        display_name=_text(claims, "name"),
        groups=_groups(claims, options.oidc_groups_claim),
    )


def read_signed_in(issuer: str, claims: Mapping[str, Any], options: OpenIdOptions) -> Identity:
    """Read what a sign-in or a refresh gave: there, no groups means none. Raises AccountRefused."""
    identity = read_identity(issuer, claims, options)
    return identity if identity.groups is not None else replace(identity, groups=frozenset())


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if not isinstance(value, str):
        return None
    return "".join(character for character in value if character.isprintable()).strip()[:MAX_NAME] or None


def _groups(claims: Mapping[str, Any], name: str) -> frozenset[str] | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_GROUPS:
        raise AccountRefused(f"the provider's claim '{name[:100]}' is no list of at most {MAX_GROUPS} group names")
    if not all(isinstance(item, str) and 0 < len(item) <= MAX_GROUP for item in value):
        raise AccountRefused(f"the provider's claim '{name[:100]}' holds something that is no group name")
    return frozenset(value)


_FIND = (
    sa.select(
        users.c.id.label("user_id"),
        users.c.name,
        users.c.display_name,
        users.c.is_administrator,
        users.c.disabled_at,
        openid_accounts.c.groups,
        openid_accounts.c.groups_issued_at,
        openid_accounts.c.refused_until,
    )
    .join_from(users, openid_accounts, openid_accounts.c.user_id == users.c.id, isouter=True)
    .where(users.c.oidc_issuer == sa.bindparam("issuer"), users.c.oidc_subject == sa.bindparam("subject"))
)


def find_account(connection: Connection, issuer: str, subject: str) -> RowMapping | None:
    """Find the account of a person, by issuer and subject and nothing else."""
    return connection.execute(_FIND, {"issuer": issuer, "subject": subject}).mappings().first()


def needs_update(account: RowMapping | None, identity: Identity) -> bool:
    """Whether the provider says something new about a person's groups."""
    if account is None:
        return True
    if identity.groups is None or identity.issued_at <= (account["groups_issued_at"] or 0):
        return False
    return bool(account["groups"] != _groups_text(identity.groups))


def record_account(connection: Connection, identity: Identity, options: OpenIdOptions) -> RowMapping:
    """Make or update the account of a person. Raises AccountRefused."""
    account = find_account(connection, identity.issuer, identity.subject)
    if account is None:
        if not options.oidc_create_users:
            raise AccountRefused("there is no account for you here; ask an administrator for one")
        user_id = _create(connection, identity)
    elif account["disabled_at"] is not None:
        raise AccountRefused("your account is disabled; ask an administrator")
    else:
        user_id = account["user_id"]
        if identity.display_name not in {None, account["display_name"]}:
            values = {"display_name": identity.display_name}
            connection.execute(users.update().where(users.c.id == user_id).values(values))
    if account is None or account["groups"] is None:
        connection.execute(openid_accounts.insert().values(user_id=user_id, groups="[]", groups_issued_at=0))
    known_at = account["groups_issued_at"] if account is not None else None
    # Also when they are the same: a team may have been given one of them meanwhile.
    if identity.groups is not None and identity.issued_at >= (known_at or 0):
        _apply_groups(connection, user_id, identity.groups, identity.issued_at, options)
    result = find_account(connection, identity.issuer, identity.subject)
    assert result is not None  # noqa: S101 - made above, in this transaction
    return result


async def record(database: Database, identity: Identity, options: OpenIdOptions) -> RowMapping:
    """Make or update an account, also when another server makes it at the same moment. Raises AccountRefused."""
    try:
        return await database.awrite(lambda connection: record_account(connection, identity, options))
    except IntegrityError:
        return await database.awrite(lambda connection: record_account(connection, identity, options))


def _create(connection: Connection, identity: Identity) -> str:
    user_id, name = new_id(), _free_name(connection, identity)
    connection.execute(
        users.insert().values(
            id=user_id,
            name=name,
            display_name=identity.display_name or identity.name or identity.subject[:MAX_NAME],
            kind=OIDC,
            oidc_issuer=identity.issuer,
            oidc_subject=identity.subject,
            created_at=utc_now(),
        )
    )
    record_action(connection, "user.create", f"user/{user_id}", name=name, kind=OIDC, subject=identity.subject)
    return user_id


def link(connection: Connection, user_id: str, issuer: str, subject: str) -> None:
    """Let a person of the provider use an account that is there. Raises UserProblem when they have one."""
    if find_account(connection, issuer, subject) is not None:
        raise UserProblem("this person of the OpenID provider has an account already", "user_exists")
    values = {"kind": OIDC, "oidc_issuer": issuer, "oidc_subject": subject}
    connection.execute(users.update().where(users.c.id == user_id).values(values))
    record_action(connection, "user.update", f"user/{user_id}", kind=OIDC, subject=subject)


def _free_name(connection: Connection, identity: Identity) -> str:
    """Choose a name that nobody has: an account that is there already is never taken over by its name."""
    digest = hashlib.sha256(f"{identity.issuer}\n{identity.subject}".encode()).hexdigest()
    names = [f"openid-{digest[:16]}", f"openid-{digest}"]
    if identity.name:
        try:
            normal = normalise(identity.name)
            names[:0] = [normal, f"{normal[:80]}-{digest[:8]}"]
        except UserProblem:
            pass  # a name that cannot be one of ours
    taken = set(connection.execute(sa.select(users.c.name).where(users.c.name.in_(names))).scalars())
    return next(name for name in names if name not in taken)


def _apply_groups(
    connection: Connection, user_id: str, groups: frozenset[str], issued_at: int, options: OpenIdOptions
) -> None:
    sync_groups(connection, user_id, set(groups))
    if options.oidc_admin_group is not None:
        is_administrator = options.oidc_admin_group in groups
        changed = connection.execute(
            users.update()
            .where(users.c.id == user_id, users.c.is_administrator != is_administrator)
            .values(is_administrator=is_administrator)
        )
        if changed.rowcount:
            record_action(connection, "user.update", f"user/{user_id}", is_administrator=is_administrator)
    connection.execute(
        openid_accounts.update()
        .where(openid_accounts.c.user_id == user_id)
        .values(groups=_groups_text(groups), groups_issued_at=issued_at)
    )


def _groups_text(groups: frozenset[str]) -> str:
    return json.dumps(sorted(groups))


def refuse_older_tokens(connection: Connection, user_id: str) -> None:
    """Refuse every access token of a person that the provider issued until now: the sign-in was taken back."""
    connection.execute(
        openid_accounts.update()
        .where(openid_accounts.c.user_id == user_id)
        .values(refused_until=int(utc_now().timestamp()))
    )
    record_action(connection, "access_token.refuse", f"user/{user_id}")
