"""Real Git repositories for tests, made by plumbing, so that trees can be as odd as an attacker's."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")  # the factory itself runs nothing hostile
Content = str | bytes | dict[str, Any]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Submodule:
    """An entry that names a commit of another repository."""

    commit: str = "1" * 40


@dataclass(frozen=True)
class Script:
    """An executable file."""

    text: str


@dataclass(frozen=True)
class Raw:
    """An object that exists already, put into a tree as it is."""

    mode: str
    oid: str


Entry = Content | Link | Submodule | Script | Raw


class GitRepository:
    """A bare repository whose commits are written as whole trees: `commit({"path": content})`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: dict[str, dict[str, Entry]] = {}
        if not path.exists():
            path.mkdir(parents=True)
            self.git("init", "--quiet", "--bare", "--initial-branch=master")

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def git(self, *arguments: str, given: bytes = b"") -> str:
        """Run Git in this repository and give what it printed."""
        command = ["git", *QUIET, f"--git-dir={self.path}", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, check=False, env=ENVIRONMENT, cwd="/")
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def commit(
        self,
        files: Mapping[str, Entry],
        branch: str = "master",
        *,
        message: str = "Change it.",
        keep: bool = False,
        orphan: bool = False,
    ) -> str:
        """Commit these files as the branch's tree; with `keep`, added to what the branch has. Gives the commit."""
        all_files = {**(self._last.get(branch, {}) if keep else {}), **files}
        self._last[branch] = all_files
        return self.commit_tree(self.tree(all_files), branch, message=message, orphan=orphan)

    def commit_tree(
        self, tree: str, branch: str = "master", *, message: str = "Change it.", orphan: bool = False
    ) -> str:
        """Commit a tree that exists, on top of the branch unless `orphan`."""
        parent = "" if orphan else self.head(branch)
        commit = self.git("commit-tree", tree, "-m", message, *(["-p", parent] if parent else []))
        self.git("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def head(self, branch: str = "master") -> str:
        """Give a branch's commit; an empty text when it has none."""
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def blob(self, content: Content) -> str:
        """Write a file's content."""
        return self.git("hash-object", "-w", "--stdin", given=_bytes(content))

    def tree(self, files: Mapping[str, Entry]) -> str:
        """Write a tree of files; `/` in their names makes directories. All blobs go through one Git process."""
        streams = [(path, *_as_blob(entry)) for path, entry in files.items()]
        marks = b"".join(b"blob\nmark :%d\n%s" % (index, _data(data)) for index, (_, _, data) in enumerate(streams, 1))
        marks_file = self.path / "test-marks"
        self.git("fast-import", "--quiet", f"--export-marks={marks_file}", given=marks + b"done\n")
        oids = dict(line.split() for line in marks_file.read_text().splitlines())
        flat: dict[str, tuple[str, str]] = {}
        for index, (path, mode, _) in enumerate(streams, 1):
            entry = files[path]
            if isinstance(entry, Raw):
                flat[path] = (entry.mode, entry.oid)
            elif isinstance(entry, Submodule):
                flat[path] = ("160000", entry.commit)
            else:
                flat[path] = (mode, oids[f":{index}"])
        return self._nested(flat)

    def _nested(self, flat: Mapping[str, tuple[str, str]]) -> str:
        index = self.path / "test-index"
        index.unlink(missing_ok=True)
        lines = b"".join(
            f"{mode} {oid}\t{path}".encode() + b"\0" for path, (mode, oid) in flat.items() if mode != "040000"
        )
        environment = {**ENVIRONMENT, "GIT_INDEX_FILE": str(index)}
        subprocess.run(
            ["git", *QUIET, f"--git-dir={self.path}", "update-index", "-z", "--index-info"],
            input=lines, check=True, env=environment, cwd="/",
        )  # fmt: skip
        for path, (mode, oid) in flat.items():
            if mode == "040000":
                subprocess.run(
                    ["git", *QUIET, f"--git-dir={self.path}", "read-tree", "-i", f"--prefix={path}/", oid],
                    check=True, env=environment, cwd="/",
                )  # fmt: skip
        written = subprocess.run(
            ["git", *QUIET, f"--git-dir={self.path}", "write-tree", "--missing-ok"],
            check=True, capture_output=True, env=environment, cwd="/",
        )  # fmt: skip
        return written.stdout.decode().strip()

    def raw_tree(self, entries: Sequence[tuple[str, bytes, str]]) -> str:
        """Write a tree with exactly these (mode, name, id), whatever Git thinks of them."""
        data = b"".join(f"{mode} ".encode() + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
        return self.git("hash-object", "-w", "--literally", "-t", "tree", "--stdin", given=data)

    def delete_branch(self, branch: str) -> None:
        self.git("update-ref", "-d", f"refs/heads/{branch}")


def module_files(name: str = "demo", *, dependencies: Sequence[tuple[str, str]] = ()) -> dict[str, Entry]:
    """Give the files of a small module: a packet with a script, a role, an environment with a container."""
    instance = {"id": f"{name}-instance", "packetId": f"{name}-packet", "packetName": name, "attributes": []}
    return {
        "module.json": {"dependencies": [{"git_url": url, "branch": branch} for url, branch in dependencies]},
        "init.sh": "export READY=1\n",
        f"packets/{name}/packet.json": packet(f"{name}-packet", "run.sh"),
        f"packets/{name}/files/run.sh": Script("echo hello\n"),
        f"roles/{name} role/role.json": {"version": "1.0", "id": f"{name}-role", "instances": []},
        f"environments/{name}/environment.json": {"version": "1.0", "id": f"{name}-environment", "workflows": []},
        f"environments/{name}/first+one/container.json": {
            "version": "1.0", "id": f"{name}-container", "roles": [], "instances": [instance],
        },
    }  # fmt: skip


def packet(packet_id: str, *files: str) -> dict[str, Any]:
    """Give the content of a packet.json with these executable files."""
    declared = [
        {"id": f"{packet_id}-{file}", "filename": file, "menuCaption": file, "executable": True} for file in files
    ]
    return {"version": "1.0", "id": packet_id, "label": packet_id, "attributes": [], "files": declared}


def _bytes(content: Content) -> bytes:
    if isinstance(content, dict):
        return json.dumps(content, indent=2).encode()
    return content if isinstance(content, bytes) else content.encode()


def _as_blob(entry: Entry) -> tuple[str, bytes]:
    if isinstance(entry, Link):
        return "120000", entry.target.encode()
    if isinstance(entry, Script):
        return "100755", entry.text.encode()
    if isinstance(entry, Submodule | Raw):
        return "", b""
    return "100644", _bytes(entry)


def _data(data: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(data), data)
