"""Commits that the server makes itself, beside a real remote that others push to."""

import asyncio
import threading
from pathlib import Path

import pytest

from factories.repositories import GitRepository, Link, Script
from infraxys.resources.edit import Author, Change
from infraxys.resources.errors import GitFailed, ResourceError
from infraxys.resources.mirror import Mirror
from infraxys.resources.url import GitUrl

ADA = Author("Ada <Lovelace>\n", "ada@example.org")
FILES = {"a.txt": "one\n", "folder/b.txt": "two\n", "folder/link": Link("/etc/passwd")}


class Both:
    """A remote and its mirror."""

    def __init__(self, folder: Path) -> None:
        self.remote = GitRepository(folder / "remote.git")
        self.first = self.remote.commit(FILES)
        self.url = GitUrl.parse(self.remote.url)
        self.mirror = Mirror(folder / "mirror.git", "module tests")
        self.fetch()

    def fetch(self, *, discard: bool = False) -> str:
        return asyncio.run(self.mirror.fetch(self.url, discard=discard))["master"]

    def push(self) -> str:
        return asyncio.run(self.mirror.push(self.url, "master"))

    @property
    def head(self) -> str:
        return self.mirror.branches()["master"]

    def commit(self, path: str, data: bytes | None, base: str | None = None) -> str:
        return self.mirror.commit("master", base or self.head, [Change(path, data)], "Change it.", ADA)

    def show(self, path: str, commit: str | None = None) -> str:
        files = {entry.path: entry.oid for entry in self.mirror.walk(self.mirror.root_tree(commit or self.head))}
        return self.mirror.read(files[path]).decode()


@pytest.fixture
def both(tmp_path: Path) -> Both:
    return Both(tmp_path)


class TestCommits:
    def test_a_change_is_one_commit_on_top_with_its_author(self, both: Both) -> None:
        made = both.commit("folder/b.txt", b"changed\n")
        assert both.head == made
        assert (both.show("folder/b.txt"), both.show("a.txt")) == ("changed\n", "one\n")
        git = GitRepository(both.mirror.path)
        assert git.git("rev-parse", f"{made}^") == both.first
        said = git.git("log", "-1", "--format=%an|%ae|%cn|%s", made)
        assert said == "Ada  Lovelace|ada@example.org|Infraxys|Change it."
        git.git("fsck", "--strict")

    def test_files_are_added_in_new_folders_and_removed_with_empty_ones(self, both: Both) -> None:
        both.commit("new/deep/file.txt", b"x")
        assert both.show("new/deep/file.txt") == "x"
        both.commit("new/deep/file.txt", None)
        names = [item.name for item in both.mirror.list_tree(both.mirror.root_tree(both.head))]
        assert names == ["a.txt", "folder"]

    def test_a_mode_is_kept(self, both: Both) -> None:
        both.remote.commit({"run.sh": Script("echo 1\n")}, keep=True)
        both.fetch()
        both.commit("run.sh", b"echo 2\n")
        item = next(item for item in both.mirror.list_tree(both.mirror.root_tree(both.head)) if item.name == "run.sh")
        assert item.executable

    def test_who_is_behind_is_refused_and_changes_nothing(self, both: Both) -> None:
        both.commit("a.txt", b"first")
        with pytest.raises(GitFailed, match="has moved") as refused:
            both.commit("a.txt", b"second", base=both.first)
        assert refused.value.code == "branch_moved"
        assert both.show("a.txt") == "first"

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("../x", "unsafe_file_name"),
            ("/etc/passwd", "unsafe_file_name"),
            (".git/config", "unsafe_file_name"),
            ("folder/.GIT/hooks/x", "unsafe_file_name"),
            ("a//b", "unsafe_file_name"),
            ("line\nend", "unsafe_file_name"),
            ("-rf", "unsafe_file_name"),
            ("/".join(["d"] * 30), "unsafe_file_name"),
            ("folder/link", "not_a_file"),
            ("folder/link/x", "not_a_directory"),
            ("a.txt/x", "not_a_directory"),
            ("folder", "not_a_file"),
        ],
    )
    def test_what_is_no_path_of_a_file_is_refused(self, both: Both, path: str, code: str) -> None:
        with pytest.raises(ResourceError) as refused:
            both.commit(path, b"x")
        assert refused.value.code == code
        assert both.head == both.first

    def test_of_many_writers_none_loses_a_change(self, both: Both) -> None:
        def write(number: int) -> None:
            while True:
                try:
                    both.commit(f"file-{number}", b"x", base=both.head)
                except GitFailed:
                    continue
                return

        threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        names = {item.name for item in both.mirror.list_tree(both.mirror.root_tree(both.head))}
        assert names == {"a.txt", "folder", *(f"file-{number}" for number in range(20))}


