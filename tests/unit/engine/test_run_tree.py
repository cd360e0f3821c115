"""What a step finds: values arrive unchanged, files are readable and read-only, nothing is left."""

import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories.plans import make_context, make_plan
from infraxys.engine.run_tree import MAX_EXPORTED, clear, lay_out, run_variables, shell_exports

VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
NAMES = st.from_regex(r"\AA_[a-z0-9_]{0,8}\Z")
SHOW = "import json, os, sys; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('A_')}))"


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
@settings(max_examples=15, deadline=None)
def test_any_value_arrives_unchanged_in_the_shell_and_in_what_it_executes(values: dict[str, str]) -> None:
    with tempfile.NamedTemporaryFile("wb") as file:
        file.write(shell_exports(values).encode())
        file.flush()
        script = (
            f'set -e; . {file.name}; for n in ${{!A_*}}; do printf "%s=%s\\0" "$n" "${{!n}}"; done; python3 -c "$SHOW"'
        )
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "SHOW": SHOW}
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, check=True)
    *shell, executed = done.stdout.split(b"\0")
    assert dict(item.decode().split("=", 1) for item in shell) == values
    assert json.loads(executed) == values


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
