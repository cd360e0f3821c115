"""Rendered environments on disk: complete or not there, shared, kept while in use, bounded."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from factories.plans import make_environment
from infraxys.engine.backends.base import StartFailed
from infraxys.engine.materialise import EnvironmentStore
from infraxys.engine.plan import RenderedEnvironment, RenderedFile


@pytest.fixture
def store(tmp_path: Path) -> EnvironmentStore:
    made = EnvironmentStore(tmp_path / "environments", keep=2)
    made.prepare()
    return made


def folders(store: EnvironmentStore) -> int:
    return len(list(store._folder.iterdir()))


def test_everybody_may_execute_all_files_and_the_folders_for_all_are_there(store: EnvironmentStore) -> None:
    before = os.umask(0o077)
    try:
        root = store.acquire(make_environment({"run.sh": "true", "data": "x"}))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}
    folders = {root.name, "prod_1", "web", "server_1", "container.auto", "environment.auto"}
    assert modes == dict.fromkeys([*folders, "run.sh", "data"], 0o755)


def test_many_threads_get_one_copy(store: EnvironmentStore) -> None:
    rendered = make_environment({f"file-{number}": "x" for number in range(50)})
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: store.acquire(rendered), range(32)))
    assert len(found) == folders(store) == 1


def test_what_is_used_stays_and_the_rest_is_bounded(store: EnvironmentStore) -> None:
    environments = [make_environment({"data": str(number)}) for number in range(5)]
    used = store.acquire(environments[0])
    for rendered in environments[1:]:
        store.acquire(rendered)
        store.release(rendered)
    assert used.exists()
    assert folders(store) == 2
    newest = store.acquire(environments[4])
    assert newest.exists()


def test_one_that_somebody_took_away_is_written_again(store: EnvironmentStore) -> None:
    rendered = make_environment({"data": "x"})
    root = store.acquire(rendered)
    root.rename(root.with_name("away"))
    assert store.acquire(rendered).exists()


@pytest.mark.parametrize("path", ["../escaped", "prod_1/../../escaped", "/etc/escaped", "prod_1//x"])
def test_a_file_outside_of_the_environment_is_refused_and_nothing_stays(store: EnvironmentStore, path: str) -> None:
    rendered = RenderedEnvironment("d" * 64, "prod_1", (RenderedFile(path, b"x"),))
    for _ in range(2):  # also the second time
        with pytest.raises(StartFailed, match="cannot be named"):
            store.acquire(rendered)
    assert folders(store) == 0
    assert not (store._folder.parent / "escaped").exists()


def test_two_files_of_one_name_are_refused(store: EnvironmentStore) -> None:
    files = (RenderedFile("prod_1/a", b"1"), RenderedFile("prod_1/a", b"2"))
    with pytest.raises(FileExistsError):
        store.acquire(RenderedEnvironment("d" * 64, "prod_1", files))
    assert folders(store) == 0


def test_what_an_earlier_server_left_is_not_trusted(store: EnvironmentStore) -> None:
    rendered = make_environment({"data": "x"})
    left = store.acquire(rendered)
    again = EnvironmentStore(store._folder)
    again.prepare()
    assert not left.exists()
    assert again.acquire(rendered).exists()
