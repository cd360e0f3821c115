"""Repositories and Git servers that mean harm (hostile.md C1-C9, A10; field.md 13, 14, 21, 24, 25)."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from factories.remotes import SilentRemote, http_remote, publish
from factories.repositories import Entry, GitRepository, Link, Raw, Script, Submodule, module_files, packet
from infraxys.resources import git
from infraxys.resources.errors import GitFailed, InvalidUrl, ResourceError, TooLarge
from infraxys.resources.mirror import Limits
from infraxys.resources.store import Closure, ModuleStore
from infraxys.spec.identity import ModuleId

MAIN = ModuleId("localhost", "org", "main")


@pytest.fixture(autouse=True)
def _own_git_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GIT_SSH_COMMAND"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "org" / "main")


def make_store(tmp_path: Path, limits: Limits | None = None, timeout: float = 60) -> ModuleStore:
    return ModuleStore(tmp_path / "data" / "mirrors", tmp_path / "data" / "exports", limits=limits, timeout=timeout)


def fetch(store: ModuleStore, url: str, *branches: str) -> Closure:
    return asyncio.run(store.fetch_closure(store.parse_url(url), branches))


def failure(closure: Closure) -> ResourceError:
    (found,) = closure.failures.values()
    return found


def loaded(store: ModuleStore, repository: GitRepository) -> Closure:
    closure = fetch(store, repository.url)
    assert not closure.failures
    return closure


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_relative_to(folder / "data")}


# C1, C5, G24: names and links


def test_c1_names_of_a_raw_tree_write_nothing_outside_the_export(
    tmp_path: Path, repository: GitRepository, caplog: pytest.LogCaptureFixture
) -> None:
    good, evil = repository.blob("good"), repository.blob("evil")
    folder = repository.raw_tree([("100644", b"inner", good)])
    git_folder = repository.raw_tree([("100644", b"config", evil)])
    up = repository.raw_tree([("100644", b"..", evil), ("100644", b"escaped", evil)])
    tree = repository.raw_tree([
        ("100644", b"..", evil), ("40000", b"..", up), ("100644", b".", evil), ("40000", b".git", git_folder),
        ("40000", b".GIT", git_folder), ("100644", b"../../escaped", evil), ("100644", b"/abs/escaped", evil),
        ("100644", b"\xff\xfe", evil), ("100644", b"new\nline", evil), ("100644", b"back\\slash", evil),
        ("100644", b"CON", good), ("100644", b"README", good), ("100644", b"a", good), ("40000", b"a", folder),
        ("100644", b"dup", good), ("100644", b"dup", evil), ("100644", b"readme", good), ("60000", b"device", good),
        ("100644", b"sub/inner", evil), ("40000", b"sub", folder), ("100644", b"x" * 4096, evil),
        ("100644", b"-rf", good), ("100644", b"a b$(id)", good),
    ])  # fmt: skip
    commit = repository.commit_tree(tree)
    store = make_store(tmp_path)
    before = files_below(tmp_path)
    closure = loaded(store, repository)
    export = store.export(MAIN, commit)
    assert files_below(tmp_path) == before
    assert not list((tmp_path / "data").rglob("escaped"))
    found = {str(path.relative_to(export)) for path in export.rglob("*") if path.is_file()}
    assert found == {"CON", "README", "readme", "a", "dup", "device", "sub/inner", "-rf", "a b$(id)"}
    assert {(export / name).read_text() for name in found} == {"good"}
    assert all((export / name).is_file() and not (export / name).is_symlink() for name in found)
    assert "entries left out" in caplog.text
    assert "\n" not in caplog.messages[0]
    reported = {problem.code for problem in closure.modules[MAIN].problems["master"]}
    assert reported == {"unsafe_file_name"}


def test_c1_links_lead_nowhere_outside_not_even_together(tmp_path: Path, repository: GitRepository) -> None:
    (tmp_path / "secret").write_text("c4n4ry")
    links = {
        "absolute": Link("/etc/passwd"),
        "up": Link("../../../../secret"),
        "packets/deep": Link("../../x"),
        "sub/here": Link("."),
        "chained": Link("sub/here/../.."),
        "again": Link("chained/x"),
        "loop": Link("loop"),
        "ping": Link("pong"),
        "pong": Link("ping"),
        "inside": Link("sub/here/file"),
        "dangling": Link("nothing"),
    }
    commit = repository.commit({"sub/file": "x", "packets/p/packet.json": packet("p"), **links})
    store = make_store(tmp_path)
    loaded(store, repository)
    export = store.export(MAIN, commit)
    kept = {str(path.relative_to(export)) for path in export.rglob("*") if path.is_symlink()}
    assert {"sub/here", "inside", "dangling"} <= kept <= {"sub/here", "inside", "dangling", "loop", "ping", "pong"}
    for name in kept:
        assert Path(os.path.realpath(export / name)).is_relative_to(os.path.realpath(export))


def test_c1_a_link_that_is_a_directory_elsewhere_is_never_written_through(
    tmp_path: Path, repository: GitRepository
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    evil = repository.blob("evil")
    target = repository.blob(str(outside))
    folder = repository.raw_tree([("100644", b"planted", evil), ("120000", b"planted-link", repository.blob("x"))])
    here = repository.raw_tree([("120000", b"via", repository.blob("."))])
    tree = repository.raw_tree([
        ("120000", b"a", target), ("40000", b"a", folder), ("40000", b"b", here), ("120000", b"b", target),
        ("120000", b"c", repository.blob(".")),
        ("40000", b"c", repository.raw_tree([("120000", b"d", repository.blob("../x"))])),
    ])  # fmt: skip
    commit = repository.commit_tree(tree)
    store = make_store(tmp_path)
    loaded(store, repository)
    export = store.export(MAIN, commit)
    assert list(outside.iterdir()) == []
    assert (export / "a/planted").read_text() == "evil"
    for path in export.rglob("*"):
        assert Path(os.path.realpath(path)).is_relative_to(os.path.realpath(export))


def test_c5_declared_file_names_that_are_paths_find_no_file(tmp_path: Path, repository: GitRepository) -> None:
    names = [
        "../packet.json",
        "/etc/passwd",
        "-rf",
        "a b$(id)",
        "x\ny",
        ".",
        "..",
        "folder",
        "folder/../run.sh",
        "./run.sh",
    ]
    commit = repository.commit({
        "packets/good/packet.json": packet("good"),
        "packets/bad/packet.json": packet("bad", *names),
        "packets/bad/files/run.sh": "true",
        "packets/bad/files/folder/x": "true",
        "packets/bad/files/a b$(id)": "true",
    })  # fmt: skip
    store = make_store(tmp_path)
    loaded(store, repository)
    snapshot = store.snapshot(MAIN, commit)
    assert "good" in snapshot.packets
    assert snapshot.problems
    if "bad" in snapshot.packets:
        assert set(snapshot.packets["bad"].files) <= {"a b$(id)"}


# C2, G24: nothing that a repository brings along is executed or followed


def test_c2_nothing_of_a_repository_is_executed(tmp_path: Path, repository: GitRepository) -> None:
    touch = f"touch {tmp_path}/pwned"
    commit = repository.commit({
        **module_files(),
        ".gitmodules": f'[submodule "s\r"]\n\tpath = s\n\turl = ext::{touch}\n\tupdate = !{touch}\n',
        "s": Submodule(),
        ".gitattributes": "* filter=evil diff=evil merge=evil\n",
        "hooks/post-checkout": Script(f"#!/bin/sh\n{touch}\n"),
        ".gitconfig": f'[core]\n\tfsmonitor = {touch}\n[filter "evil"]\n\tsmudge = {touch}\n',
        ".lfsconfig": f"[lfs]\n\turl = ext::{touch}\n",
    })  # fmt: skip
    script = f"#!/bin/sh\n{touch}\n"
    for hook in ("pre-receive", "post-checkout", "reference-transaction", "post-index-change", "pre-upload-pack"):
        (repository.path / "hooks").mkdir(exist_ok=True)
        (repository.path / "hooks" / hook).write_text(script)
        (repository.path / "hooks" / hook).chmod(0o755)
    (repository.path / "included").write_text(f"[core]\n\tfsmonitor = {touch}\n\tsshCommand = {touch}\n")
    with (repository.path / "config").open("a") as config:
        config.write(
            f"[include]\n\tpath = included\n[uploadpack]\n\tpackObjectsHook = {touch}; exec\n"
            f'[filter "evil"]\n\tsmudge = {touch}\n[core]\n\talternateRefsCommand = {touch}\n'
        )
    store = make_store(tmp_path)
    loaded(store, repository)
    mirror = store.mirror(MAIN).path
    hooks = mirror / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "reference-transaction").write_text(script)
    (hooks / "reference-transaction").chmod(0o755)
    repository.commit({"more": "x"}, keep=True)
    loaded(store, repository)
    export = store.export(MAIN, commit)
    assert not (tmp_path / "pwned").exists()
    assert list((export / "s").iterdir()) == []
    assert not (mirror / "modules").exists()
    assert not (mirror / "objects/info/alternates").exists()
    assert not (export / ".git").exists()


def test_c2_objects_that_a_remote_borrows_are_copied_not_borrowed(tmp_path: Path) -> None:
    lender = GitRepository(tmp_path / "org" / "lender")
    commit = lender.commit(module_files())
    borrower = GitRepository(tmp_path / "org" / "main")
    (borrower.path / "objects/info/alternates").write_text(f"{lender.path}/objects\n")
    borrower.git("update-ref", "refs/heads/master", commit)
    store = make_store(tmp_path)
    loaded(store, borrower)
    lender.path.rename(tmp_path / "gone")
    assert store.snapshot(MAIN, commit).packets
    assert (store.export(MAIN, commit) / "module.json").exists()


# C3, G21: sizes


def bomb(repository: GitRepository, levels: int) -> str:
    """Write a tree that pretends to hold 2^levels files."""
    tree = repository.raw_tree([("100644", b"file", repository.blob("x"))])
    for _ in range(levels):
        tree = repository.raw_tree([("40000", b"a", tree), ("40000", b"b", tree)])
    return tree


def test_c3_a_tree_that_repeats_itself_is_refused_and_other_modules_are_not_affected(
    tmp_path: Path, repository: GitRepository
) -> None:
    packets = repository.raw_tree([("40000", b"p", repository.raw_tree([("40000", b"files", bomb(repository, 30))]))])
    commit = repository.commit_tree(repository.raw_tree([("40000", b"packets", packets)]))
    other = GitRepository(tmp_path / "org" / "other")
    fine = other.commit(module_files())
    store = make_store(tmp_path)
    closure = fetch(store, repository.url)
    (problem,) = closure.modules[MAIN].problems["master"]
    assert (problem.code, problem.message) == ("too_large", "module localhost/org/main has more than 200000 files")
    assert not closure.modules[MAIN].branches
    with pytest.raises(TooLarge):
        store.export(MAIN, commit)
    assert not any(store.exports.rglob("file"))
    loaded(store, other)
    assert store.snapshot(ModuleId("localhost", "org", "other"), fine).packets


def test_c3_many_packets_of_one_big_tree_count_together(tmp_path: Path, repository: GitRepository) -> None:
    big = repository.raw_tree([("40000", b"files", bomb(repository, 8))])
    packets = repository.raw_tree([("40000", b"p%03d" % index, big) for index in range(200)])
    commit = repository.commit_tree(repository.raw_tree([("40000", b"packets", packets)]))
    store = make_store(tmp_path, Limits(entries=10_000))
    fetch(store, repository.url)
    for _ in range(3):  # also when parts of it are known already
        with pytest.raises(TooLarge):
            store.snapshot(MAIN, commit)


def test_c3_directories_without_end_are_a_problem_of_their_packet(tmp_path: Path, repository: GitRepository) -> None:
    tree = repository.raw_tree([("100644", b"file", repository.blob("x"))])
    for _ in range(200):
        tree = repository.raw_tree([("40000", b"d", tree)])
    commit = repository.commit({**module_files(), "packets/deep/files": Raw("040000", tree)})
    store = make_store(tmp_path)
    loaded(store, repository)
    snapshot = store.snapshot(MAIN, commit)
    assert "demo-packet" in snapshot.packets
    assert [(one.file, one.code) for one in snapshot.problems] == [("packets/deep", "too_large")]
    with pytest.raises(TooLarge, match="deeper than 60"):
        store.export(MAIN, commit)


def test_c3_a_huge_file_is_a_problem_and_is_not_read(tmp_path: Path, repository: GitRepository) -> None:
    huge, long = b" " * (17 * 2**20), b" " * (6 * 2**20)
    commit = repository.commit({**module_files(), "packets/huge/packet.json": huge, "packets/long/packet.json": long})
    store = make_store(tmp_path)
    loaded(store, repository)
    snapshot = store.snapshot(MAIN, commit)
    assert list(snapshot.packets) == ["demo-packet"]
    assert {(one.file, one.code) for one in snapshot.problems} == {
        ("packets/huge/packet.json", "too_large"), ("packets/long/packet.json", "too_large"),
    }  # fmt: skip


def test_c3_a_pack_that_is_too_large_is_not_taken_and_leaves_nothing(tmp_path: Path, repository: GitRepository) -> None:
    first = repository.commit(module_files())
    loaded(make_store(tmp_path), repository)
    repository.commit({"big": random.Random(1).randbytes(3 * 2**20)}, keep=True)
    store = make_store(tmp_path, Limits(pack_bytes=2**20))
    assert failure(fetch(store, repository.url)).code == "too_large"
    mirror = store.mirror(MAIN)
    assert mirror.branches() == {"master": first}
    assert sum(path.stat().st_size for path in mirror.path.rglob("*") if path.is_file()) < 2**21
    loaded(make_store(tmp_path), repository)
    assert not list(mirror.path.rglob("tmp_*"))
    assert fsck(mirror.path) == ""


def test_c3_branches_without_number_are_refused_before_anything_is_fetched(
    tmp_path: Path, repository: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository.commit(module_files())
    lines = b"".join(b"create refs/heads/b%d %s\n" % (index, commit.encode()) for index in range(300))
    repository.git("update-ref", "--stdin", given=lines)
    store = make_store(tmp_path, Limits(branches=200))
    found = failure(fetch(store, repository.url))
    assert (found.code, "more than 200 branches" in str(found)) == ("too_large", True)
    assert store.mirror(MAIN).branches() == {}
    assert fetch(store, repository.url, "b7").modules[MAIN].branches == {"b7": commit}
    monkeypatch.setattr(git, "OUTPUT_LIMIT", 1000)
    assert failure(fetch(store, repository.url, "b8")).code == "too_large"


def test_c3_problems_without_number_are_cut(tmp_path: Path, repository: GitRepository) -> None:
    nothing = repository.raw_tree([("100644", b"x", repository.blob("x"))])
    packets = repository.raw_tree([("40000", b"p%05d" % index, nothing) for index in range(5000)])
    commit = repository.commit_tree(repository.raw_tree([("40000", b"packets", packets)]))
    store = make_store(tmp_path)
    loaded(store, repository)
    problems = store.snapshot(MAIN, commit).problems
    assert len(problems) == 2001
    assert problems[-1].code == "too_many_problems"


# C6: servers


needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed here")


@pytest.mark.parametrize(
    "form", ["http://127.0.0.1:{}/org/main", pytest.param("ssh://git@127.0.0.1:{}/org/main", marks=needs_ssh)]
)
def test_c6_a_server_that_never_answers_is_given_up_and_git_is_gone(tmp_path: Path, form: str) -> None:
    with SilentRemote() as remote:
        store = make_store(tmp_path, timeout=1)
        started = time.monotonic()
        assert failure(fetch(store, form.format(remote.port))).code == "timeout"
        assert time.monotonic() - started < 10
        assert remote.accepted.is_set()
        assert remote.left.wait(5)


def test_c6_a_fetch_that_is_cancelled_leaves_no_git_behind(tmp_path: Path) -> None:
    async def cancel(remote: SilentRemote) -> None:
        store = make_store(tmp_path)
        task = asyncio.create_task(store.fetch_closure(store.parse_url(f"http://127.0.0.1:{remote.port}/org/main")))
        assert await asyncio.to_thread(remote.accepted.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with SilentRemote() as remote:
        asyncio.run(cancel(remote))
        assert remote.left.wait(5)


@pytest.mark.parametrize(
    "greeting", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"\x00\xff" * 1000, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
def test_c6_a_server_that_hangs_up_or_talks_nonsense_is_a_clear_failure(tmp_path: Path, greeting: bytes) -> None:
    with SilentRemote(greeting, hang_up=True) as remote:
        found = failure(fetch(make_store(tmp_path, timeout=20), f"http://127.0.0.1:{remote.port}/org/main"))
    assert found.code in {"unreachable", "unknown_repository", "no_branches"}
    assert str(found).startswith(f"module 127.0.0.1:{remote.port}/org/main")


# C7: killed while fetching


def fsck(path: Path) -> str:
    command = ["git", f"--git-dir={path}", "fsck", "--full", "--strict", "--no-dangling", "--no-progress"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture
def stalling_ssh(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Give an SSH that stops in the middle of the pack, and the file with the id of the Git that called it."""
    caller = tmp_path / "caller"
    script = tmp_path / "stalling-ssh"
    script.write_text(
        f"#!/bin/sh\necho $PPID > {caller}.new\nmv {caller}.new {caller}\nfor last; do :; done\n"
        f'{{ eval "$last"; }} | {{ dd bs=1 count=100000 status=none; test $(head -c 1 | wc -c) = 0 || sleep 60; }}\n'
    )
    script.chmod(0o755)
    yield f"{script}", caller
    if caller.exists():
        end_group(int(caller.read_text()))


