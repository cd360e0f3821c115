"""Findings on an environment beside those of generation."""

from dataclasses import replace
from typing import Any

from factories.snapshots import attribute, environment, instance, snapshot, template, world
from infraxys.engine.lint import lint
from infraxys.engine.render import generate
from infraxys.spec.identity import ModuleId
from infraxys.spec.problem import Problem
from infraxys.spec.snapshot import Dependency


def packet(name: str, files: dict[str, str], attributes: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    declared = more.pop("declared", [template(file) for file in files])
    model = {"id": f"p-{name}", "label": name, "attributes": attributes or [], "files": declared, **more}
    return {f"packets/{name}/packet.json": model, **{f"packets/{name}/files/{k}": v for k, v in files.items()}}


def findings(*parts: dict[str, Any]) -> list[Problem]:
    files: dict[str, Any] = {}
    for part in parts:
        files.update(part)
    made = world(snapshot(files))
    return lint(made, made.environment("e-prod"), generate(made, "e-prod"))


def test_a_good_environment_has_none() -> None:
    parts = packet("P", {"x": "#set($a = 1)$a $instance.name $other.name $port"}, [attribute("port", "80")])
    assert findings(parts, environment(instance("i", "P"), instance("o", "P", velocityName="other"))) == []


def test_a_name_that_nothing_declares_is_found_also_where_it_is_not_rendered() -> None:
    text = "one\n#if(false) $nowhere #end\n#foreach($n in [1..2])$n #end"
    [found] = findings(packet("P", {"x": text}), environment(instance("i", "P")))
    assert (found.code, found.file, found.line, found.column, found.severity) == (
        "undeclared_name", "packets/P/files/x", 2, 12, "warning"
    )  # fmt: skip
    assert found.message.startswith("'$nowhere' is set nowhere in the file")


def test_what_generation_has_reported_is_not_reported_again() -> None:
    assert findings(packet("P", {"x": "$nowhere"}), environment(instance("i", "P"))) == []


def test_an_attribute_that_nothing_reads_is_found_and_one_read_elsewhere_is_not() -> None:
    parts = [
        packet("Top", {"t": "x"}, [attribute("unused", "1"), attribute("port", "1"), attribute("named", "1")]),
        packet(
            "P",
            {"x": "$instance.parent.getAttribute('port')", "y": "echo $named"},
            declared=[template("x"), {"filename": "y"}],
        ),
    ]
    found = findings(*parts, environment(instance("t", "Top", [instance("i", "P")])))
    assert [(item.code, item.file) for item in found] == [("unused_attribute", "packets/Top/packet.json")]
    assert "'unused'" in found[0].message


def test_attributes_that_others_or_scripts_of_modules_read_are_used() -> None:
    attributes = [attribute("a", scope="Container"), attribute("b", scope="Environment"), attribute("region")]
    files = {**packet("P", {"x": "1"}, attributes), **environment(instance("i", "P"))}
    used = snapshot({"init.sh": "echo $region"}, ModuleId("host", "org", "used"))
    made = world(snapshot(files, dependencies=(Dependency("host/org/used", "main"),)), used)
    assert lint(made, made.environment("e-prod"), generate(made, "e-prod")) == []
    [found] = findings(files)
    assert "attribute 'region'" in found.message


def test_a_workflow_without_steps_is_found() -> None:
    files = environment(instance("i", "P"))
    files["environments/prod/environment.json"]["workflows"] = [{"id": "w", "name": "Deploy", "steps": []}]
    [found] = findings(packet("P", {"x": "1"}), files)
    assert (found.code, found.severity, found.message) == (
        "broken_workflow", "warning", "workflow 'Deploy' has no steps"
    )  # fmt: skip


def test_shell_text_that_reads_as_velocity_is_found() -> None:
    [found] = findings(packet("P", {"x": "a\n$port{y}\n"}, [attribute("port", "80")]), environment(instance("i", "P")))
    assert (found.code, found.line) == ("suspicious_template", 2)


def test_an_executable_that_belongs_to_no_instance_is_found() -> None:
    declared = [template("x", executable=True, saveWith="CURRENT CONTAINER"), template("y", executable=True)]
    [found] = findings(packet("P", {"x": "1", "y": "2"}, declared=declared), environment(instance("i", "P")))
    assert (found.code, found.file) == ("unreachable_action", "packets/P/files/x")


def test_a_workflow_that_leads_nowhere_is_found() -> None:
    place = environment(instance("i", "P"))
    name = next(path for path in place if path.endswith("environment.json"))
    container = next(value["id"] for path, value in place.items() if path.endswith("container.json"))
    steps = [{"name": "a", "containerId": container, "instanceId": "i", "filename": "x"}]
    place[name]["workflows"] = [
        {"id": "w1", "name": "not executable", "steps": steps},
        {"id": "w2", "name": "elsewhere", "steps": [{**steps[0], "instanceId": "gone"}]},
    ]
    found = findings(packet("P", {"x": "1"}), place)
    assert [(item.code, item.where) for item in found] == [
        ("broken_workflow", "workflow 'elsewhere'"), ("broken_workflow", "workflow 'not executable'")
    ]  # fmt: skip
    assert "has no instance 'gone'" in found[0].message


def test_what_was_wrong_when_the_files_were_read_is_shown_for_the_environment_that_uses_them() -> None:
    library = snapshot(packet("Base", {"b": "1"}), ModuleId("host", "org", "lib"))
    undeclared = Problem("packets/Base/files/more", None, None, "undeclared_file", "not declared", "warning")
    elsewhere = Problem("packets/Unused/packet.json", 1, 1, "bad_json", "wrong", "error")
    library = replace(library, problems=(undeclared, elsewhere))
    extends = [{"name": "Base", "moduleBranchPath": "host\\org\\lib\\main"}]
    files = {**packet("P", {"x": "1"}, extends=extends), **environment(instance("i", "P"))}
    role = Problem("roles/R/role.json", 2, 1, "unknown_key", "unknown", "warning")
    own = replace(snapshot({**files, "roles/R/role.json": {"id": "r", "instances": []}}), problems=(role,))
    made = world(own, library)
    found = lint(made, made.environment("e-prod"), generate(made, "e-prod"))
    assert [(item.code, item.where) for item in found] == [("undeclared_file", "module host/org/lib")]
    place = environment(instance("i", "P"), roles=[{"name": "R", "id": "r", "path": "host\\org\\repo\\main"}])
    used = replace(snapshot({**files, **place, "roles/R/role.json": {"id": "r", "instances": []}}), problems=(role,))
    made = world(used, library)
    found = lint(made, made.environment("e-prod"), generate(made, "e-prod"))
    assert {item.code for item in found} == {"undeclared_file", "unknown_key"}
