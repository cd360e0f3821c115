"""The calls about instances that existing clients make."""

from typing import Any

import pytest

from factories.instances import CHILD, CONTAINER, ENVIRONMENT, ITEM, OTHER, ROLE, ROLE_INSTANCE, ROOT
from plugins.shapes import MODULE, Shapes

ALL = {"key": "one", "size": "1", "active": "1", "formula": "$container.name <b> & 'x'", "fixed": "for ever",
       "secretive": "mine", "owner": "nobody"}  # fmt: skip


def named(instance: dict[str, Any]) -> dict[str, str]:
    """Give the values by name."""
    return {item["name"]: item["value"] for item in instance["attributes"]}


class TestReading:
    def test_an_instance_is_given_with_values_as_they_are_stored(self, module: Shapes) -> None:
        found = module.instance(CHILD)
        assert named(found) == ALL
        assert {key: value for key, value in found.items() if key != "attributes"} == {
            "moduleBranchPath": module.path,
            "environmentId": ENVIRONMENT,
            "containerId": CONTAINER,
            "id": CHILD,
            "packetId": ITEM,
            "packetName": "Item",
            "velocityName": "first",
            "parentId": ROOT,
        }

    def test_the_reference_may_have_slashes_and_may_be_the_query(self, module: Shapes) -> None:
        slashes = module.reference(CHILD, moduleBranchPath=module.path.replace("\\", "/"))
        assert module.get("instances", slashes)["instance"]["id"] == CHILD
        answer = module.server.client.get("/api/v1/instances", params=module.reference(CHILD))
        assert answer.json()["instance"]["id"] == CHILD

    def test_an_instance_of_a_role_is_found_by_the_role(self, module: Shapes) -> None:
        for place in ({"environmentId": None, "containerId": ROLE}, {"environmentId": None, "containerId": None}):
            assert module.instance(ROLE_INSTANCE, **place)["id"] == ROLE_INSTANCE
        assert module.instance(ROLE_INSTANCE, containerId=OTHER)["containerId"] == OTHER

    def test_what_is_not_there_is_404(self, module: Shapes) -> None:
        for change in (
            {"instanceId": "nowhere"},
            {"containerId": "nowhere"},
            {"environmentId": "nowhere"},
            {"moduleBranchPath": f"localhost\\tests\\other\\{module.branch}"},
        ):
            assert module.get("instances", module.reference(CHILD, **change), 404)["code"] == "unknown_instance"
        gone = module.reference(CHILD, moduleBranchPath="localhost\\tests\\shapes\\gone")
        assert module.get("instances", gone, 404)["code"] == "unknown_branch"
        assert module.get("instances", {"moduleBranchPath": "x", "instanceId": "y"}, 422)["errors"][0]["loc"]

    def test_a_child_is_found_by_an_attribute(self, module: Shapes) -> None:
        wanted = module.reference(attributeName="key", attributeValue="one")
        assert module.get("instances/byAttributeNameAndValue", wanted)["instance"]["id"] == CHILD
        wanted["attributeValue"] = "other"
        assert module.get("instances/byAttributeNameAndValue", wanted) == {}

    def test_instances_are_found_by_type_also_an_inherited_one(self, module: Shapes) -> None:
        for parent, kind, recursive, expected in (
            (ROOT, "ITEM", False, [CHILD]),
            (ROOT, "BASE", False, [CHILD]),
            (CONTAINER, "ITEM", False, []),
            (CONTAINER, "ITEM", True, [CHILD]),
            (CONTAINER, "GROUP", False, [ROLE_INSTANCE, ROOT]),
        ):
            body = module.reference(parent, packetType=kind, recursive=recursive)
            found = module.get("instances/byPacketType", body)["instances"]
            assert [item["id"] for item in found] == expected

    def test_children_are_filtered_by_everything_that_is_said(self, module: Shapes) -> None:
        branch = module.branch.replace("/", "%2F")
        for place in (f"instance/{branch}/{ROOT}", f"container/{CONTAINER}/instances/{ROOT}"):
            path = f"{place}/children" + (f"?branch={branch}" if place.startswith("container") else "")
            for wanted, expected in (
                ({}, [CHILD]),
                ({"packetType": "ITEM", "packetKey": "ITEM-KEY", "packetGuid": ITEM}, [CHILD]),
                ({"packetGuid": f"{module.path}\\Item".lower()}, [CHILD]),
                ({"packetType": "GROUP"}, []),
                ({"packetType": "ITEM", "attributeName": "key", "attributeValue": "two"}, []),
                ({"somethingElse": 1}, [CHILD]),
            ):
                assert [item["id"] for item in module.get(path, wanted)["instances"]] == expected, (path, wanted)


