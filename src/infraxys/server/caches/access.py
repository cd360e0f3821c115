"""Which caches a caller may know of and use: those of what it may."""

from infraxys.server.auth.permissions import check
from infraxys.server.auth.places import Place, missing_grant, project_of
from infraxys.server.auth.rights import ROOT
from infraxys.server.auth.subject import Subject
from infraxys.server.caches.errors import UnknownCache
from infraxys.server.caches.store import Cache, CacheName
from infraxys.server.errors import Problem

KNOWN_BY = "cache.list"


def check_cache(subject: Subject, name: CacheName, grant: str, unknown: Problem | None = None) -> None:
    """Refuse who lacks a grant for a cache. Raises UnknownCache, unless another problem is given, and Forbidden."""
    if subject.has_everything:
        return
    unknown = unknown or UnknownCache(name.id)
    if name.project_id:
        # One that is gone is nobody's but the root's.
        project_id = name.project_id if name.project_id in subject.rights.policy.parents else ROOT
    else:
        place = Place(name.module, name.branch, name.environment_id)
        project_id = project_of(subject, place)
        if name.container_id and missing_grant(subject, place, name.container_id) is not None:
            raise unknown
    check(subject, grant, project_id, unknown, KNOWN_BY)


def is_visible(subject: Subject, cache: Cache) -> bool:
    """Whether a list shows a cache to a caller."""
    try:
        check_cache(subject, cache.name, KNOWN_BY)
    except Problem:
        return False
    return True
