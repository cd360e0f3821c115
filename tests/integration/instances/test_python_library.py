"""The classes that modules for the original use, in an action, against the server that executes it."""

import re

from factories.instances import CHILD, CONTAINER, ENVIRONMENT, ROOT
from plugins.shapes import Shapes

START = """
from infraxys.json.instance_reference import InstanceReference
from infraxys.services.infraxys_service import InfraxysService
from infraxys.exceptions import NotFoundException
from shapes_items import Item
service = InfraxysService.get_instance()
def reference(instance_id):
    return InstanceReference(PATH, CONTAINER, instance_id, ENVIRONMENT)
root = Item(instance_reference=reference(ROOT))
"""


def run(module: Shapes, code: str) -> str:
    known = {"PATH": module.path, "CONTAINER": CONTAINER, "ENVIRONMENT": ENVIRONMENT, "ROOT": ROOT, "CHILD": CHILD}
    values = "".join(f"{name} = {value!r}\n" for name, value in known.items())
    return module.run(f"{values}{START}{code}")


def test_an_instance_is_read_changed_and_saved(module: Shapes) -> None:
    code = """
item = service.get_by_reference(reference(CHILD), Item)
print(item.key, item.size, item.formula)
item.size = 5
item.active = False
service.save(item)
again = service.get_by_reference(reference(CHILD), Item)
print(again.size, again.active, again.formula, again.owner)
try:
    service.get_by_reference(reference("nowhere"), Item)
except NotFoundException:
    print("not there")
"""
    expected = "one 1 $container.name <b> & 'x'\n5 0 $container.name <b> & 'x' nobody\nnot there\n"
    assert run(module, code) == expected


def test_instances_are_made_and_found_again(module: Shapes) -> None:
    code = """
item = Item(parent_instance_reference=reference(ROOT))
item.key, item.owner = "two", "ada"
service.save(item)
found = service.get_child_by_attribute(root, "key", "two", Item)
print(found.key, found.owner, found.size, service.get_child_by_attribute(root, "key", "three", Item))
third = Item(parent_instance_reference=reference(ROOT))
for name in ("key", "size", "active", "formula", "fixed", "secretive", "owner"):
    setattr(third, name, "1" if name != "key" else "three")
third.saveInstance()
third.save(None, ROOT, CONTAINER, BRANCH)
print(sorted(item.key for item in service.get_instances_by_packet_type(root, "ITEM", Item)))
""".replace("BRANCH", repr(module.branch))
    assert run(module, code) == "two ada 1 None\n['one', 'three', 'two']\n"
    assert len(module.children()) == 3


def test_instances_are_ensured_and_updated_by_requests(module: Shapes) -> None:
    code = """
class Known(Item):
    packet_guid = "pac-item"
    def get_packet(self):
        from infraxys.services.packet_service import PacketService
        return PacketService.get_instance().get_packet(for_instance=Item())
item = Known()
item.parent_instance_id = ROOT
for name in ("key", "size", "active", "formula", "fixed", "secretive", "owner"):
    setattr(item, name, "1" if name != "key" else "two")
answer = item.ensure_instance()
print(answer["actionTaken"], item.instance_id == answer["dbId"], item.ensure_instance()["actionTaken"])
item = Known()
item.get_from_db_by_velocity_name("first", container_id=CONTAINER)
print(item.db_id, item.container_db_id, item.environment_db_id, item.key)
item.size = 8
item.update_instance()
"""
    assert run(module, code) == f"created True none\n{CHILD} {CONTAINER} {ENVIRONMENT} one\n"
    assert module.values(CHILD)["size"] == "8"


def test_the_functions_of_the_bash_library_do_it_as_well(module: Shapes) -> None:
    module.repository.commit(
        {
            "packets/Group/packet.json": {
                "id": "pac-group",
                "label": "%title%",
                "attributes": [{"id": "at-title", "name": "title"}],
                "files": [{"id": "f-bash", "filename": "change.sh", "menuCaption": "Change", "executable": True}],
            },
            "packets/Group/files/change.sh": f"""
update_instance_attribute --instance_id {CHILD} --attribute_name owner --attribute_value "it's \\"me\\""
create_instance --parent_instance_id "$INSTANCE_GUID" --guid pac-item
create_infraxys_container --environment_id "$environment_guid" --name made --description "By bash"
echo done
""",
        },
        branch=module.branch,
        keep=True,
    )
    module.post("modules/localhost%2Ftests%2Fshapes/fetch")
    run = module.server.execute(ROOT, "change.sh", module.branch)
    assert run["status"] == "SUCCESS", run["log"]
    assert re.search(r"Instance id: [0-9a-f-]{36}\n(.*\n)?Container id: [0-9a-f-]{36}\n", run["log"]), run["log"]
    assert module.values(CHILD)["owner"] == 'it\'s "me"'
    assert len(module.children()) == 2
