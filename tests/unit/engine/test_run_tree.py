"""What a step finds: values arrive unchanged, files are readable and read-only, nothing is left."""

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from factories.plans import make_context, make_plan
from infraxys.engine.run_tree import (
    MAX_EXPORTED,
    REST_CLIENT,
    RunVariable,
    clear,
    lay_out,
    run_variables,
    shell_exports,
    write_variables,
)


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_no_value_is_executed() -> None:
    text = shell_exports({"A": "'; touch /nowhere; $(exit 3) `exit 3` \"\n\\"})
    assert subprocess.run(["bash", "-ec", f"{text}exit 0"], check=False).returncode == 0


def test_nul_is_left_out_and_half_characters_are_no_error() -> None:
    assert shell_exports({"A": "a\0b"}) == "export A=ab\n"
    assert shell_exports({"A": "\ud800"}).encode(errors="replace") == b"export A='?'\n"


def test_a_value_that_no_program_can_have_stays_in_the_shell() -> None:
    assert shell_exports({"A": "x" * MAX_EXPORTED}).startswith("A=x")
    assert shell_exports({"A": "é" * (MAX_EXPORTED // 2)}).startswith("A='é")


def test_the_variables_of_the_run_are_those_of_the_specification() -> None:
    plan = make_plan({"run.sh": "true"})
    found = run_variables(plan.steps[0], make_context(workflow_name="nightly", rest_endpoint="https://host/api/v1"))
    assert found["INSTANCE_DIR"] == "/tmp/infraxys/environments/prod_1/web/server_1"
    assert (found["RUN_GUID"], found["STEP_IDEMPOTENCY_KEY"]) == ("run-1", "run-1-1")
    assert (found["WORKFLOW"], found["INTERACTIVE"], found["APPLICATION_USER"]) == ("nightly", "false", "ann")
    assert "WORKFLOW" not in run_variables(plan.steps[0], make_context())


@pytest.mark.usefixtures("narrow_umask")
def test_everything_is_readable_for_the_action_whatever_the_umask(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    (environment / "prod_1" / "web" / "server_1" / "sub").mkdir(parents=True)
    for folder in (environment / "prod_1").rglob("*"):
        folder.chmod(0o755)
    script = environment / "prod_1/web/server_1/run.sh"
    script.write_text("true")
    script.chmod(0o555)
    (script.parent / "sub" / "data").write_text("data")
    (script.parent / "sub" / "data").chmod(0o444)
    folder = tmp_path / "run-1-0"
    lay_out(folder, environment, make_plan({"run.sh": "true"}).steps[0], make_context(argument=b'{"a": 1}'))

    modes = {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
        if not path.is_symlink()
    }
    assert modes == {
        "system": 0o755, "system/custom": 0o755, "system/custom/arguments.json": 0o444, "system/grants": 0o444,
        "system/current_user.json": 0o444, "system/environment.sh": 0o444,
        "instance": 0o755, "instance/run.sh": 0o755, "instance/sub": 0o755, "instance/sub/data": 0o644,
    }  # fmt: skip
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert (folder / "system" / "custom" / "arguments.json").read_bytes() == b'{"a": 1}'
    assert json.loads((folder / "system" / "current_user.json").read_text())["username"] == "ann"


def test_clearing_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (tmp_path / "run-0" / "instance").mkdir(parents=True)
    (tmp_path / "run-0" / "instance" / "link").symlink_to(outside)
    clear(tmp_path / "run-0")
    assert not (tmp_path / "run-0").exists()
    assert (outside / "kept").read_text() == "kept"


def test_a_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "run-0"
    top.mkdir()
    place = os.open(top, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("deep-folder", dir_fd=place)
        deeper = os.open("deep-folder", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.symlink("/", "root", dir_fd=place)
    os.close(place)
    clear(top)
    assert not top.exists()


def test_clearing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    clear(tmp_path / "run-0")


def test_exported_variables_come_first_and_only_under_names_that_steer_nothing(tmp_path: Path) -> None:
    plan = make_plan({"ok.sh": ":\n"}, attributes={"A_both": "attribute"})
    variables = (
        RunVariable("A_both", "variable", is_exported=True),
        RunVariable("A_own", "it's", is_exported=True),
        RunVariable("A_not", "x"),
        RunVariable("LD_PRELOAD", "/evil.so", is_exported=True),
    )
    environment = tmp_path / "environments"
    (environment / plan.steps[0].directory).mkdir(parents=True)
    lay_out(tmp_path / "run", environment, plan.steps[0], make_context(variables=variables))
    exports = (tmp_path / "run" / "system" / "environment.sh").read_text()
    assert exports.index("export A_both=variable") < exports.index("export A_both=attribute")
    assert "A_own='it'\"'\"'s'" in exports
    assert "A_not" not in exports
    assert "LD_PRELOAD" not in exports
    assert not (tmp_path / "run" / "variables").exists()


def test_variables_that_are_files_stand_beside_the_place_of_the_rest_client(tmp_path: Path, narrow_umask: None) -> None:
    plan = make_plan({"ok.sh": ":\n"})
    environment = tmp_path / "environments"
    (environment / plan.steps[0].directory).mkdir(parents=True)
    variables = (RunVariable("one", "1", file="one"), RunVariable("two", "2\n", file="TYPE/two"))
    lay_out(tmp_path / "run", environment, plan.steps[0], make_context(variables=variables))
    folder = tmp_path / "run" / "variables"
    assert (folder / "one").read_text() == "1"
    assert (folder / "TYPE" / "two").read_text() == "2\n"
    assert stat.S_IMODE((folder / "one").stat().st_mode) == (0o444 if os.geteuid() == 0 else 0o400)
    assert stat.S_IMODE((folder / "TYPE").stat().st_mode) == 0o755
    assert (folder / REST_CLIENT).is_symlink()


def test_somebody_elses_rest_client_is_left_alone(tmp_path: Path) -> None:
    write_variables(tmp_path / "variables", [RunVariable("x", "own", file=REST_CLIENT)])
    assert (tmp_path / "variables" / REST_CLIENT).read_text() == "own"
