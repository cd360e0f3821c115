"""Every built-in grant, and the sets of them that go together."""

import re
from collections.abc import Iterable

ALL_GRANTS = "*"  # what administrators have
# Held by the members of a project's administrators team only: everything in the project and below.
ADMINISTER = "project.administer"
# Asked for on the root project, of everybody but administrators, where the server is set so.
LOGIN = "server.login"
# Every grant that routes may ask for, with what it allows.
GRANTS = {
    "module.list": "see registered modules",
    "module.create": "register modules",
    "module.modify": "fetch modules",
    "module.delete": "remove modules",
    LOGIN: "use the server at all, where its setting `requires_team` asks for that",
    "server.read": "see the server's version and limits",
    "user.list": "see accounts",
    "user.read": "see an account and what is known of its tokens",
    "user.create": "create accounts",
    "user.modify": "change and disable accounts, delete their tokens",
    "user.delete": "delete accounts",
    "audit.read": "see, export and check the audit trail",
    "environment.read": "see environments and what they generate",
    "environment.create": "make and copy environments",
    "container.create": "make and copy containers",
    "instance.create": "add instances",
    "instance.modify": "change the values of instances",
    "instance.delete": "remove instances",
    "role.modify": "change instances of roles, which changes all environments that use the role",
    "action.execute": "execute actions",
    "workflow.execute": "execute workflows",
    "run.list": "see runs",
    "run.read": "see a run and its log",
    "run.argument": "see the argument of a run",
    "run.cancel": "cancel runs",
    "cache.list": "see which caches there are, their size and last use",
    "cache.read": "read files of caches",
    "cache.modify": "write files to caches",
    "cache.delete": "clean caches",
    "project.list": "see that projects are there",
    "project.read": "see which environments and included containers a project has",
    "project.create": "create projects below a project",
    "project.modify": "rename projects, attach environments to them, choose their included containers",
    "project.delete": "delete empty projects",
    ADMINISTER: "everything in a project and below it; only the project's administrators team has this",
    "team.list": "see teams",
    "team.read": "see the members of teams",
    "team.create": "create teams",
    "team.modify": "rename teams, add and remove members",
    "team.delete": "delete teams",
    "variable.list": "see variables, and the values of those that are not protected",
    "variable.modify": "set and change variables",
    "variable.delete": "delete variables",
    "grant.list": "see which teams have which grants, and custom grants",
    "grant.create": "create custom grants",
    "grant.modify": "give grants to teams and take them, protect containers",
    "grant.delete": "delete custom grants",
}
# These concern the whole server, and are asked for on the root project.
SERVER_RESOURCES = ("module.", "role.", "server.", "user.", "audit.")
_VIEWER = (
    "project.list",
    "project.read",
    "environment.read",
    "run.list",
    "run.read",
    "team.list",
    "grant.list",
    "cache.list",
)
_OPERATOR = (*_VIEWER, "action.execute", "workflow.execute", "run.cancel")
_VARIABLES = ("variable.list", "variable.modify", "variable.delete")
_CACHES = ("cache.read", "cache.modify", "cache.delete")
_RESOURCES = ("environment.create", "container.create", "instance.create", "instance.modify", "instance.delete")
_EDITOR = (*_OPERATOR, "run.argument", "project.modify", "team.read", *_RESOURCES, *_VARIABLES, *_CACHES)
BUNDLES = {
    "viewer": _VIEWER,
    "operator": _OPERATOR,
    "editor": _EDITOR,
    "administrator": tuple(
        grant for grant in GRANTS if grant != ADMINISTER and not grant.startswith(SERVER_RESOURCES)
    ),
}  # fmt: skip
# What everybody may do with his own tokens, and so what the scopes of a token may hold beside grants.
OWN_SCOPES = frozenset({"token.list", "token.delete"})
_CUSTOM_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def is_server_wide(grant: str) -> bool:
    """Whether a grant means something on the root project only."""
    return grant.startswith(SERVER_RESOURCES)


def is_custom_id(text: str) -> bool:
    """Whether a text has the form of a custom grant's id."""
    return _CUSTOM_ID.match(text) is not None


def check_scopes(scopes: Iterable[str]) -> None:
    """Raise ValueError for a scope that does not exist. Ids of custom grants need not; unknown ones allow nothing."""
    for scope in scopes:
        if scope not in GRANTS and scope not in OWN_SCOPES and not is_custom_id(scope):
            raise ValueError(f"there is no scope '{scope}'")
