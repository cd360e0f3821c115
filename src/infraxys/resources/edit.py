"""Changes of a module: new blobs and directories in its object database, and the commit that a branch moves to.

Nothing is checked out. What a commit does not change keeps its objects, so it costs what it changes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pygit2
from pygit2.enums import FileMode

from infraxys.resources.errors import ResourceError
from infraxys.spec.names import is_safe_file_name

MAX_DEPTH = 20  # directories above a file that is written
_NOT_IN_SIGNATURES = re.compile(r"[\x00-\x1f\x7f<>]+")
_FILES = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)


@dataclass(frozen=True, slots=True)
class Author:
    """Who a commit is from."""

    name: str
    email: str

    def signature(self, at: int) -> pygit2.Signature:
        """Give the author as Git writes it, at a time in seconds since 1970 (UTC)."""
        name, email = (_NOT_IN_SIGNATURES.sub(" ", text).strip(" .,:;\"'") for text in (self.name, self.email))
        return pygit2.Signature(name or "unknown", email or "unknown", at, 0)


SERVER = Author("Infraxys", "infraxys@localhost")


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is written, or removed where `data` is None. `path` is inside the module, with slashes."""

    path: str
    data: bytes | None


def write_tree(repository: pygit2.Repository, tree: pygit2.Tree | None, changes: Iterable[Change]) -> pygit2.Oid:
    """Write what a directory is with changes, and give its id. Raises ResourceError for paths that cannot be written.

    Files keep their modes. Links and submodules are data: nothing is written through them.
    """
    files = {}
    for change in changes:
        parts = tuple(change.path.split("/"))
        if len(parts) > MAX_DEPTH or not all(map(is_safe_file_name, parts)):
            raise ResourceError("unsafe_file_name", f"{change.path[:200]!a} cannot be the path of a file here")
        files[parts] = change.data
    return _write(repository, tree, files)


def _write(
    repository: pygit2.Repository, tree: pygit2.Tree | None, files: Mapping[tuple[str, ...], bytes | None]
) -> pygit2.Oid:
    builder = repository.TreeBuilder() if tree is None else repository.TreeBuilder(tree)
    below: dict[str, dict[tuple[str, ...], bytes | None]] = {}
    for (name, *rest), data in files.items():
        if rest:
            below.setdefault(name, {})[tuple(rest)] = data
            continue
        found = _entry(builder, name)
        if found is not None and found.filemode not in _FILES:
            raise ResourceError("not_a_file", f"'{name}' is not a file, and is not replaced by one")
        if data is not None:
            _insert(builder, name, repository.create_blob(data), FileMode.BLOB if found is None else found.filemode)
        elif found is not None:
            builder.remove(name)
    for name, inner in below.items():
        found = _entry(builder, name)
        if found is not None and found.filemode != FileMode.TREE:
            raise ResourceError("not_a_directory", f"'{name}' is not a directory")
        written = _write(repository, None if found is None else repository[found.id].peel(pygit2.Tree), inner)
        if len(repository[written].peel(pygit2.Tree)):
            _insert(builder, name, written, FileMode.TREE)
        elif found is not None:  # as in Git, a directory without files is none
            builder.remove(name)
    return builder.write()


def _entry(builder: pygit2.TreeBuilder, name: str) -> pygit2.Object | None:
    return builder.get(name)


def _insert(builder: pygit2.TreeBuilder, name: str, oid: pygit2.Oid, mode: int) -> None:
    try:
        builder.insert(name, oid, mode)
    except (ValueError, pygit2.GitError) as error:  # such as `.git`
        raise ResourceError("unsafe_file_name", f"'{name}' cannot be the name of a file here") from error
