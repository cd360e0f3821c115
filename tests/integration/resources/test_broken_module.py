"""A module full of mistakes is read to its end."""

import asyncio
from pathlib import Path

from factories.broken_module import broken_module
from factories.repositories import GitRepository, module_files
from infraxys.resources.mirror import Mirror
from infraxys.resources.snapshot import PartCache, build_snapshot
from infraxys.resources.url import GitUrl
from infraxys.spec.identity import ModuleId


def test_a_module_with_fifty_broken_files_loads_with_fifty_precise_problems(tmp_path: Path) -> None:
    broken = broken_module()
    repository = GitRepository(tmp_path / "org" / "main")
    commit = repository.commit({**module_files(), **{path: one.data for path, one in broken.items()}})
    mirror = Mirror(tmp_path / "mirror", "module main")
    asyncio.run(mirror.fetch(GitUrl.parse(repository.url)))

    snapshot = build_snapshot(mirror, ModuleId("localhost", "org", "main"), commit, PartCache())

    found = {(one.file, one.line, one.column, one.code) for one in snapshot.problems}
    assert len(snapshot.problems) == 50
    assert found == {(path, *(one.position or (None, None)), one.code) for path, one in broken.items()}
    assert "demo-packet" in snapshot.packets
    assert [one.name for one in snapshot.environments["demo-environment"].containers] == ["first one"]
