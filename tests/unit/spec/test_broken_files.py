"""Each way of breaking a file is reported once, at its place, in words for people."""

import pytest

from factories.broken_module import Broken, broken_module
from infraxys.spec.load import (
    Loaded,
    load_container,
    load_environment,
    load_module,
    load_packet,
    load_role,
)
from infraxys.spec.models import Model

LOADERS = {
    "packet.json": load_packet,
    "role.json": load_role,
    "environment.json": load_environment,
    "container.json": load_container,
    "module.json": load_module,
}
FILES = broken_module()


def load(path: str, data: bytes) -> Loaded[Model]:
    return LOADERS[path.rpartition("/")[2]](data, path)  # type: ignore[operator] - one loader for each name


@pytest.mark.parametrize(("path", "broken"), FILES.items(), ids=FILES)
def test_each_broken_file_gives_one_problem_at_its_place(path: str, broken: Broken) -> None:
    problems = load(path, broken.data).problems
    found = [(one.file, one.line, one.column, one.code, one.severity) for one in problems]
    line, column = broken.position or (None, None)
    assert found == [(path, line, column, broken.code, broken.severity)], problems


@pytest.mark.parametrize("path", FILES)
def test_each_message_is_one_short_printable_line(path: str) -> None:
    (problem,) = load(path, FILES[path].data).problems
    assert problem.message.isprintable()
    assert 10 < len(problem.message) < 300
    assert "pydantic" not in problem.message.lower()
    assert "input" not in problem.message.lower()
