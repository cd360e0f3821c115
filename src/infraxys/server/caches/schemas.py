"""The shapes of caches in answers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from infraxys.kit.clock import timestamp
from infraxys.kit.trees import Entry
from infraxys.server.caches.store import Cache, CacheStore, Level
from infraxys.server.files import moment


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class CacheObject(Answer):
    """A cache: what it belongs to, and what is in it."""

    level: Level
    id: str = Field(description="in paths; that of a project's cache is the project's")
    project_id: str | None = Field(description="of a project's cache; null for that of an environment in no project")
    module: str | None
    branch: str | None
    environment_id: str | None
    container_id: str | None
    instance_id: str | None
    bytes: int = Field(description="on disk, when it was measured")
    entries: int = Field(description="files and folders")
    quota_bytes: int
    is_over_quota: bool = Field(description="actions can only read it then")
    is_in_use: bool = Field(description="whether an action has it just now")
    measured_at: str | None
    created_at: str
    last_used_at: str | None


class CachePage(Answer):
    """A page of caches."""

    items: list[CacheObject]
    next_cursor: str | None


class CacheEntry(Answer):
    """Something in a cache. Links and special files are shown and never given out."""

    name: str
    kind: Literal["file", "folder", "link", "other"]
    bytes: int
    executable: bool
    modified_at: str


class CacheFolder(Answer):
    """A folder of a cache."""

    items: list[CacheEntry]
    next_cursor: str | None


class CacheFile(Answer):
    """A file that was written."""

    path: str
    bytes: int
    sha256: str


def cache_object(store: CacheStore, cache: Cache) -> dict[str, object]:
    """Write a cache."""
    name = cache.name
    return CacheObject(
        level=name.level,
        id=cache.id,
        project_id=name.project_id or None,
        module=name.module or None,
        branch=name.branch or None,
        environment_id=name.environment_id or None,
        container_id=name.container_id or None,
        instance_id=name.instance_id or None,
        bytes=cache.size.bytes,
        entries=cache.size.entries,
        quota_bytes=store.quota,
        is_over_quota=store.is_over(cache),
        is_in_use=cache.users > 0,
        measured_at=timestamp(cache.measured_at),
        created_at=str(timestamp(cache.created_at)),
        last_used_at=timestamp(cache.last_used_at),
    ).model_dump(by_alias=True)


def entry_object(entry: Entry) -> dict[str, object]:
    """Write something in a folder."""
    return {
        "name": entry.name,
        "kind": entry.kind,
        "bytes": entry.bytes,
        "executable": entry.is_executable,
        "modifiedAt": timestamp(moment(entry.modified_at)),
    }