class TestWriting:
    def test_an_instance_is_saved_as_the_python_client_sends_it(self, module: Shapes) -> None:
        attributes = [
            *({"id": f"at-{name}", "name": name, "value": value} for name, value in ALL.items()),
            {"id": "at-inherited-twice", "name": "owner", "value": "eve"},
        ]
        attributes[1] = {"id": "at-size", "name": "size", "value": 12}
        body = {**module.reference(), "packetId": ITEM, "packetPath": module.path, "id": CHILD}
        del body["instanceId"]
        answer = module.post("instances", {"instance": {**body, "attributes": attributes}})
        assert (answer["status"], named(answer["instance"])) == ("SUCCESS", {**ALL, "size": "12", "owner": "eve"})
        assert named(module.instance(CHILD)) == {**ALL, "size": "12", "owner": "eve"}

    def test_what_was_read_and_saved_is_no_commit(self, module: Shapes) -> None:
        found = module.instance(CHILD)
        assert module.post("instances", {"instance": found})["status"] == "SUCCESS"
        assert len(module.log(5)) == 1

    def test_a_new_one_has_its_defaults_where_nothing_is_given(self, module: Shapes) -> None:
        attributes = [{"id": "at-key", "name": "key", "value": "new"}, {"id": "at-size", "name": "size", "value": None}]
        body = {**module.reference(), "packetId": ITEM, "packetPath": module.path, "parentId": ROOT}
        answer = module.post("instances", {"instance": {**body, "attributes": attributes}})
        made = answer["instance"]
        assert (made["parentId"], named(made)["key"], named(made)["size"]) == (ROOT, "new", "1")
        assert [item["id"] for item in module.children()] == [CHILD, made["id"]]

    def test_children_are_ensured_without_saying_of_which_packet(self, module: Shapes) -> None:
        branch = module.branch.replace("/", "%2F")
        wanted = {"instances": [{"key": "one", "size": 2}, {"key": "two"}]}
        for path in (f"instance/{branch}/{ROOT}", f"instance/{branch}/{CONTAINER}/instances/{ROOT}"):
            answer = module.post(f"{path}/children/ensure", wanted)
            assert (answer["status"], [named(item)["key"] for item in answer["instances"]]) == (
                "SUCCESS",
                ["one", "two"],
            )
        assert [named(item)["size"] for item in module.children()] == ["2", "1"]
        assert len(module.log(5)) == 2

    def test_one_is_added_by_the_address_of_its_parent(self, module: Shapes) -> None:
        path = "/".join(part.replace("\\", "%5C").replace("/", "%2F") for part in (module.path, ENVIRONMENT, CONTAINER))
        answer = module.post(f"instances/{path}/{ROOT}/addInstance", {"key": "added"})
        assert (answer["status"], named(answer["instance"])["key"]) == ("SUCCESS", "added")
        plain = module.path.replace("\\", "%5C")  # a branch with a slash as it is
        answer = module.post(f"instances/{plain}/{ENVIRONMENT}/{CONTAINER}/{ROOT}/addInstance", {"key": "added"})
        assert len(module.children()) == 2

    @pytest.mark.parametrize(
        ("attributes", "said"),
        [
            ([{"name": "sizes", "value": "1"}], "did you mean 'size'?"),
            ([{"name": "size", "value": "1.5"}], "whole number"),
            ([{"name": "active", "value": "perhaps"}], "1 or 0"),
            ([{"name": "key", "value": ""}], "'key' is required"),
            ([{"name": "key", "value": [1]}], "has to be a text"),
            ([{"name": "fixed", "value": "x"}], "cannot be changed"),
        ],
    )
    def test_what_the_writer_can_mend_is_told_with_200(
        self, module: Shapes, attributes: list[dict[str, Any]], said: str
    ) -> None:
        body = {**module.reference(), "packetId": ITEM, "id": CHILD, "attributes": attributes}
        answer = module.post("instances", {"instance": body})
        assert answer["status"] == "FAILED"
        assert said in answer["message"]
        assert len(module.log(5)) == 1

    def test_an_unknown_packet_is_told_with_200_and_an_unknown_parent_with_404(self, module: Shapes) -> None:
        body = {**module.reference(), "packetId": "nothing", "parentId": ROOT, "attributes": []}
        assert module.post("instances", {"instance": body})["code"] == "unknown_packet"
        body = {**body, "packetId": ITEM, "parentId": "nowhere"}
        assert module.post("instances", {"instance": body}, 404)["code"] == "unknown_instance"
        assert module.post("instances", {"instance": {**body, "parentId": None}}, 422)["code"] == "validation_failed"

    def test_a_run_of_before_keeps_its_commit_and_the_next_has_the_new_one(self, module: Shapes) -> None:
        before = module.server.execute(ROOT, "code.py", module.branch, argument={"code": "print(1)"})
        module.post("instances", {"instance": {**module.reference(), "id": CHILD, "packetId": ITEM,
                                               "attributes": [{"name": "size", "value": "9"}]}})  # fmt: skip
        after = module.server.execute(ROOT, "code.py", module.branch, argument={"code": "print(1)"})
        assert before["commit"] != after["commit"]
        repeated = module.post(f"runs/{before['id']}/rerun")
        assert repeated["commit"] == before["commit"]


