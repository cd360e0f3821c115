import os
from pathlib import Path

import pytest

from infraxys.engine.backends.base import BackendUnavailable
from infraxys.engine.backends.host import (
    OWN_RESOLVER,
    POOL,
    POOLS,
    SMALLEST_BASE,
    UID_BASE,
    Accounts,
    choose_accounts,
    hand_over,
    is_reachable,
    prepare_etc,
    prepare_work_directory,
    remove_tree,
)

ALL = [(0, 0, 4294967295)]


def test_on_a_whole_host_the_accounts_are_far_above_those_of_people() -> None:
    assert choose_accounts(ALL, ALL, 16, 0) == Accounts(UID_BASE, UID_BASE)
    assert choose_accounts(ALL, ALL, 16, 2**32 - 1).uid(POOL - 1) == UID_BASE + POOLS * POOL - 1 < 2**31


@pytest.mark.parametrize("ranges", [ALL, [(0, 100_000, 65_536)]])
def test_two_servers_of_one_machine_share_no_account(ranges: list[tuple[int, int, int]]) -> None:
    first, second = (choose_accounts(ranges, ranges, 16, number).uid(0) for number in (7, 8))
    assert first is not None
    assert second is not None
    assert abs(first - second) >= POOL


def test_in_a_container_they_are_at_the_end_of_what_is_mapped() -> None:
    container = [(0, 100_000, 65_536)]
    accounts = choose_accounts(container, container, 16, 0)
    assert accounts.uid(0) == 64_512
    assert accounts == choose_accounts(container, container, 1, 0)
    bases = [choose_accounts(container, container, 16, number).uid(0) for number in range(200)]
    assert min(base for base in bases if base is not None) >= SMALLEST_BASE


def test_root_of_a_namespace_that_maps_one_account_is_an_ordinary_account_of_the_host() -> None:
    assert choose_accounts([(0, 1000, 1)], [(0, 1000, 1)], 16, 5) == Accounts(None, None)


def test_real_root_without_other_accounts_is_refused() -> None:
    with pytest.raises(BackendUnavailable, match="no 1024 user ids above 20000 are mapped here"):
        choose_accounts([(0, 0, 1)], [(0, 0, 1)], 16, 5)


def test_the_prepared_etc_has_what_tools_need_and_nothing_of_the_hosts_secrets(tmp_path: Path) -> None:
    etc = prepare_etc(tmp_path / "etc")
    names = {path.name for path in etc.iterdir()}
    assert {"passwd", "group", "hosts", "resolv.conf", "gitconfig"} <= names
    assert not {"shadow", "gshadow", "machine-id", "sudoers", "hostname"} & names
    assert (etc / "passwd").read_text().startswith("root:x:0:0:")
    assert "directory = *" in (etc / "gitconfig").read_text()
    assert not list(etc.rglob("ssh_host_*"))
    assert not (etc / "resolv.conf").is_symlink()
    assert all(path.is_symlink() or path.stat().st_mode & 0o004 for path in etc.rglob("*"))


def test_the_prepared_etc_can_be_made_again(tmp_path: Path) -> None:
    prepare_etc(tmp_path / "etc")
    (tmp_path / "etc" / "stale").write_text("x")
    assert not (prepare_etc(tmp_path / "etc") / "stale").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"etc", OWN_RESOLVER}


def test_the_work_folder_is_closed_to_others(tmp_path: Path) -> None:
    work = tmp_path / "work"
    prepare_work_directory(work, Accounts(None, None))
    assert work.stat().st_mode & 0o777 == 0o700


def test_a_link_in_place_of_the_work_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work").symlink_to("elsewhere")
    with pytest.raises(BackendUnavailable, match="belongs to somebody else"):
        prepare_work_directory(tmp_path / "work", Accounts(None, None))


def test_a_closed_folder_above_the_work_folder_is_found(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "work").mkdir(parents=True)
    closed.chmod(0o700)
    pool = Accounts(UID_BASE, UID_BASE)
    assert not is_reachable(closed / "work", pool)
    assert is_reachable(closed / "work", Accounts(None, None))
    assert is_reachable(Path("/var/tmp/some-work"), pool)
    assert is_reachable(Path("/var/tmp/not-there-yet/some/work"), pool)
    assert not is_reachable(closed / "not-there-yet" / "work", pool)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_handing_over_changes_links_themselves_and_not_their_targets(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("x")
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "link").symlink_to(target)
    (tree / "folder-link").symlink_to(tmp_path)
    hand_over(tree, 1234, 5678)
    for path in (tree, tree / "deep", tree / "deep" / "link", tree / "folder-link"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (1234, 5678)
    assert target.stat().st_uid == 0
    assert tmp_path.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_tree_that_was_handed_over_is_left_alone(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    hand_over(tree, 1234, 5678)
    (tree / "new").write_text("x")
    hand_over(tree, 1234, 5678)
    assert (tree / "new").stat().st_uid == 0


def test_removing_opens_closed_folders_and_follows_no_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o755)
    (kept / "file").write_text("x")
    tree = tmp_path / "tree"
    (tree / "closed" / "deep").mkdir(parents=True)
    (tree / "closed" / "deep" / "file").write_text("x")
    (tree / "link").symlink_to(kept)
    (tree / "closed" / "deep").chmod(0)
    (tree / "closed").chmod(0)
    remove_tree(tree)
    assert not tree.exists()
    assert (kept / "file").exists()
    remove_tree(tmp_path / "not there")
    link = tmp_path / "link"
    link.symlink_to(kept)
    remove_tree(link)
    assert (kept / "file").exists()
