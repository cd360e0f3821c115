"""Reading modules: which problems are found, and that a new commit costs what it changed."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from factories.repositories import Entry, GitRepository, Link, Submodule, module_files, packet
from infraxys.resources.mirror import Limits, Mirror
from infraxys.resources.snapshot import PartCache, build_snapshot
from infraxys.resources.url import GitUrl
from infraxys.spec.identity import ModuleId
from infraxys.spec.snapshot import Snapshot

MODULE = ModuleId("localhost", "org", "main")


class CountingMirror(Mirror):
    """A mirror that counts what is read."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        super().__init__(path, "module main", limits)
        self.blobs = self.trees = 0

    def read(self, oid: str) -> bytes:
        self.blobs += 1
        return super().read(oid)

    def list_tree(self, tree: str) -> list:  # type: ignore[type-arg] - only counted
        self.trees += 1
        return super().list_tree(tree)


class Reader:
    def __init__(self, folder: Path) -> None:
        self.repository = GitRepository(folder / "org" / "main")
        self.mirror = CountingMirror(folder / "mirror")
        self.cache = PartCache()

    def snapshot(self, commit: str) -> Snapshot:
        asyncio.run(self.mirror.fetch(GitUrl.parse(self.repository.url)))
        return build_snapshot(self.mirror, MODULE, commit, self.cache)

    def read(self, files: Mapping[str, Entry]) -> Snapshot:
        return self.snapshot(self.repository.commit(files))


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def found(snapshot: Snapshot) -> set[tuple[str, str]]:
    return {(problem.file, problem.code) for problem in snapshot.problems}


def test_a_repository_without_anything_of_ours_is_a_module(reader: Reader) -> None:
    snapshot = reader.read({"README.md": "hello"})
    assert not snapshot.problems
    assert not snapshot.packets
    assert list(snapshot.root_files) == ["README.md"]


def test_an_empty_commit_is_a_module(reader: Reader) -> None:
    assert not reader.read({}).problems


def test_one_broken_file_is_reported_and_the_rest_loads(reader: Reader) -> None:
    files = module_files()
    snapshot = reader.read({
        **files,
        "packets/broken/packet.json": '{\n  "id": "x",\n  "label": }',
        "packets/latin/packet.json": b'{"label": "\xe9"}',
        "packets/nothing/files/x.sh": "true",
        "roles/list/role.json": "[]",
        "environments/demo/bad/container.json": "",
        "environments/none/first/container.json": {"id": "c"},
        "module.json": "{",
    })  # fmt: skip
    assert {("packets/broken/packet.json", "not_json"), ("packets/latin/packet.json", "not_utf8"),
            ("packets/nothing/packet.json", "missing_file"), ("roles/list/role.json", "wrong_type"),
            ("environments/demo/bad/container.json", "not_json"),
            ("environments/none/environment.json", "missing_file"),
            ("module.json", "not_json")} <= found(snapshot)  # fmt: skip
    broken = next(problem for problem in snapshot.problems if problem.file == "packets/broken/packet.json")
    assert (broken.line, broken.column) == (3, 12)
    assert list(snapshot.packets) == ["demo-packet"]
    assert list(snapshot.environments) == ["demo-environment"]
    assert [one.name for one in snapshot.environments["demo-environment"].containers] == ["first one"]


def test_duplicate_ids_name_both_and_the_first_path_wins(reader: Reader) -> None:
    snapshot = reader.read({
        "packets/a/packet.json": packet("same"),
        "packets/b/packet.json": packet("same"),
        "environments/e/environment.json": {"id": "e"},
        "environments/e/a/container.json": {"id": "c"},
        "environments/e/b/container.json": {"id": "c"},
    })  # fmt: skip
    assert found(snapshot) == {
        ("packets/b/packet.json", "duplicate_id"),
        ("environments/e/b/container.json", "duplicate_id"),
    }
    assert all("packets/a" in one.message or "environments/e/a" in one.message for one in snapshot.problems)
    assert snapshot.packets["same"].name == "a"
    assert snapshot.packets_by_name["b"].name == "b"
    assert [one.name for one in snapshot.environments["e"].containers] == ["a"]


def test_both_spellings_of_container_directories_are_read(reader: Reader) -> None:
    snapshot = reader.read({
        "environments/e e/environment.json": {"id": "e"},
        "environments/e e/Part+1/container.json": {"id": "1"},
        "environments/e e/Part 2/container.json": {"id": "2"},
        "environments/e e/part+2/container.json": {"id": "3"},
        "environments/e e/generated/x.sh": "true",
    })  # fmt: skip
    assert [one.name for one in snapshot.environments["e"].containers] == ["Part 1", "Part 2"]
    assert found(snapshot) == {("environments/e e/part+2", "colliding_name")}