class TestFetching:
    def test_commits_of_ours_stay_while_the_remote_does_not_move(self, both: Both) -> None:
        made = both.commit("a.txt", b"ours")
        assert both.fetch() == made
        assert both.mirror.ahead_behind("master") == (1, 0)

    def test_they_stay_when_the_remote_has_others_and_both_are_counted(self, both: Both) -> None:
        made = both.commit("a.txt", b"ours")
        both.remote.commit({"c.txt": "theirs"}, keep=True)
        assert both.fetch() == made
        assert both.fetch() == made
        assert both.mirror.ahead_behind("master") == (1, 1)
        assert both.mirror.diverged(["master"]) == ("master",)

    def test_they_go_when_somebody_says_so(self, both: Both) -> None:
        both.commit("a.txt", b"ours")
        theirs = both.remote.commit({"c.txt": "theirs"}, keep=True)
        assert both.fetch(discard=True) == theirs
        assert both.mirror.ahead_behind("master") == (0, 0)

    def test_without_commits_of_ours_a_rewritten_history_is_followed(self, both: Both) -> None:
        rewritten = both.remote.commit({"a.txt": "anew"}, orphan=True)
        assert both.fetch() == rewritten

    def test_a_branch_that_vanished_stays_when_it_has_commits_of_ours(self, both: Both) -> None:
        both.remote.commit({"a.txt": "x"}, branch="left")
        both.remote.commit({"a.txt": "x"}, branch="gone")
        both.fetch()
        both.mirror.commit("left", both.mirror.branches()["left"], [Change("a.txt", b"y")], "m", ADA)
        for name in ("left", "gone"):
            both.remote.git("update-ref", "-d", f"refs/heads/{name}")
        both.fetch()
        assert sorted(both.mirror.branches()) == ["left", "master"]


class TestPushing:
    def test_the_remote_has_the_commits_then(self, both: Both) -> None:
        made = both.commit("a.txt", b"ours")
        assert both.push() == made
        assert both.remote.git("rev-parse", "master") == made
        assert both.mirror.ahead_behind("master") == (0, 0)
        theirs = both.remote.git("commit-tree", f"{made}^{{tree}}", "-p", made, "-m", "theirs")
        both.remote.git("update-ref", "refs/heads/master", theirs)
        assert both.fetch() == theirs

    def test_commits_of_others_are_not_overwritten(self, both: Both) -> None:
        both.commit("a.txt", b"ours")
        theirs = both.remote.commit({"c.txt": "theirs"}, keep=True)
        with pytest.raises(GitFailed) as refused:
            both.push()
        assert refused.value.code == "push_rejected"
        assert both.remote.git("rev-parse", "master") == theirs

    def test_a_remote_that_says_no_is_understood(self, both: Both) -> None:
        both.commit("a.txt", b"ours")
        hook = both.remote.path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\necho protected >&2\nexit 1\n")
        hook.chmod(0o755)
        with pytest.raises(GitFailed) as refused:
            both.push()
        assert refused.value.code == "push_refused"
