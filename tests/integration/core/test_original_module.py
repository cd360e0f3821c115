"""A core module laid out like the original's: its own files are used, in place of ours."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from factories.bootstrap import Bootstrap, put
from factories.plans import make_context, make_plan
from factories.sandbox import Sandbox, prepared_sandbox
from infraxys.engine.logs import LogWriter
from infraxys.engine.plan import PlannedModule
from infraxys.engine.runtime import StepResult, StepRuntime
from infraxys.spec.identity import BranchPath

PLACE = "github.com/infraxys-modules/infraxys-core/master"
FILES = {
    "bash/bootstrap/setup_environment.sh": f"""
log_info "setting up $0"
cd "$MODULES_ROOT/{PLACE}/bash"
for f in utils/*.sh; do source $f; done
import_args "$@"
source ./bootstrap/module.sh
cd /
""",
    "bash/bootstrap/module.sh": """
declare -A enabled_modules
function enable_module() { echo "theirs"; }
readonly -f enable_module
""",
    "bash/utils/args.sh": """
function import_args() {
    while [[ $# -gt 1 ]]; do name="${1:2}"; export $name="$2"; shift 2; done
}
function has_grant() { echo "their answer"; }
readonly -f has_grant
function export_file() { echo "their export of ${1##*/}"; while IFS== read -r k v; do export $k="$v"; done <"$1"; }
""",
    "bash/utils/feedback.sh": """
function wait_for_feedback() { read -r line; LAST_RESULTS="theirs: $line"; }
""",
    "init.010.sh": 'export PYTHONPATH="$(pwd)/python:$PYTHONPATH"; init_ssh() { echo "their ssh"; }; init_ssh\n',
    "python/original.py": "answer = 42\n",
    "auto-source/env.sh": 'export INFRAXYS_CORE_MODULE_ROOT="$(pwd)"\n',
}
ACTION = """
enable_module; has_grant; echo "$colour $over"; [[ $INFRAXYS_CORE_MODULE_ROOT == */infraxys-core/master ]]
python3 -c 'import original; print(original.answer)'
type -t ask_yes_no; [[ -e ~/.ssh/config ]] || echo no configuration of ours
wait_for_feedback; echo "$LAST_RESULTS"
"""
SYSTEM = 'echo "their system packet"; for f in ../../environment.auto/*.sh; do source $f; done\n'
INSTANCE: dict[str, str | bytes] = {
    "run.sh": ACTION,
    "x.auto_properties": "colour=blue\n",
    "init_instance0_runs_first_infraxys_system.sh": SYSTEM,
    "/environment.auto/a.sh": "echo once\n",
}
SAID = [
    "their export of x.auto_properties",
    "their system packet",
    "once",
    "their ssh",
    "theirs",
    "their answer",
    "blue given",
    "42",
    "function",
    "no configuration of ours",
]


def test_its_files_are_used_as_they_are(tmp_path: Path) -> None:
    bootstrap = Bootstrap(tmp_path)
    bootstrap.module("host/org/mine/main", {"init.005.sh": "log_info first"})
    bootstrap.module(PLACE, FILES)
    ended = bootstrap.lay_out(INSTANCE, overrides={"over": "given"}).run(answers="an answer\n")
    lines = ended.stdout.splitlines()
    assert ended.stderr == ""
    assert [line for line in lines if "[INFO ]" not in line and "override" not in line] == [*SAID, "theirs: an answer"]
    assert lines[0].endswith("[INFO ] [root] setting up bash")


def test_another_repository_of_that_layout_is_a_module_as_others_are(tmp_path: Path) -> None:
    bootstrap = Bootstrap(tmp_path)
    bootstrap.module("github.com/others/infraxys-core/master", {"bash/bootstrap/setup_environment.sh": "exit 9"})
    assert bootstrap.lay_out({"run.sh": "has_grant --grant_name deploy"}).run().stdout == "true\n"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with prepared_sandbox() as prepared:
        yield prepared


def execute(
    sandbox: Sandbox, log: Path, files: dict[str, str | bytes], modules: dict[str, dict[str, str]]
) -> tuple[StepResult, str]:
    """Run `run.sh` in a sandbox; give its end and its log."""
    planned = {path: PlannedModule(BranchPath.parse(path), hashlib.sha1(path.encode()).hexdigest()) for path in modules}

    def export(module: PlannedModule) -> Path:
        return sandbox.work / "modules" / module.commit

    for path, module in planned.items():
        put(export(module), modules[path])
    for folder in [sandbox.work / "modules", *(sandbox.work / "modules").rglob("*")]:
        folder.chmod(0o755)

    async def scenario() -> StepResult:
        runtime = StepRuntime(sandbox.backend, sandbox.work, export, network=False)
        runtime.prepare()
        plan = make_plan(files, "run.sh", attributes={"shade": "dark"}, modules=tuple(planned.values()))
        started = await runtime.start(plan, 0, make_context(overrides={"over": "given"}))
        writer = LogWriter(log)
        result = await runtime.execute(started, writer)
        writer.close()
        await runtime.close()
        return result

    return asyncio.run(asyncio.wait_for(scenario(), 60)), log.read_text()


def test_it_finds_itself_in_the_sandbox_whatever_its_host_and_branch(sandbox: Sandbox, tmp_path: Path) -> None:
    action = "enable_module; has_grant; echo \"$colour $over\"; python3 -c 'import original; print(original.answer)'"
    result, log = execute(
        sandbox, tmp_path / "log", {**INSTANCE, "run.sh": action}, {"git.corp/infraxys-modules/infraxys-core/v2": FILES}
    )
    assert result.exit_code == 0, log
    assert [line for line in log.splitlines() if "[INFO ]" not in line and "override" not in line] == SAID[:8]


def test_the_whole_preparation_works_in_the_sandbox(sandbox: Sandbox, tmp_path: Path) -> None:
    script = (
        'stat -c %a ~/.ssh ~/.ssh/keys; grep -c "Host \\*" ~/.ssh/config; git config push.default\n'
        'echo "$over $shade $v"; hello\n'
        "ls -d $INFRAXYS_ROOT/core/bash/*.sh | grep -c .; touch $INFRAXYS_ROOT/core/bash/x\n"
    )
    files: dict[str, str | bytes] = {"run.sh": script, "a.auto_properties": "v=property\n"}
    result, log = execute(
        sandbox, tmp_path / "log", files, {"host/org/m/main": {"auto-source/lib.sh": "hello() { echo hello; }\n"}}
    )
    assert result.exit_code == 1
    lines = log.splitlines()
    assert lines[:6] == ["700", "700", "1", "simple", "given dark property", "hello"]
    assert int(lines[6]) > 10
    assert "Read-only file system" in lines[7]
    assert lines[8] == "run.sh: line 3: 'touch $INFRAXYS_ROOT/core/bash/x' failed with exit status 1"
