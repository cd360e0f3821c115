"""Actions that ask for instances, containers and environments over FEEDBACK, in real sandboxes."""

import json
import re

from factories.asking import PYTHON, bash, end, log_of
from factories.instances import CHILD, CONTAINER, ENVIRONMENT, GROUP, ITEM, OTHER, PATH, ROLE_INSTANCE, ROOT
from plugins.shapes import MODULE, Shapes

ASK = "import json\ndef ask_json(**request):\n    line = ask(request)\n    return json.loads(line)\n"


def run(module: Shapes, code: str, *, status: str = "SUCCESS") -> str:
    return module.run(ASK + code, status=status)


class TestInstances:
    def test_one_is_updated_and_the_next_run_sees_it(self, module: Shapes) -> None:
        code = f"""
answer = ask_json(requestType="UPDATE INSTANCE", dbId={CHILD!r}, compileInstance=True,
                  fields={{"size": 7, "active": False, "owner": "ada", "formula": None}})
print(answer["dbId"], answer["actionTaken"])
again = ask_json(requestType="UPDATE INSTANCE", dbId={CHILD!r}, fields={{"size": "7"}})
print(again["actionTaken"])
"""
        assert run(module, code) == f"{CHILD} updated\nnone\n"
        values = module.values(CHILD)
        assert (values["size"], values["active"], values["owner"]) == ("7", "0", "ada")
        assert values["formula"] == "$container.name <b> & 'x'"
        [commit] = module.log()
        assert re.fullmatch(r"[^|]+\|Update instance 'one'\|Run: [0-9a-f-]{36}", commit), commit

    def test_only_what_changed_is_another_line_of_the_file(self, module: Shapes) -> None:
        ask = f'ask_json(requestType="UPDATE INSTANCE", dbId={CHILD!r}, fields={{"key": "two"}})'
        run(module, ask)
        before = module.file("environments/plan/main/container.json").splitlines()
        run(module, ask.replace("two", "three"))
        after = module.file("environments/plan/main/container.json").splitlines()
        changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        assert [new.strip() for _, new in changed] == ['"value": "three"']
        assert "$container.name \\u003cb\\u003e \\u0026 \\u0027x\\u0027" in "\n".join(after)

    def test_one_is_ensured_by_its_key_and_not_doubled(self, module: Shapes) -> None:
        code = f"""
def ensure(key, **more):
    return ask_json(requestType="ENSURE INSTANCE", packetGuid={ITEM!r}, parentInstanceId={ROOT!r},
                    compileInstance=False, compileContainer=False, compileEnvironment=False,
                    fields={{"key": key, **more}})
found = ensure("one", size="3")
made = ensure("two", owner="bob")
again = ensure("two", owner="bob")
print(found["dbId"], found["actionTaken"], made["actionTaken"], again["actionTaken"], made["dbId"] == again["dbId"])
"""
        assert run(module, code) == f"{CHILD} updated created none True\n"
        assert [item["attributes"] and item["packetName"] for item in module.children()] == ["Item", "Item"]
        two = next(item for item in module.children(attributeName="key", attributeValue="two"))
        values = {item["name"]: item["value"] for item in two["attributes"]}
        assert values == {
            "key": "two", "size": "1", "active": "1", "formula": "", "fixed": "", "secretive": "", "owner": "bob",
        }  # fmt: skip
        assert module.values(CHILD)["size"] == "3"

    def test_one_is_made_by_lines_of_the_bash_library(self, module: Shapes) -> None:
        script = f"""
        ask 'create instance
guid={PATH.lower().rpartition(chr(92))[0]}\\{module.branch}\\item
parentInstanceId={ROOT}'
        echo "made $answer"
        ask 'create instance
guid={GROUP}
parentInstanceId={CONTAINER}'
        echo "top $answer"
        """
        started = module.server.execute(ROOT, "code.py", module.branch, argument=bash(script), asynchronous=True)
        assert end(module.server, started["id"])["status"] == "SUCCESS", log_of(module.server, started["id"])
        log = log_of(module.server, started["id"])
        made, top = re.search(r"made (\S+)", log), re.search(r"top (\S+)", log)
        assert made, log
        assert top, log
        assert module.instance(made[1])["parentId"] == ROOT
        assert module.instance(top[1])["parentId"] is None

    def test_one_is_found_by_its_velocity_name(self, module: Shapes) -> None:
        code = f"""
for place in ({{"containerId": {CONTAINER!r}}}, {{"environmentId": {ENVIRONMENT!r}}}):
    found = ask_json(requestType="GET INSTANCE", velocityName="first", **place)
    print(found["dbId"], found["containerDbId"], found["environmentDbId"], found["key"], found["size"])
"""
        assert run(module, code) == f"{CHILD} {CONTAINER} {ENVIRONMENT} one 1\n" * 2

    def test_many_are_imported_at_once_and_what_is_not_among_them_is_removed(self, module: Shapes) -> None:
        code = f"""
items = [{{"fields": {{"key": f"k{{n}}", "size": n}}}} for n in range(300)]
def bring(items, removes):
    return ask_json(requestType="IMPORT INSTANCES", parentInstanceId={ROOT!r}, packetGuid={ITEM!r},
                    removeExistingChildren=removes, instances=items)
first = bring(items, False)
second = bring([*items[:2], {{"fields": {{"key": "one"}}}}], True)
ids = second["dbIds"]
print(len(first["dbIds"]), first["removed"], second["removed"], ids[2], ids[0] == first["dbIds"][0])
"""
        assert run(module, code) == f"300 0 298 {CHILD} True\n"
        assert [item["id"] for item in module.children()].count(CHILD) == 1
        assert len(module.children()) == 3
        assert len(module.log(10)) == 3  # that of the test, and two of the imports

    def test_an_instance_of_a_role_is_changed_in_the_role(self, module: Shapes) -> None:
        code = f'print(ask_json(requestType="UPDATE INSTANCE", dbId={ROLE_INSTANCE!r}, fields={{"title": "All"}}))'
        run(module, code)
        assert json.loads(module.file("roles/Shared/role.json"))["instances"][0]["attributes"][0]["value"] == "All"
        for container in (CONTAINER, OTHER):
            found = module.instance(ROLE_INSTANCE, containerId=container)
            assert found["attributes"][0]["value"] == "All"

    def test_what_cannot_be_done_fails_clearly(self, module: Shapes) -> None:
        wrong = {
            'requestType="UPDATE INSTANCE", dbId="nowhere", fields={}': "no instance 'nowhere'",
            f'requestType="UPDATE INSTANCE", dbId={CHILD!r}, fields={{"sise": "1"}}': "did you mean 'size'?",
            f'requestType="UPDATE INSTANCE", dbId={CHILD!r}, fields={{"size": "many"}}': "has to be a whole number",
            f'requestType="UPDATE INSTANCE", dbId={CHILD!r}, fields={{"fixed": "now"}}': "cannot be changed",
            f'requestType="UPDATE INSTANCE", dbId={CONTAINER!r}, fields={{"size": "1"}}': "is a container",
            f'requestType="UPDATE INSTANCE", dbId={CHILD!r}, fields=[1]': "has to be an object",
            f'requestType="ENSURE INSTANCE", packetGuid="x", parentInstanceId={ROOT!r}, fields={{}}': "packet 'x'",
            f'requestType="ENSURE INSTANCE", packetGuid={ITEM!r}, fields={{}}': "'parentInstanceId' is missing",
            'requestType="GET INSTANCE", velocityName="nobody"': "no instance with the velocity name 'nobody'",
        }
        for request, said in wrong.items():
            started = module.server.execute(
                ROOT, "code.py", module.branch, asynchronous=True,
                argument={"code": f"{PYTHON}{ASK}ask_json({request})"},
            )  # fmt: skip
            assert end(module.server, started["id"])["status"] == "FAILED"
            log = log_of(module.server, started["id"])
            assert said in log, (request, log)
            assert "the answer is FAILED" in log
        assert len(module.log(5)) == 1


