"""A module whose instances are changed: a tree, a role, keys, every type of attribute, and an action that asks."""

from typing import Any

ORG = "localhost\\tests"
REPOSITORY = "shapes"
PATH = f"{ORG}\\{REPOSITORY}\\main"
ENVIRONMENT, CONTAINER, OTHER = "shapes-env", "shapes-con", "shapes-other"
ROOT, CHILD, ROLE_INSTANCE, ROLE = "shapes-root", "shapes-child", "shapes-role-ins", "shapes-role"
GROUP, ITEM = "pac-group", "pac-item"
CODE = (
    "#!/usr/bin/env python3\nimport json\nexec(json.load(open('/tmp/infraxys/system/custom/arguments.json'))['code'])\n"
)
# What modules for the original bring: a class for a packet, found by what imports it from the module's folder.
LIBRARY = """
from infraxys.json.json_instance import JsonInstance


class Item(JsonInstance):
    packet_name = "Item"
    key = size = active = formula = fixed = secretive = owner = None
"""
WORKFLOW = {
    "id": "shapes-wf",
    "name": "Ask",
    "steps": [{"name": "ask", "containerId": CONTAINER, "instanceId": ROOT, "packetFileId": "f-code"}],
}


def attribute(name: str, **more: Any) -> dict[str, Any]:
    """Declare an attribute."""
    return {"id": f"at-{name}", "name": name, "caption": name, **more}


def shapes() -> dict[str, Any]:
    """Give the files of the module."""
    base = {"id": "pac-base", "type": "BASE", "attributes": [attribute("owner", defaultValue="nobody")]}
    group = {
        "id": GROUP,
        "label": "%title%",
        "type": "GROUP",
        "attributes": [attribute("title")],
        "files": [{"id": "f-code", "filename": "code.py", "menuCaption": "Code", "executable": True}],
    }
    item = {
        "id": ITEM,
        "label": "%key%",
        "type": "ITEM",
        "key": "ITEM-KEY",
        "extends": [{"name": "Base", "id": "pac-base", "moduleBranchPath": PATH}],
        "attributes": [
            attribute("key", required=True, isPartOfKey=True),
            attribute("size", type="java.lang.Long", defaultValue="1"),
            attribute("active", type="java.lang.Boolean", defaultValue="1"),
            attribute("formula", parseWithVelocity=True),
            attribute("fixed", writability="AT CREATION TIME"),
            attribute("secretive", cloneAttribute=False),
        ],
    }
    child = {
        "id": CHILD,
        "packetId": ITEM,
        "packetName": "Item",
        "packetPath": PATH,
        "velocityName": "first",
        "instanceGroups": "",
        "attributes": [
            {"id": "at-key", "name": "key", "value": "one"},
            {"id": "at-fixed", "name": "fixed", "value": "for ever"},
            {"id": "at-formula", "name": "formula", "value": "$container.name <b> & 'x'"},
            {"id": "at-secretive", "name": "secretive", "value": "mine"},
        ],
    }
    root = {
        "id": ROOT,
        "packetId": GROUP,
        "packetName": "Group",
        "packetPath": PATH,
        "velocityName": "top",
        "instanceGroups": "",
        "attributes": [{"id": "at-title", "name": "title", "value": "The group"}],
        "instances": [child],
    }
    role_instance = {"id": ROLE_INSTANCE, "packetId": GROUP, "packetName": "Group", "packetPath": PATH}
    role = {"name": "Shared", "id": ROLE, "path": PATH}
    return {
        "module.json": {"dependencies": []},
        "python/shapes_items.py": LIBRARY,
        "packets/Base/packet.json": base,
        "packets/Group/packet.json": group,
        "packets/Group/files/code.py": CODE,
        "packets/Item/packet.json": item,
        "roles/Shared/role.json": {"version": "1.0", "id": ROLE, "instances": [role_instance]},
        "environments/plan/environment.json": {"version": "1.0", "id": ENVIRONMENT, "workflows": [WORKFLOW]},
        "environments/plan/main/container.json": {
            "version": "1.0",
            "id": CONTAINER,
            "roles": [role],
            "instances": [root],
        },
        "environments/plan/other/container.json": {
            "version": "1.0",
            "id": OTHER,
            "roles": [role],
            "instances": [],
        },
    }
