"""The package itself: which Python it runs on, what it imports, and that it comes with the server."""

import ast
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from factories.core_python import FOLDER
from infraxys.engine.preparation import copy_core

FILES = sorted((FOLDER / "infraxys").rglob("*.py"))
MODULES = sorted(
    str(file.relative_to(FOLDER).with_suffix("")).replace("/", ".").removesuffix(".__init__") for file in FILES
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_it_is_python_3_8_with_nothing_but_the_standard_library(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {name.name.partition(".")[0] for name in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert str(node.module).partition(".")[0] in sys.stdlib_module_names


def run(code: str, folder: Path = FOLDER) -> str:
    """Execute Python as an action does: nothing of this environment, the library on PYTHONPATH."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


def test_every_module_can_be_imported_alone_and_says_nothing() -> None:
    code = f"""
import importlib, sys
for name in {MODULES!r}:
    for known in [known for known in sys.modules if known.partition(".")[0] == "infraxys"]:
        del sys.modules[known]
    importlib.import_module(name)
"""
    assert run(code) == ""


def test_nothing_is_imported_that_takes_long() -> None:
    code = """
import sys
import infraxys.services.infraxys_service, infraxys.json.json_form, infraxys.json.json_instance, infraxys.os_utils
print(sorted({"json", "re", "typing", "ssl", "urllib.request", "subprocess", "pathlib"} & set(sys.modules)))
"""
    assert run(code) == "[]\n"


def test_actions_find_it_with_the_file_that_makes_it_a_package(tmp_path: Path) -> None:
    copy_core(resources.files("infraxys.core"), tmp_path)
    copied = sorted(str(file.relative_to(tmp_path / "python")) for file in (tmp_path / "python").rglob("*.py"))
    assert copied == [str(file.relative_to(FOLDER)) for file in FILES]
    assert not (tmp_path / "__init__.py").exists()
    assert not list(tmp_path.rglob("__pycache__"))
    assert run("import infraxys.json.packet; print(infraxys.__file__)", tmp_path / "python").startswith(str(tmp_path))