class TestRemotes:
    def test_commits_are_counted_kept_by_a_fetch_and_pushed(self, module: Shapes) -> None:
        branch, module_path = module.branch.replace("/", "%2F"), f"modules/{MODULE.replace('/', '%2F')}"
        module.post(f"instance/{branch}/{ROOT}/children/ensure", {"instances": [{"key": "two"}]})
        module.post(f"{module_path}/fetch")
        assert self.branch_of(module)["ahead"] == 1
        assert len(module.children()) == 2
        answer = module.post(f"{module_path}/branches/{branch}/push")
        assert answer == {"branch": module.branch, "commit": self.branch_of(module)["commit"]}
        assert module.repository.git("rev-parse", module.branch) == answer["commit"]
        assert self.branch_of(module)["ahead"] == 0

    def test_a_branch_that_went_two_ways_is_told_and_can_be_brought_back(self, module: Shapes) -> None:
        branch, module_path = module.branch.replace("/", "%2F"), f"modules/{MODULE.replace('/', '%2F')}"
        module.post(f"instance/{branch}/{ROOT}/children/ensure", {"instances": [{"key": "two"}]})
        theirs = module.repository.commit({"notes.txt": "theirs"}, branch=module.branch, keep=True)
        module.post(f"{module_path}/fetch")
        problem = next(item for item in module.get("modules")["items"] if item["name"] == MODULE)["problem"]
        assert f"the remote has others: branch {module.branch}" in problem
        assert len(module.children()) == 2
        assert module.post(f"{module_path}/branches/{branch}/push", status=409)["code"] == "push_rejected"
        done = module.server.command("module", "fetch", MODULE, "--discard")
        assert done.returncode == 0, done.stderr
        assert (self.branch_of(module)["commit"], len(module.children())) == (theirs, 1)

    def test_the_command_line_pushes(self, module: Shapes) -> None:
        branch = module.branch.replace("/", "%2F")
        module.post(f"instance/{branch}/{ROOT}/children/ensure", {"instances": [{"key": "two"}]})
        assert "NOT PUSHED" in module.server.command("module", "list").stdout
        done = module.server.command("module", "push", MODULE, "--branch", module.branch)
        assert done.stdout.startswith(f"Branch {module.branch} of {MODULE} is at "), done.stderr
        refused = module.server.command("module", "push", "local/infraxys/getting-started", "--branch", "main")
        assert (refused.returncode, "nowhere to push" in refused.stderr) == (1, True)

    @staticmethod
    def branch_of(module: Shapes) -> dict[str, Any]:
        """Give what the list of modules says about the branch."""
        found = next(item for item in module.get("modules")["items"] if item["name"] == MODULE)
        return next(item for item in found["branches"] if item["name"] == module.branch)
