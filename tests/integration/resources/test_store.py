"""The store as the server uses it: real repositories, real Git."""

import asyncio
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from factories.repositories import GitRepository, Link, Script, module_files, packet
from infraxys.resources import store as store_module
from infraxys.resources.errors import GitFailed, ResourceError
from infraxys.resources.store import Closure, ModuleStore
from infraxys.spec.identity import ModuleId


@pytest.fixture
def store(tmp_path: Path) -> ModuleStore:
    return ModuleStore(tmp_path / "mirrors", tmp_path / "exports")


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "org" / "main.git")


MAIN = ModuleId("localhost", "org", "main")


def fetch(store: ModuleStore, url: str, *branches: str) -> Closure:
    return asyncio.run(store.fetch_closure(store.parse_url(url), branches))


def failure_code(closure: Closure) -> str:
    (failure,) = closure.failures.values()
    return failure.code


def test_a_module_is_fetched_read_and_exported(store: ModuleStore, repository: GitRepository) -> None:
    commit = repository.commit(module_files())
    closure = fetch(store, repository.url)
    assert not closure.failures
    fetched = closure.modules[MAIN]
    assert fetched.branches == {"master": commit}
    assert fetched.problems == {"master": ()}
    assert not fetched.is_dependency
    assert store.head(MAIN, "master") == commit

    snapshot = store.snapshot(MAIN, commit)
    assert list(snapshot.packets) == ["demo-packet"]
    assert [container.name for container in snapshot.environments["demo-environment"].containers] == ["first one"]
    script = snapshot.packets["demo-packet"].files["run.sh"]
    assert snapshot.read(script.oid) == b"echo hello\n"
    assert script.executable
    assert list(snapshot.root_files) == ["init.sh", "module.json"]

    folder = store.export(MAIN, commit)
    run = folder / "packets/demo/files/run.sh"
    assert run.read_text() == "echo hello\n"
    assert stat.S_IMODE(run.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "module.json").stat().st_mode) == 0o644
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_path_can_be_given_instead_of_a_url(store: ModuleStore, repository: GitRepository) -> None:
    commit = repository.commit(module_files())
    assert fetch(store, str(repository.path)).modules[MAIN].branches == {"master": commit}


def test_all_branches_are_taken_unless_some_are_named(store: ModuleStore, repository: GitRepository) -> None:
    for branch in ("master", "feature/x", "ü"):
        repository.commit(module_files(), branch)
    assert set(fetch(store, repository.url, "feature/x").modules[MAIN].branches) == {"feature/x"}
    assert set(store.mirror(MAIN).branches()) == {"feature/x"}
    assert set(fetch(store, repository.url).modules[MAIN].branches) == {"master", "feature/x", "ü"}


def test_an_unknown_branch_is_named_with_those_that_exist(store: ModuleStore, repository: GitRepository) -> None:
    repository.commit(module_files())
    closure = fetch(store, repository.url, "nope")
    (failure,) = closure.failures.values()
    assert failure.code == "unknown_branch"
    assert str(failure) == "module localhost/org/main has no branch 'nope' (it has: master)"
    assert not closure.modules


def test_dependencies_are_fetched_with_the_branch_that_is_named(store: ModuleStore, tmp_path: Path) -> None:
    base = GitRepository(tmp_path / "org" / "base")
    base.commit(module_files("base"))
    base.commit(module_files("other"), "other")
    middle = GitRepository(tmp_path / "org" / "middle")
    middle.commit(module_files("middle", dependencies=[(base.url, "master")]))
    main = GitRepository(tmp_path / "org" / "main")
    main.commit(module_files("main", dependencies=[(middle.url, "master")]))
    said: list[str] = []
    closure = asyncio.run(store.fetch_closure(store.parse_url(main.url), on_progress=said.append))
    assert {module.repo: (list(one.branches), one.is_dependency) for module, one in closure.modules.items()} == {
        "main": (["master"], False),
        "middle": (["master"], True),
        "base": (["master"], True),
    }
    assert said == [f"fetching localhost/org/{name}" for name in ("main", "middle", "base")]