def end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpgid(pid), signal.SIGKILL)


def test_c7_kill_during_a_fetch_leaves_a_valid_repository_and_no_lock(
    tmp_path: Path, repository: GitRepository, stalling_ssh: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    content: dict[str, Entry] = {f"f{index}": random.Random(index).randbytes(10_000) for index in range(150)}
    first = repository.commit(module_files())
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    script, caller = stalling_ssh
    plain = tmp_path / "plain-ssh"
    plain.write_text('#!/bin/sh\nfor last; do :; done\neval "exec $last"\n')
    plain.chmod(0o755)
    url = f"ssh://127.0.0.1{repository.path}"
    monkeypatch.setenv("GIT_SSH_COMMAND", str(plain))
    store = make_store(tmp_path)
    (module,) = fetch(store, url).modules
    mirror = store.mirror(module)
    second = repository.commit(content, keep=True)

    code = (
        "import asyncio, sys; from pathlib import Path; from infraxys.resources.store import ModuleStore\n"
        f"store = ModuleStore(Path({str(store.root)!r}), Path({str(store.exports)!r}))\n"
        "print(asyncio.run(store.fetch_closure(store.parse_url(sys.argv[1]))))"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code, url], env={**os.environ, "GIT_SSH_COMMAND": script}, stdout=subprocess.DEVNULL
    )
    try:
        until(lambda: list(mirror.path.glob("objects/pack/tmp_pack_*")), "the fetch is in the middle of its pack")
    finally:
        server.kill()
        server.wait()

    # The server is dead and its Git is not: nobody else touches the repository.
    busy = make_store(tmp_path, timeout=0.3)
    assert failure(fetch(busy, url)).code == "busy"
    end_group(int(caller.read_text()))
    for name in ("packed-refs.lock", "refs/heads/master.lock", "config.lock", "shallow.lock"):
        (mirror.path / name).write_text("")
    assert mirror.branches() == {"master": first}
    assert store.snapshot(module, first).packets

    assert fetch(store, url).modules[module].branches == {"master": second}
    assert fsck(mirror.path) == ""
    assert [path for path in mirror.path.rglob("*") if path.suffix == ".lock" or path.name.startswith("tmp_")] == []


