"""`infraxys check`: every problem and warning of a working tree at once, for people, editors and CI."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from factories.snapshots import attribute, environment, instance, template

PACKET = {
    "id": "p-Tool",
    "label": "tool",
    "attributes": [attribute("port", "80"), attribute("unused", "1"), attribute("wrong", "$no_attribute")],
    "files": [
        template("one.sh", executable=True),
        template("two.sh"),
        template("wide.sh", executable=True, saveWith="CURRENT CONTAINER"),
    ],
}
FILES: dict[str, Any] = {
    "packets/Tool/packet.json": PACKET,
    "packets/Tool/files/one.sh": "echo $port\necho $first_missing\n",
    "packets/Tool/files/two.sh": "$wrong #if(false)$undeclared#end\n",
    "packets/Tool/files/wide.sh": "echo wide\n",
    "packets/Tool/files/forgotten.sh": "echo never\n",
    **environment(instance("i", "Tool")),
}
ALL = {
    ("template_failed", "packets/Tool/files/one.sh", 2),
    ("template_failed", "packets/Tool/packet.json", 1),
    ("undeclared_name", "packets/Tool/files/two.sh", 1),
    ("unused_attribute", "packets/Tool/packet.json", 1),
    ("unreachable_action", "packets/Tool/files/wide.sh", None),
    ("undeclared_file", "packets/Tool/files/forgotten.sh", None),
}


GOOD: dict[str, Any] = {
    **FILES,
    "packets/Tool/packet.json": {**PACKET, "attributes": PACKET["attributes"][:2]},
    "packets/Tool/files/one.sh": "echo $port\n",
    "packets/Tool/files/two.sh": "two\n",
}


def write(folder: Path, files: dict[str, Any]) -> Path:
    """Write a working tree; nothing is committed."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def check(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infraxys", "check", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("broken"), FILES)


def test_everything_is_reported_at_once_and_the_exit_code_is_1(broken: Path) -> None:
    done = check(broken, "--format", "json")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert {(item["code"], item["file"], item["line"]) for item in found} == ALL
    [failed] = [item for item in found if item["file"].endswith("one.sh")]
    assert failed["where"] == "container 'web', instance 'tool'"
    assert "Variable $first_missing has not been set" in failed["message"]
    [value] = [item for item in found if item["attribute"] and item["instanceId"]]
    assert (value["attribute"], value["instanceId"], value["containerId"]) == ("wrong", "i", "c-web")
    errors = {item["code"] for item in found if item["severity"] == "error"}
    assert errors == {"template_failed"}


def test_people_get_one_line_each_and_a_sum(broken: Path) -> None:
    done = check(broken)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len(lines) == len(ALL) + 1
    assert lines[-1] == "1 environment, 0 actions: 2 errors, 4 warnings"
    assert any(line.startswith("packets/Tool/files/one.sh:2:6: ") for line in lines)


@pytest.mark.parametrize("form", ["github", "sarif"])
def test_ci_gets_the_same_findings(broken: Path, form: str) -> None:
    done = check(broken, "--format", form)
    assert done.returncode == 1
    if form == "github":
        assert len(done.stdout.splitlines()) == len(ALL)
        assert "::error file=packets/Tool/files/one.sh,line=2,col=6,title=template_failed::" in done.stdout
    else:
        results = json.loads(done.stdout)["runs"][0]["results"]
        assert {(item["ruleId"], item["level"]) for item in results} >= {("template_failed", "error")}
        assert len(results) == len(ALL)