def test_cyclic_dependencies_end_and_two_branches_of_one_repository_are_both_there(
    store: ModuleStore, tmp_path: Path
) -> None:
    one, two = GitRepository(tmp_path / "org" / "one"), GitRepository(tmp_path / "org" / "two")
    one.commit(module_files("one", dependencies=[(two.url, "master"), (two.url, "v2"), (one.url, "master")]))
    two.commit(module_files("two", dependencies=[(one.url, "master")]))
    two.commit(module_files("two", dependencies=[(one.url, "v1"), (two.url, "master")]), "v2")
    one.commit(module_files("old"), "v1")
    closure = fetch(store, one.url, "master")
    assert not closure.failures
    found = {module.repo: set(fetched.branches) for module, fetched in closure.modules.items()}
    assert found == {"one": {"master", "v1"}, "two": {"master", "v2"}}


def test_a_dependency_that_cannot_be_had_does_not_stop_the_rest(store: ModuleStore, tmp_path: Path) -> None:
    good = GitRepository(tmp_path / "org" / "good")
    good.commit(module_files("good"))
    main = GitRepository(tmp_path / "org" / "main")
    missing = f"file://{tmp_path}/org/missing"
    main.commit(
        module_files(
            "main",
            dependencies=[(missing, "master"), ("ext::sh -c id", "master"), (good.url, "-x"), (good.url, "master")],
        )
    )
    closure = fetch(store, main.url)
    assert {module.repo for module in closure.modules} == {"main", "good"}
    assert closure.failures[missing].code == "unknown_repository"
    assert closure.failures["ext::sh -c id"].code == "invalid_url"
    assert closure.failures[good.url].code == "unknown_branch"