class TestContainersAndEnvironments:
    def test_a_container_is_ensured_once(self, module: Shapes) -> None:
        code = f"""
def ensure():
    return ask_json(requestType="ENSURE CONTAINER", targetEnvironmentId={ENVIRONMENT!r}, containerName="New one")
made, again = ensure(), ensure()
print(made["actionTaken"], again["actionTaken"], made["dbId"] == again["dbId"], again["reason"])
"""
        assert run(module, code) == "created none True environment 'plan' has a container 'New one'\n"
        assert json.loads(module.file("environments/plan/New one/container.json"))["instances"] == []

    def test_a_container_is_made_by_lines(self, module: Shapes) -> None:
        script = f"""
        ask 'create container
set container_type=SERVER
set name=lines
set environment_id={ENVIRONMENT}
set domain=
set description=By lines'
        echo "made $answer"
        """
        started = module.server.execute(ROOT, "code.py", module.branch, argument=bash(script), asynchronous=True)
        end(module.server, started["id"])
        found = json.loads(module.file("environments/plan/lines/container.json"))
        assert f"made {found['id']}\n" in log_of(module.server, started["id"])
        assert found["description"] == "By lines"

    def test_a_container_is_cloned_with_new_ids(self, module: Shapes) -> None:
        code = f"""
answer = ask_json(requestType="CLONE CONTAINER", targetEnvironmentId={ENVIRONMENT!r}, containerName="copy",
                  sourceContainerId={CONTAINER!r})
print(answer["actionTaken"], answer["containerName"], answer["dbId"])
"""
        made = run(module, code).split()
        assert made[:2] == ["cloned", "copy"]
        copy = json.loads(module.file("environments/plan/copy/container.json"))
        assert copy["id"] == made[2] != CONTAINER
        [root] = copy["instances"]
        [child] = root["instances"]
        assert {root["id"], child["id"]}.isdisjoint({ROOT, CHILD})
        assert (root["velocityName"], child["velocityName"]) == ("", "")  # the environment has them already
        assert {item["name"]: item["value"] for item in child["attributes"]} == {
            "key": "one", "fixed": "for ever", "formula": "$container.name <b> & 'x'",
        }  # fmt: skip
        assert [role["id"] for role in copy["roles"]] == ["shapes-role"]

    def test_an_environment_is_cloned_and_its_workflow_runs_there(self, module: Shapes) -> None:
        code = f"""
request = {{"requestType": "CLONE ENVIRONMENT", "projectId": "", "environmentName": "Copy of plan",
            "sourceEnvironmentId": {ENVIRONMENT!r}}}
made = ask_json(**request)
again = ask_json(**request)
print(made["actionTaken"], again["actionTaken"], made["dbId"] == again["dbId"], made["dbId"])
"""
        said = run(module, code).split()
        assert said[:3] == ["cloned", "none", "True"]
        environment = json.loads(module.file("environments/Copy of plan/environment.json"))
        assert environment["id"] == said[3]
        workflow = environment["workflows"][0]["id"]
        branch = module.branch.replace("/", "%2F")
        ran = module.post(
            f"environment/{branch}/{said[3]}/workflow/{workflow}/execute", {"argument": {"code": "print('there')"}}
        )
        assert (ran["status"], ran["environmentId"], ran["log"]) == ("SUCCESS", said[3], "there\n")

    def test_an_environment_is_made_in_a_project(self, module: Shapes) -> None:
        project = module.post("projects", {"name": f"made on {module.branch}", "parentId": "root"}, 201)["id"]
        code = f"""
made = ask_json(requestType="ENSURE ENVIRONMENT", projectId={project!r}, environmentName="Fresh")
print(made["actionTaken"], made["dbId"])
"""
        said = run(module, code).split()
        [attached] = module.get(f"projects/{project}/environments")["items"]
        assert (attached["environmentId"], attached["branch"], attached["module"]) == (said[1], module.branch, MODULE)

    def test_names_that_are_paths_are_refused(self, module: Shapes) -> None:
        for name in ("../evil", ".git", "a/b", "environment.auto", "-x", "line\nend"):
            code = f'ask_json(requestType="ENSURE ENVIRONMENT", projectId="", environmentName={name!r})'
            run(module, code, status="FAILED")
        assert len(module.log(5)) == 1