def test_c7_kill_while_exporting_leaves_no_half_export(tmp_path: Path, repository: GitRepository) -> None:
    commit = repository.commit({**module_files(), **{f"d{index}/f": "x" for index in range(3000)}})
    store = make_store(tmp_path)
    loaded(store, repository)
    code = (
        "import sys; from pathlib import Path; from infraxys.resources.store import ModuleStore\n"
        "from infraxys.spec.identity import ModuleId\n"
        f"store = ModuleStore(Path({str(store.root)!r}), Path({str(store.exports)!r}))\n"
        f"store.export(ModuleId.parse({str(MAIN)!r}), {commit!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: list(store.exports.glob("*/*/*/.export-*/d*")) or process.poll() is not None, "the export has begun")
    process.kill()
    process.wait()
    leftovers = list(store.exports.glob("*/*/*/.export-*"))
    for leftover in leftovers:
        os.utime(leftover, (0, 0))
    assert len(list((store.export(MAIN, commit)).glob("d*/f"))) == 3000
    assert not any(leftover.exists() for leftover in leftovers)


# C9, G13: names that look like options


OPTIONS = ["--upload-pack=touch {}/pwned", "-x", "-c core.sshCommand=touch {}/pwned", "--exec=touch {}/pwned"]


@pytest.mark.parametrize(
    "name", [*OPTIONS, "../x", "refs/heads/a..b", "a b", "a\r\nb", "x" * 4096, "a\x00b", "HEAD", ""]
)
def test_c9_a_branch_that_looks_like_something_else_is_unknown(
    tmp_path: Path, repository: GitRepository, name: str
) -> None:
    repository.commit(module_files())
    store = make_store(tmp_path)
    found = failure(fetch(store, repository.url, name.format(tmp_path)))
    assert found.code == "unknown_branch"
    assert str(found).isprintable()
    assert len(str(found)) < 400
    assert not (tmp_path / "pwned").exists()
    with pytest.raises(GitFailed):
        store.head(MAIN, name)


def test_c9_a_remotes_branches_that_look_like_options_are_not_taken(tmp_path: Path, repository: GitRepository) -> None:
    commit = repository.commit(module_files())
    for name in ("--upload-pack=touch", "-x", "ok/-x"):
        repository.git("update-ref", f"refs/heads/{name}", commit)
    branches = fetch(make_store(tmp_path), repository.url).modules[MAIN].branches
    assert branches == {"master": commit, "ok/-x": commit}


def test_c9_branch_names_that_no_git_would_send_are_not_taken(tmp_path: Path, repository: GitRepository) -> None:
    commit = repository.commit(module_files())
    publish(repository)
    names = ["master", "../../escaped", "a..b", "\x1b[31m", "a.lock", "-x:refs/heads/y", "HEAD", "\udcff", "x" * 5000]
    lines = "".join(f"{commit}\trefs/heads/{name}\n" for name in names)
    (repository.path / "info/refs").write_bytes(lines.encode(errors="surrogateescape"))
    with http_remote(tmp_path) as remote:
        store = make_store(tmp_path)
        (fetched,) = fetch(store, f"http://127.0.0.1:{remote.port}/org/main").modules.values()
    assert fetched.branches == {"master": commit}
    assert not list(tmp_path.rglob("escaped"))


def test_c9_authors_and_messages_are_only_data(tmp_path: Path, repository: GitRepository) -> None:
    tree = repository.tree(module_files())
    raw = (
        f"tree {tree}\nauthor \x1b]0;x\x07 <--exec=x> 1 +0000\ncommitter \udcff <> 99999999999999 +9999\n"
        "gpgsig --upload-pack\n\n\x1b[2J\x00\x07--exec\n"
    ).encode(errors="surrogateescape")
    commit = repository.git("hash-object", "-w", "--literally", "-t", "commit", "--stdin", given=raw)
    repository.git("update-ref", "refs/heads/master", commit)
    store = make_store(tmp_path)
    loaded(store, repository)
    assert store.snapshot(MAIN, commit).packets


@pytest.mark.parametrize(
    "text",
    ["ext::sh -c 'touch {}/pwned'", "file:///etc", "/etc", "ssh://-oProxyCommand=touch${{IFS}}{}/pwned/a/b", "gopher://h/a/b",
     "http://h/a/b", "-u", "--upload-pack=touch {}/pwned", "git://h/a/b", "https://u:p@h/a/b", "ftp://h/a/b"],
)  # fmt: skip
def test_a10_urls_that_are_not_allowed_are_refused_before_git_is_started(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # nothing can be started
    store = ModuleStore(tmp_path / "mirrors", tmp_path / "exports", ("https", "ssh"))
    with pytest.raises(InvalidUrl):
        store.parse_url(text.format(tmp_path))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]", "[fe80::1]"]
)
@pytest.mark.parametrize("form", ["https://{}/a/b", "ssh://git@{}/a/b"])
def test_a10_metadata_addresses_are_refused_before_git_is_started(
    tmp_path: Path, host: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert failure(fetch(make_store(tmp_path), form.format(host))).code == "invalid_url"


def test_a10_a_dependency_is_checked_like_a_module(tmp_path: Path, repository: GitRepository) -> None:
    evil = ["ext::sh -c id", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd"]
    repository.commit(module_files(dependencies=[(url, "master") for url in evil]))
    store = ModuleStore(tmp_path / "mirrors", tmp_path / "exports", ("https", "ssh", "http", "file"))
    closure = fetch(store, repository.url)
    assert {url: closure.failures[url].code for url in evil} == {
        evil[0]: "invalid_url", evil[1]: "invalid_url", evil[2]: "unknown_repository",
    }  # fmt: skip
    assert list(closure.modules) == [MAIN]


# G25: history that changes under a pinned commit


def test_g25_a_pinned_commit_is_never_mixed_with_what_came_after(tmp_path: Path, repository: GitRepository) -> None:
    store = make_store(tmp_path)
    pins = []
    for index in range(5):
        commit = repository.commit({"packets/p/packet.json": packet(f"p{index}"), "n": str(index)}, orphan=True)
        pins.append((index, commit))
        loaded(store, repository)
    repository.delete_branch("master")
    repository.commit(module_files(), "other")
    loaded(store, repository)
    fresh = make_store(tmp_path)
    for index, commit in pins:
        assert list(fresh.snapshot(MAIN, commit).packets) == [f"p{index}"]
        assert (fresh.export(MAIN, commit) / "n").read_text() == str(index)


def test_g21_cyclic_dependencies_of_many_modules_end(tmp_path: Path) -> None:
    names = [f"m{index}" for index in range(6)]
    urls = [(f"file://{tmp_path}/org/{name}", "master") for name in names]
    for name in names:
        GitRepository(tmp_path / "org" / name).commit(module_files(name, dependencies=urls))
    closure = fetch(make_store(tmp_path), urls[0][0])
    assert not closure.failures
    assert sorted(module.repo for module in closure.modules) == names