def test_names_of_files_are_escaped_as_each_form_asks(tmp_path: Path) -> None:
    files = {name.replace("packets/Tool", "packets/A, b: c"): text for name, text in FILES.items()}
    folder = write(tmp_path, {**files, **environment(instance("i", "A, b: c"))})
    assert "::error file=packets/A%2C b%3A c/files/one.sh,line=2,col=6," in check(folder, "--format", "github").stdout
    results = json.loads(check(folder, "--format", "sarif").stdout)["runs"][0]["results"]
    places = {item["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for item in results}
    assert "packets/A%2C%20b%3A%20c/files/one.sh" in places


def test_warnings_alone_are_exit_code_0(tmp_path: Path) -> None:
    done = check(write(tmp_path, GOOD))
    assert done.returncode == 0, done.stdout
    assert "1 action: 0 errors, " in done.stdout


def test_a_value_that_no_file_reads_fails_where_actions_get_it(tmp_path: Path) -> None:
    wrong = attribute("wrong", "$no_attribute", scope="Container")
    packet = {**PACKET, "attributes": [*PACKET["attributes"][:2], wrong]}
    done = check(write(tmp_path, {**GOOD, "packets/Tool/packet.json": packet}))
    assert done.returncode == 1
    assert "attribute 'wrong': Variable $no_attribute has not been set at attribute value[line 1, column 1]" in (
        done.stdout
    )
    assert "1 action: 1 error, " in done.stdout


def test_findings_on_values_stand_at_the_line_of_the_value(tmp_path: Path) -> None:
    files = {**GOOD, **environment(instance("i", "Tool", wrong="x $nothing"), instance("j", "Tool"))}
    folder = write(tmp_path, {**files, "packets/Tool/packet.json": json.dumps(PACKET, indent=2)})
    container = json.dumps(files["environments/prod/web/container.json"], indent=2)
    (folder / "environments/prod/web/container.json").write_text(container)
    found = [item for item in json.loads(check(folder, "--format", "json").stdout) if item["attribute"] == "wrong"]
    places = {(item["file"], item["line"]) for item in found if item["severity"] == "error"}
    value = container[: container.index("x $nothing")].count("\n") + 1
    packet = json.dumps(PACKET, indent=2)
    default = packet[: packet.index("$no_attribute")].count("\n") + 1
    assert places == {("environments/prod/web/container.json", value), ("packets/Tool/packet.json", default)}


def test_what_fails_for_many_instances_is_said_once_to_people_and_for_each_to_programs(tmp_path: Path) -> None:
    files = {**FILES, **environment(*(instance(f"i-{number}", "Tool") for number in range(5)))}
    folder = write(tmp_path, files)
    [line] = [line for line in check(folder).stdout.splitlines() if "first_missing" in line]
    assert "container 'web', instance 'tool' and 4 others: Variable $first_missing" in line
    found = json.loads(check(folder, "--format", "json").stdout)
    assert [item["instanceId"] for item in found if "first_missing" in item["message"]] == [f"i-{n}" for n in range(5)]


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    assert check(tmp_path / "nothing").returncode == 2
    assert check(tmp_path, "--format", "xml").returncode == 2


def test_finds_packets_that_are_named_by_their_id_only(tmp_path: Path) -> None:
    good = json.loads(json.dumps(GOOD).replace('"packetName": "Tool"', '"packetId": "p-Tool"'))
    assert good != GOOD
    done = check(write(tmp_path, good))
    assert done.returncode == 0, done.stdout
    assert "1 action: 0 errors, " in done.stdout


class TestWithOthers:
    """A module whose packets are in another one, on a branch of its own name."""

    @pytest.fixture
    def trees(self, tmp_path: Path) -> tuple[Path, Path]:
        used = {"id": "i", "packetName": "Tool", "packetPath": "host\\org\\tools\\release", "velocityName": "i"}
        url = "https://host/org/tools.git"
        user = {"module.json": {"dependencies": [{"git_url": url, "branch": "release"}]}, **environment(used)}
        provider = {name: text for name, text in GOOD.items() if name.startswith("packets/")}
        return write(tmp_path / "user", user), write(tmp_path / "tools", provider)

    def test_without_them_their_packets_are_not_known(self, trees: tuple[Path, Path]) -> None:
        done = check(trees[0])
        assert (done.returncode, "unknown_packet" in done.stdout) == (1, True)

    @pytest.mark.parametrize("name", ["", "host/org/tools="])
    def test_with_them_everything_is_rendered(self, trees: tuple[Path, Path], name: str) -> None:
        done = check(trees[0], "--with", f"{name}{trees[1]}")
        assert done.returncode == 0, done.stdout
        assert "1 environment, 1 action: 0 errors, " in done.stdout

    def test_what_is_no_tree_or_no_name_is_wrong_usage(self, trees: tuple[Path, Path]) -> None:
        for wrong in ("/nowhere", f"tools={trees[1]}"):
            done = check(trees[0], "--with", wrong)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith("infraxys: ")