def test_a_closure_without_end_is_cut(store: ModuleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_FETCHES", 3)
    main = GitRepository(tmp_path / "org" / "main")
    main.commit(module_files("main", dependencies=[(main.url, f"b{index}") for index in range(50)]))
    said: list[str] = []
    closure = asyncio.run(store.fetch_closure(store.parse_url(main.url), ("master",), said.append))
    assert len(said) == 3
    assert "too_large" in {failure.code for failure in closure.failures.values()}


def test_a_moved_branch_is_seen_and_the_old_commit_stays(store: ModuleStore, repository: GitRepository) -> None:
    first = repository.commit(module_files())
    fetch(store, repository.url)
    second = repository.commit({"packets/new/packet.json": packet("new")}, keep=True)
    assert fetch(store, repository.url).modules[MAIN].branches == {"master": second}
    assert "new" not in store.snapshot(MAIN, first).packets
    assert "new" in store.snapshot(MAIN, second).packets


def test_a_rewritten_or_deleted_branch_leaves_pinned_commits_readable(
    tmp_path: Path, repository: GitRepository
) -> None:
    pinned = repository.commit(module_files())
    gone = repository.commit(module_files("gone"), "gone")
    store = ModuleStore(tmp_path / "mirrors", tmp_path / "exports")
    fetch(store, repository.url)
    rewritten = repository.commit(module_files("other"), orphan=True)
    repository.delete_branch("gone")
    repository.commit(module_files(), "gone/below")  # a directory where a branch was
    branches = fetch(store, repository.url).modules[MAIN].branches
    assert branches["master"] == rewritten
    assert set(branches) == {"master", "gone/below"}
    assert set(store.mirror(MAIN).branches()) == {"master", "gone/below"}
    fresh = ModuleStore(tmp_path / "mirrors", tmp_path / "exports")
    assert list(fresh.snapshot(MAIN, pinned).packets) == ["demo-packet"]
    assert (fresh.export(MAIN, gone) / "packets/gone/packet.json").exists()
    with pytest.raises(GitFailed, match="fetch it first"):
        fresh.head(MAIN, "gone")


def test_the_last_good_commit_keeps_serving_when_the_remote_is_gone(
    store: ModuleStore, repository: GitRepository
) -> None:
    commit = repository.commit(module_files())
    fetch(store, repository.url)
    repository.path.rename(repository.path.with_name("away"))
    closure = fetch(store, repository.url)
    assert closure.failures[repository.url].code == "unknown_repository"
    assert str(repository.path.parent) not in str(closure.failures[repository.url])
    assert store.head(MAIN, "master") == commit
    assert store.snapshot(MAIN, commit).packets
    assert store.export(MAIN, commit).is_dir()


def test_a_remote_without_any_branch_is_refused_and_what_is_here_stays(
    store: ModuleStore, repository: GitRepository
) -> None:
    assert failure_code(fetch(store, repository.url)) == "no_branches"
    commit = repository.commit(module_files())
    fetch(store, repository.url)
    repository.delete_branch("master")
    assert failure_code(fetch(store, repository.url)) == "no_branches"
    assert store.head(MAIN, "master") == commit


def test_unknown_commits_and_texts_that_are_none_are_refused(store: ModuleStore, repository: GitRepository) -> None:
    commit = repository.commit(module_files())
    fetch(store, repository.url)
    tree = repository.git("rev-parse", f"{commit}^{{tree}}")
    for text in ("0" * 40, commit[:10], "HEAD", "master", "../../../etc", "", tree, f"{commit}\n"):
        for use in (store.snapshot, store.export):
            with pytest.raises(GitFailed) as caught:
                use(MAIN, text)
            assert caught.value.code == "unknown_commit"
    with pytest.raises(GitFailed):
        store.snapshot(ModuleId("localhost", "org", "never"), commit)


def test_two_folders_of_one_name_do_not_become_one_module(store: ModuleStore, tmp_path: Path) -> None:
    first = GitRepository(tmp_path / "a" / "org" / "main")
    second = GitRepository(tmp_path / "b" / "org" / "main")
    commit = first.commit(module_files("first"))
    second.commit(module_files("second"))
    fetch(store, first.url)
    failure = fetch(store, second.url).failures[second.url]
    assert failure.code == "other_repository"
    assert store.head(MAIN, "master") == commit
    store.remove(MAIN)
    assert not fetch(store, second.url).failures


def test_a_removed_module_leaves_nothing_and_can_be_added_again(store: ModuleStore, repository: GitRepository) -> None:
    commit = repository.commit(module_files())
    fetch(store, repository.url)
    exported = store.export(MAIN, commit)
    store.remove(MAIN)
    store.remove(MAIN)
    assert not exported.exists()
    assert [path for path in store.root.rglob("*") if path.is_file()] == []
    with pytest.raises(GitFailed):
        store.snapshot(MAIN, commit)
    fetch(store, repository.url)
    assert store.snapshot(MAIN, commit).packets


def test_threads_that_ask_together_get_one_snapshot_and_one_export(
    store: ModuleStore, repository: GitRepository
) -> None:
    commit = repository.commit({**module_files(), **{f"data/{index}.txt": "x" for index in range(200)}})
    fetch(store, repository.url)
    barrier = threading.Barrier(8)

    def ask(_: int) -> tuple[int, int]:
        barrier.wait()
        folder = store.export(MAIN, commit)
        assert len(list((folder / "data").iterdir())) == 200
        return id(store.snapshot(MAIN, commit)), folder.stat().st_ino

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(ask, range(8)))
    assert len(answers) == 1
    assert [path.name for path in store.export(MAIN, commit).parent.iterdir()] == [commit]


def test_concurrent_fetches_of_one_module_wait_for_one_another(store: ModuleStore, repository: GitRepository) -> None:
    commit = repository.commit(module_files())

    async def fetch_often() -> list[Closure]:
        url = store.parse_url(repository.url)
        return list(await asyncio.gather(*(store.fetch_closure(url) for _ in range(5))))

    for closure in asyncio.run(fetch_often()):
        assert not closure.failures
        assert closure.modules[MAIN].branches == {"master": commit}