def test_declared_files_must_exist_and_be_files(reader: Reader) -> None:
    snapshot = reader.read({
        "packets/p/packet.json": packet("p", "run.sh", "missing.sh", "link.sh", "module.sh", "folder"),
        "packets/p/files/run.sh": "true",
        "packets/p/files/link.sh": Link("run.sh"),
        "packets/p/files/module.sh": Submodule(),
        "packets/p/files/folder/x": "",
        "packets/p/files/RUN.sh": "false",
    })  # fmt: skip
    assert list(snapshot.packets["p"].files) == ["run.sh"]
    codes = sorted((one.code, one.severity) for one in snapshot.problems)
    assert codes == [("colliding_name", "warning"), ("missing_file", "error"), ("missing_file", "error"),
                     ("not_a_file", "error"), ("not_a_file", "error"), ("undeclared_file", "warning"),
                     ("undeclared_file", "warning")]  # fmt: skip


def test_links_and_submodules_in_place_of_files_and_directories_are_not_followed(reader: Reader) -> None:
    snapshot = reader.read({
        "packets/link": Link("../roles"),
        "packets/module": Submodule(),
        "packets/json/packet.json": Link("../../module.json"),
        "packets/files/packet.json": packet("files"),
        "packets/files/files": Link("/etc"),
        "roles": Link("/etc"),
        "environments": Submodule(),
        "module.json": Link("/etc/passwd"),
    })  # fmt: skip
    assert found(snapshot) == {("packets/link", "not_a_directory"), ("packets/module", "not_a_directory"),
                               ("packets/json/packet.json", "not_a_file"), ("packets/files/files", "not_a_directory"),
                               ("roles", "not_a_directory"), ("environments", "not_a_directory"),
                               ("module.json", "not_a_file")}  # fmt: skip


def test_files_of_old_versions_get_an_id_that_stays(reader: Reader) -> None:
    files: dict[str, Entry] = {"packets/Old One/packet.json": {"version": "1.0", "label": "x"}}
    snapshot = reader.read(files)
    assert list(snapshot.packets) == ["localhost/org/main\\packets/old one"]
    assert list(reader.read({**files, "x": "y"}).packets) == list(snapshot.packets)


def test_two_modules_of_the_same_content_do_not_share_made_up_ids(reader: Reader) -> None:
    commit = reader.repository.commit({"packets/old/packet.json": {"version": "1.0", "label": "x"}})
    reader.snapshot(commit)
    fork = build_snapshot(reader.mirror, ModuleId("localhost", "fork", "main"), commit, reader.cache)
    assert list(fork.packets) == ["localhost/fork/main\\packets/old"]


def test_pictures_settings_and_sourced_files_are_found(reader: Reader) -> None:
    snapshot = reader.read({
        **module_files(),
        "module.json": {"dependencies": [], "group": "tools"},
        "packets/demo/logo.PNG": b"\x89PNG",
        "roles/demo role/role.svg": "<svg/>",
        "auto-source/a.sh": "true",
        "auto-source/deep/b.sh": "true",
    })  # fmt: skip
    picture = snapshot.packets["demo-packet"].picture
    assert picture is not None
    assert (picture.path, snapshot.read(picture.oid)) == ("packets/demo/logo.PNG", b"\x89PNG")
    assert snapshot.roles["demo-role"].picture is not None
    assert snapshot.settings == {"group": "tools"}
    assert set(snapshot.root_files) == {"module.json", "init.sh", "auto-source/a.sh"}


def test_a_commit_of_one_file_reads_only_what_it_changed(reader: Reader) -> None:
    many: dict[str, Entry] = {}
    for index in range(500):
        many[f"packets/p{index:03}/packet.json"] = packet(f"p{index}", "run.sh")
        for number in range(19):
            many[f"packets/p{index:03}/files/{'run.sh' if not number else f'f{number}'}"] = "true\n"
    for index in range(50):
        many[f"environments/e{index}/environment.json"] = {"id": f"e{index}"}
        many[f"environments/e{index}/one/container.json"] = {"id": f"c{index}"}
    many["module.json"] = {"dependencies": []}
    first = reader.read(many)
    assert (len(many), len(first.packets)) == (10_101, 500)
    assert reader.mirror.blobs == 500 + 100 + 1
    reader.mirror.blobs = reader.mirror.trees = 0

    changed = {**many, "packets/p250/packet.json": packet("p250", "run.sh", "f1")}
    second = reader.read(changed)
    assert list(second.packets["p250"].files) == ["run.sh", "f1"]
    assert second.packets["p1"] is first.packets["p1"]
    assert reader.mirror.blobs == 2  # the packet and module.json
    assert reader.mirror.trees == 5  # root, packets, the packet, its files, environments
    reader.mirror.blobs = reader.mirror.trees = 0

    third = reader.read({**changed, "environments/e7/one/container.json": {"id": "moved"}})
    assert third.environments["e7"].containers[0].model.id == "moved"
    assert reader.mirror.blobs == 3  # the environment, the container and module.json
    assert len(third.problems) == len(second.problems)


def test_limits_count_the_same_whether_parts_are_known_or_not(reader: Reader) -> None:
    commit = reader.repository.commit({f"packets/p{index}/packet.json": packet(f"p{index}") for index in range(20)})
    reader.snapshot(commit)
    reader.mirror.limits = Limits(entries=30)
    for cache in (reader.cache, PartCache()):
        with pytest.raises(Exception, match="more than 30 files"):
            build_snapshot(reader.mirror, MODULE, commit, cache)
