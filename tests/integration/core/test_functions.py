"""Each function of the core library, as a module calls it. All cases run in one shell, each in a subshell."""

import json
import re
import shutil
from pathlib import Path

import pytest

from factories.bootstrap import Bootstrap

HEAD = r"\[\d\d-\d\d-\d{4} \d\d:\d\d:\d\d,\d{4}\] \[[^]]+\] "
# Cases are `=== name`, the script, `--- status N`, what it says on both streams; "…" stands for a log line's head.
FILE = Path(__file__).with_name("functions.txt")
CASES: dict[str, tuple[str, str, int]] = {}
for _case in FILE.read_text().split("=== ")[1:]:
    _name, _script, _status, _said = re.fullmatch(r"(.*?)\n(.*?)\n--- status (\d+)\n(.*)", _case, re.DOTALL).groups()  # type: ignore[union-attr] # a case that is none ends the collection
    CASES[_name] = (_script, _said, int(_status))


pytestmark = pytest.mark.xdist_group("functions of the core library")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int]]:
    """What each case says, and its status."""
    script = ["set +eE; trap - ERR EXIT; exec 2>&1"]
    for name, (case, _, _) in CASES.items():
        body = f"set -e; mkdir -p ~/cases/{name}; cd ~/cases/{name}\n{case}"
        script.append(f"printf '\\x1d{name}\\n'; (\n{body}\n); printf '\\x1e%s' $?")
    bootstrap = Bootstrap(tmp_path_factory.mktemp("functions"))
    bootstrap.module(
        "host/org/base/main", {"module.json": '{"dependencies": [{"git_url": "git@host:org/second.git"}]}'}
    )
    bootstrap.module("host/org/second/master", {"README": ""})
    files: dict[str, str | bytes] = {"run.sh": "\n".join(script) + "\nexit 0\n"}
    files["/web/other_2/configure_ssh_vpc"] = "#!/bin/sh\necho Host from-a-file >~/.ssh/generated.d/vpc\n"
    bootstrap.lay_out(files, project_name="Shop")
    hub = {"hostname": "git.x", "token": "tok", "config": [{"name": "pull.rebase", "value": "false"}]}
    variables = {
        "SSH-PRIVATE-KEY/my.pem": "KEY", "SSH-CONFIG/a": "Host a", "NETRC/a": "machine a", "NETRC/b": "machine b\n",
        "GITHUB-TOKEN/main": "gh-token",
        "GIT-CONFIG/hub": json.dumps(hub),
    }  # fmt: skip
    for path, value in variables.items():
        file = bootstrap.root / "variables" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value)
    ended = bootstrap.run()
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    parts = [part.partition("\n") for part in ended.stdout.split("\x1d")[1:]]
    return {name: (text.rpartition("\x1e")[0], int(text.rpartition("\x1e")[2])) for name, _, text in parts}


# What functions start that is not on every Debian; `.ci/run` installs it.
TOOLS = {
    **dict.fromkeys(
        (
            "enable_module",
            "get_json_result",
            "add_data_part",
            "add_canvas_columns",
            "export_json_attributes",
            "load_git_config_variable",
            "git_clone_repository",
        ),
        "jq",
    ),
    "create_key_file": "ssh-keygen",
}


@pytest.mark.parametrize("name", CASES)
def test_each_function_does_what_it_says(said: dict[str, tuple[str, int]], name: str) -> None:
    if (tool := TOOLS.get(name)) is not None and shutil.which(tool) is None:
        pytest.skip(f"no {tool}")
    _, expected, status = CASES[name]
    text, ended = said[name]
    pattern = re.escape(expected).replace("…", HEAD)
    if "readonly" in expected:
        pattern = re.escape(expected).replace("…", ".*")
    assert re.fullmatch(pattern, text.removesuffix("\n") + "\n" if text else ""), (expected, text)
    assert ended == status


def test_every_function_of_the_library_is_called_by_a_test() -> None:
    functions = Path(__file__).parents[3] / "src" / "infraxys" / "core" / "bash"
    names = {
        name
        for file in functions.glob("*.sh")
        for name in re.findall(r"^([a-z][a-z0-9_]*)\(\)", file.read_text(), re.MULTILINE)
    }
    tests = "".join(file.read_text() for file in Path(__file__).parent.iterdir() if file.is_file())
    assert len(names) > 100
    inner = {"get_module_relative_directory", "process_module_json", "restart_ssh_service"}  # others call them
    assert {name for name in names if not re.search(rf"\b{name}\b", tests)} <= inner