def test_threads_read_while_a_fetch_moves_the_branch(store: ModuleStore, repository: GitRepository) -> None:
    commits = [repository.commit({"packets/p/packet.json": packet("p0")})]
    fetch(store, repository.url)
    done = threading.Event()

    def read() -> int:
        reads = 0
        while not done.is_set() or not reads:
            index = len(commits) - 1
            store._snapshots.clear()
            assert list(store.snapshot(MAIN, commits[index]).packets) == [f"p{index}"]
            assert store.mirror(MAIN).branches()["master"]
            reads += 1
        return reads

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for index in range(1, 8):
                commit = repository.commit({"packets/p/packet.json": packet(f"p{index}")}, orphan=index % 2 == 0)
                assert not fetch(store, repository.url).failures
                commits.append(commit)
        finally:
            done.set()
        assert all(reader.result() for reader in readers)


def test_snapshots_are_kept_within_their_memory(store: ModuleStore, repository: GitRepository) -> None:
    commits = []
    for index in range(3):
        commits.append(repository.commit({f"packets/p{index}/packet.json": packet(f"p{index}")}, keep=True))
        fetch(store, repository.url)
    first = store.snapshot(MAIN, commits[0])
    assert store.snapshot(MAIN, commits[0]) is first
    store._snapshots = type(store._snapshots)(first.weight, getsizeof=lambda snapshot: snapshot.weight)
    assert store.snapshot(MAIN, commits[2]).packets
    assert store._snapshots.currsize <= first.weight


def test_a_hosted_module_is_made_from_a_directory(store: ModuleStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "packets/p").mkdir(parents=True)
    (source / "packets/p/packet.json").write_text('{"version": "1.0", "id": "p", "label": "p"}')
    (source / "run.sh").write_text("true\n")
    (source / "run.sh").chmod(0o755)
    (source / "secret").symlink_to("/etc/shadow")
    (source / ".git/objects").mkdir(parents=True)
    (source / ".git/config").write_text("")
    (source / "empty/deep").mkdir(parents=True)
    os.mkfifo(source / "pipe")
    module = ModuleId("infraxys", "examples", "start")
    commit = store.create_hosted(module, source, "main", "Start.")
    assert store.create_hosted(module, source, "main", "Start.") == commit
    assert store.head(module, "main") == commit
    assert list(store.snapshot(module, commit).packets) == ["p"]
    exported = store.export(module, commit)
    assert sorted(path.name for path in exported.iterdir()) == ["packets", "run.sh"]
    assert os.access(exported / "run.sh", os.X_OK)


def test_links_inside_stay_links_and_content_is_not_filtered(store: ModuleStore, repository: GitRepository) -> None:
    commit = repository.commit({
        **module_files(),
        ".gitattributes": "* text=auto eol=crlf ident export-ignore export-subst\n*.txt filter=evil\n",
        "a.txt": b"$Id$ $Format:%H$\nline\n",
        "lfs.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "deep/er/link": Link("../../a.txt"),
        "tool": Script("true\n"),
    })  # fmt: skip
    fetch(store, repository.url)
    folder = store.export(MAIN, commit)
    assert (folder / "a.txt").read_bytes() == b"$Id$ $Format:%H$\nline\n"
    assert (folder / "lfs.bin").read_text().startswith("version https://git-lfs")
    assert (folder / "deep/er/link").readlink() == Path("../../a.txt")
    assert (folder / "deep/er/link").read_bytes() == (folder / "a.txt").read_bytes()


def test_an_export_that_fails_leaves_nothing(
    store: ModuleStore, repository: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository.commit(module_files())
    fetch(store, repository.url)
    monkeypatch.setattr("infraxys.resources.export.MAX_FILE", 8)
    with pytest.raises(ResourceError) as caught:
        store.export(MAIN, commit)
    assert caught.value.code == "too_large"
    assert not any(path.is_file() for path in store.exports.rglob("*"))
    monkeypatch.undo()
    assert (store.export(MAIN, commit) / "module.json").exists()
