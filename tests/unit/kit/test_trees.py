"""Folders that somebody else fills: nothing here follows a link or leaves them."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from factories.trees import is_untouched, make_deep, make_hostile, make_outside
from infraxys.kit import trees


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "top"
    folder.mkdir()
    yield folder
    assert trees.clear(folder)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return make_outside(tmp_path)


@pytest.fixture
def trash(tmp_path: Path) -> Path:
    folder = tmp_path / "trash"
    folder.mkdir()
    return folder


class TestSplit:
    def test_gives_the_decoded_names(self) -> None:
        assert trees.split("a/b%20c/%C3%A9") == ("a", "b c", "é")
        assert trees.split("") == ()

    @pytest.mark.parametrize(
        "path",
        [
            "..",
            "a/../b",
            "%2e%2e/a",
            "a%2Fb",
            "a//b",
            "/a",
            "a/",
            "a%00",
            "a%0Ab",
            "a/.",
            "x" * 256,
            "a/" * 70 + "a",
            "%ff",
        ],
    )
    def test_refuses_what_is_no_plain_path(self, path: str) -> None:
        with pytest.raises(ValueError, match=r"plain name|parts|decode"):
            trees.split(path)


class TestOpen:
    def read(self, top: Path, *names: str) -> bytes:
        with trees.opened(top) as folder:
            descriptor = trees.open_file(folder, names)
        try:
            return os.read(descriptor, 100)
        finally:
            os.close(descriptor)

    def test_gives_a_plain_file(self, top: Path) -> None:
        (top / "a").mkdir()
        (top / "a" / "b").write_bytes(b"data")
        assert self.read(top, "a", "b") == b"data"

    @pytest.mark.parametrize("name", ["to-a-file", "to-a-folder", "pipe", "socket", "folder", "to-itself"])
    def test_refuses_links_and_special_files_without_waiting_for_them(
        self, top: Path, outside: Path, name: str
    ) -> None:
        make_hostile(top, outside)
        (top / "folder").mkdir()
        with pytest.raises(OSError):
            self.read(top, name)

    def test_refuses_a_link_on_the_way(self, top: Path, outside: Path) -> None:
        make_hostile(top, outside)
        for name in ("to-a-folder", "up"):
            with pytest.raises(trees.NotPlain):
                self.read(top, name, "precious")


class TestPut:
    def put(self, tmp_path: Path, top: Path, *names: str, replace: bool = True, executable: bool = False) -> bool:
        source = tmp_path / "staged"
        source.write_bytes(b"new")
        with trees.opened(top) as folder:
            return trees.put_file(folder, names, source, executable=executable, replace=replace)

    def test_makes_folders_and_replaces(self, tmp_path: Path, top: Path) -> None:
        assert not self.put(tmp_path, top, "a", "b", "c", executable=True)
        assert (top / "a" / "b" / "c").read_bytes() == b"new"
        assert os.access(top / "a" / "b" / "c", os.X_OK)
        assert self.put(tmp_path, top, "a", "b", "c")
        assert not (tmp_path / "staged").exists()

    def test_does_not_replace_when_it_may_not(self, tmp_path: Path, top: Path) -> None:
        (top / "a").write_bytes(b"old")
        with pytest.raises(FileExistsError):
            self.put(tmp_path, top, "a", replace=False)
        assert (top / "a").read_bytes() == b"old"

    @pytest.mark.parametrize("name", ["to-a-file", "to-nothing", "pipe", "closed"])
    def test_puts_nothing_where_something_else_is(self, tmp_path: Path, top: Path, outside: Path, name: str) -> None:
        make_hostile(top, outside)
        with pytest.raises(trees.NotPlain):
            self.put(tmp_path, top, name)
        assert is_untouched(outside)

    def test_puts_nothing_behind_a_link(self, tmp_path: Path, top: Path, outside: Path) -> None:
        make_hostile(top, outside)
        for names in (("to-a-folder", "new"), ("to-a-folder", "sub", "new"), ("up", "new")):
            with pytest.raises(trees.NotPlain):
                self.put(tmp_path, top, *names)
        assert is_untouched(outside)


class TestMeasure:
    def test_counts_blocks_once_and_entries(self, top: Path) -> None:
        (top / "a").write_bytes(b"x" * 100_000)
        os.link(top / "a", top / "b")
        (top / "folder").mkdir()
        size = trees.measure(top)
        assert size.entries == 3
        assert 100_000 <= size.bytes < 130_000
        assert size.is_whole

    def test_a_file_with_a_hole_is_as_small_as_it_is_on_disk(self, top: Path) -> None:
        with (top / "sparse").open("wb") as sparse:
            sparse.truncate(2**40)
        assert trees.measure(top).bytes < 2**20

    def test_says_when_there_is_more_than_it_counts(self, top: Path) -> None:
        for number in range(20):
            (top / f"{number}").touch()
        assert trees.measure(top, max_entries=10) == trees.Size(0, 10, is_whole=False)

    def test_does_not_go_deeper_than_it_should(self, top: Path) -> None:
        make_deep(top, 300)
        descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
        assert not trees.measure(top).is_whole
        assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == descriptors

    def test_counts_what_was_closed_and_follows_nothing(self, top: Path, outside: Path) -> None:
        (outside / "precious").write_bytes(b"x" * 1_000_000)
        (top / "link").symlink_to(outside)
        (top / "closed").mkdir()
        (top / "closed" / "inside").write_bytes(b"x" * 50_000)
        (top / "closed").chmod(0)
        assert 50_000 <= trees.measure(top).bytes < 100_000

    def test_a_folder_that_is_gone_is_empty(self, top: Path) -> None:
        assert trees.measure(top / "gone") == trees.Size()


class TestRemove:
    def test_takes_everything_out_at_once_and_removes_it(self, top: Path, outside: Path, trash: Path) -> None:
        make_hostile(top, outside, depth=1500)
        with trees.opened(top) as folder:
            trees.move_contents_out(folder, trash)
        assert list(top.iterdir()) == []
        assert trees.clear(trash)
        assert list(trash.iterdir()) == []
        assert is_untouched(outside)

    def test_takes_one_thing_out(self, top: Path, outside: Path, trash: Path) -> None:
        make_hostile(top, outside)
        (top / "other").touch()
        with trees.opened(top) as folder:
            for name in ("to-a-folder", "closed", "pipe", "d"):
                trees.move_out(folder, (name,), trash)
            with pytest.raises(trees.NotPlain):
                trees.move_out(folder, ("up", "outside"), trash)
            with pytest.raises(FileNotFoundError):
                trees.move_out(folder, ("nothing",), trash)
        assert trees.clear(trash)
        assert (top / "other").exists()
        assert is_untouched(outside)

    def test_folders_that_turn_into_links_meanwhile_lead_nowhere(self, top: Path, outside: Path, trash: Path) -> None:
        """An action exchanges a folder for a link as fast as it can while its cache is cleaned."""
        stop = threading.Event()

        def exchange() -> None:
            while not stop.is_set():
                for folder in (top, trash):
                    try:
                        (folder / "swap").mkdir()
                        (folder / "swap" / "precious").touch()
                        (folder / "swap").rename(folder / "aside")
                        (folder / "swap").symlink_to(outside)
                    except OSError:
                        continue

        exchanging = threading.Thread(target=exchange)
        exchanging.start()
        try:
            for _ in range(100):
                with trees.opened(top) as folder:
                    for name in ("swap", "aside"):
                        try:
                            trees.move_out(folder, (name,), trash)
                        except OSError:
                            continue
                trees.clear(trash, seconds=0.01)
                trees.measure(top)
        finally:
            stop.set()
            exchanging.join()
        assert is_untouched(outside)


def test_a_listing_shows_what_can_be_named_and_of_what_kind_it_is(top: Path, outside: Path) -> None:
    make_hostile(top, outside)
    (top / "run").write_text("#!/bin/sh")
    (top / "run").chmod(0o755)
    with trees.opened(top) as folder:
        found = {entry.name: entry for entry in trees.entries(folder)}
    assert found["run"].kind == "file"
    assert found["run"].is_executable
    assert {found[name].kind for name in ("to-a-file", "to-a-folder", "up")} == {"link"}
    assert {found[name].kind for name in ("pipe", "socket")} == {"other"}
    assert found["closed"].kind == "folder"
    assert all(name.isprintable() for name in found)


def test_the_files_of_a_tree_are_plain_ones_by_path(top: Path, outside: Path) -> None:
    make_hostile(top, outside)
    (top / "b").mkdir()
    (top / "b" / "c").write_text("12")
    with trees.opened(top) as folder:
        found = trees.files(folder, most=1000)
    paths = [path for path, _ in found]
    assert paths == sorted(paths)
    assert {"-rf", "b/c", "sparse"} <= set(paths)
    assert not {"to-a-file", "pipe", "socket", "to-a-folder/precious"} & set(paths)


@pytest.mark.parametrize("make", [True, False])
def test_emptiness_is_seen(top: Path, *, make: bool) -> None:
    if make:
        (top / "x").touch()
    assert trees.is_empty(top) is not make
    assert trees.is_empty(top / "nothing")
