"""Modules without a remote: repositories that this server keeps itself."""

from pathlib import Path

import pygit2

from infraxys.resources.mirror import Mirror

LEFT_OUT = frozenset({".git", "__pycache__", "node_modules", ".venv"})
AUTHOR = pygit2.Signature("Infraxys", "infraxys@localhost", 1_700_000_000, 0)


def create_from_directory(mirror: Mirror, directory: Path, branch: str, message: str) -> str:
    """Commit the files of a directory as the branch's only commit; the same files give the same commit."""
    mirror.create()
    repository = pygit2.Repository(str(mirror.path))
    tree = _write_tree(repository, directory)
    commit = repository.create_commit(None, AUTHOR, AUTHOR, message, tree, [])
    repository.references.create(f"refs/heads/{branch}", commit, force=True)
    return str(commit)


def _write_tree(repository: pygit2.Repository, directory: Path) -> pygit2.Oid:
    """Write a directory, without links, devices and what tools keep for themselves."""
    builder = repository.TreeBuilder()
    for path in sorted(directory.iterdir()):
        if path.is_symlink() or path.name in LEFT_OUT:
            continue
        if path.is_dir():
            tree = _write_tree(repository, path)
            if len(repository[tree].peel(pygit2.Tree)):  # as in Git, a directory without files is none
                builder.insert(path.name, tree, pygit2.enums.FileMode.TREE)
        elif path.is_file():
            blob = repository.create_blob_fromdisk(str(path))
            mode = pygit2.enums.FileMode.BLOB_EXECUTABLE if path.stat().st_mode & 0o100 else pygit2.enums.FileMode.BLOB
            builder.insert(path.name, blob, mode)
    return builder.write()
