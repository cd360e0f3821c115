"""What changes of instances make of the files that hold them."""

import json
from typing import Any

import pytest

from factories.instances import CHILD, CONTAINER, ENVIRONMENT, GROUP, ITEM, OTHER, PATH, ROOT, shapes
from factories.snapshots import snapshot, world
from infraxys.engine import edits
from infraxys.engine.edits import CannotEdit
from infraxys.engine.world import ContainerView, InstanceView, World
from infraxys.spec.identity import BranchPath

BRANCH = BranchPath.parse(PATH)


def seen(files: dict[str, Any] | None = None) -> World:
    return world(snapshot({**shapes(), **(files or {})}, BRANCH.module), root=BRANCH)


def find(seen: World, instance_id: str) -> InstanceView:
    return next(view for view in seen.environment(ENVIRONMENT).instances() if view.id == instance_id)


def container(seen: World, container_id: str = CONTAINER) -> ContainerView:
    return next(item for item in seen.environment(ENVIRONMENT).containers if item.id == container_id)


def packet(seen: World, packet_id: str = ITEM) -> edits.PacketView:
    found = edits.find_packet(seen, packet_id)
    assert found is not None
    return found


def written(outcome: edits.Outcome) -> Any:
    [file] = outcome.files
    return json.loads(file.data)


class TestEnsure:
    def test_two_of_one_key_in_one_request_are_two_instances(self) -> None:
        view = seen()
        outcome = edits.ensure(find(view, ROOT), packet(view), [{"key": "one"}, {"key": "one"}])
        assert outcome.actions == ["none", "created"]
        assert [item["id"] for item in written(outcome)["instances"][0]["instances"]] == [CHILD, outcome.ids[1]]

    def test_without_a_key_all_given_values_have_to_be_the_same(self) -> None:
        view = seen()
        top = container(view)
        same = edits.ensure(top, packet(view, GROUP), [{"title": "The group"}])
        assert (same.ids, same.actions, same.files) == ([ROOT], ["none"], [])
        assert edits.ensure(top, packet(view, GROUP), [{"title": "Another"}]).actions == ["created"]
        assert edits.ensure(top, packet(view, GROUP), [{}]).actions == ["created"]

    def test_at_the_top_of_a_container_instances_of_roles_are_not_its_own(self) -> None:
        view = seen()
        outcome = edits.ensure(container(view, OTHER), packet(view, GROUP), [], removes_others=True)
        assert (outcome.removed, outcome.files) == (0, [])

    def test_removing_takes_only_those_of_the_packet(self) -> None:
        view = seen()
        more = edits.create(find(view, ROOT), packet(view, GROUP), {"title": "kept"})
        after = seen({"environments/plan/main/container.json": written(more)})
        outcome = edits.ensure(find(after, ROOT), packet(after), [], removes_others=True)
        assert outcome.removed == 1
        assert [item["packetId"] for item in written(outcome)["instances"][0]["instances"]] == [GROUP]

    def test_more_than_a_bounded_number_is_refused(self) -> None:
        view = seen()
        with pytest.raises(CannotEdit, match="10000 instances"):
            edits.ensure(find(view, ROOT), packet(view), [{"key": "x"}] * 10_001)


class TestFiles:
    def test_a_new_instance_is_written_with_everything_in_the_order_of_the_original(self) -> None:
        view = seen()
        outcome = edits.create(container(view, OTHER), packet(view), {"key": "k"}, "name")
        [made] = written(outcome)["instances"]
        assert list(made) == [
            "id", "packetId", "packetName", "packetPath", "velocityName", "instanceGroups", "attributes",
        ]  # fmt: skip
        assert [list(item) for item in made["attributes"]] == [["id", "name", "value"]] * 7
        assert (made["packetPath"], made["velocityName"]) == (PATH, "name")
        assert outcome.files[0].data.decode().startswith('{\n  "version": "1.0",\n  "id": "shapes-other",\n')

    def test_a_value_that_was_not_stored_is_added_behind_the_others(self) -> None:
        view = seen()
        outcome = edits.update(find(view, CHILD), {"size": "5", "key": "two"})
        attributes = written(outcome)["instances"][0]["instances"][0]["attributes"]
        assert [(item["name"], item["value"]) for item in attributes][::4] == [("key", "two"), ("size", "5")]
        assert attributes[-1]["id"] == "at-size"

    def test_a_file_of_the_legacy_dialect_is_written_in_the_new_one(self) -> None:
        legacy = {
            "guid": CONTAINER,
            "name": "main",
            "roles": [],
            "instances": [{"guid": "guid-7", "packetGuid": f"{PATH.lower()}\\item", "key": "old", "size": 3}],
        }
        view = seen({"environments/plan/main/container.json": legacy})
        instance = find(view, "guid-7")
        assert instance.values["size"] == "3"
        [new] = written(edits.update(instance, {"size": "4"}))["instances"]
        assert (new["id"], new["packetName"]) == ("guid-7", "item")
        assert {item["name"]: item["value"] for item in new["attributes"]} == {"key": "old", "size": "4"}

    def test_unknown_keys_of_files_are_kept(self) -> None:
        files = shapes()
        old = files["environments/plan/main/container.json"]
        old["owner"] = old["instances"][0]["colour"] = "ours"
        changed = written(edits.update(find(seen(files), CHILD), {"key": "two"}))
        assert (changed["owner"], changed["instances"][0]["colour"]) == ("ours", "ours")

    def test_of_two_instances_of_one_id_the_first_is_changed_which_is_the_one_that_counts(self) -> None:
        files = shapes()
        instances = files["environments/plan/main/container.json"]["instances"]
        instances.append({"id": CHILD, "packetId": GROUP, "attributes": []})
        changed = written(edits.update(find(seen(files), CHILD), {"key": "two"}))
        assert changed["instances"][0]["instances"][0]["attributes"][0]["value"] == "two"
        assert changed["instances"][1]["attributes"] == []


class TestChoosingThePacket:
    def test_the_packet_of_the_children_comes_first(self) -> None:
        view = seen()
        assert edits.choose_packet(view, find(view, ROOT), {}, {"owner"}).id == ITEM

    def test_without_children_the_only_one_with_such_attributes_is_meant(self) -> None:
        view = seen()
        assert edits.choose_packet(view, container(view, OTHER), {}, {"key"}).id == ITEM
        assert edits.choose_packet(view, container(view, OTHER), {}, {"owner"}).id == "pac-base"

    @pytest.mark.parametrize(("named", "fields"), [({}, {"unheard of"}), ({}, set()), ({"packetGuid": "x"}, set())])
    def test_what_is_not_clear_is_refused(self, named: dict[str, str], fields: set[str]) -> None:
        view = seen()
        with pytest.raises(CannotEdit) as refused:
            edits.choose_packet(view, container(view, OTHER), named, fields)
        assert refused.value.code == "unknown_packet"

    def test_a_type_or_a_key_helps(self) -> None:
        view = seen()
        for named in ({"packetType": "ITEM"}, {"packetKey": "ITEM-KEY"}):
            assert edits.choose_packet(view, container(view, OTHER), named, set()).id == ITEM
