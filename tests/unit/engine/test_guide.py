"""What the guide for authors of templates says is true."""

import re
from pathlib import Path
from typing import Any

from factories.snapshots import attribute, environment, instance, snapshot, template, world
from infraxys.engine.hosts import CONSTANTS
from infraxys.engine.objects import ContainerObject, EnvironmentObject, InstanceObject
from infraxys.engine.render import CONTROL_VARIABLES, generate

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "guide" / "templates.md").read_text()


def test_its_example_renders_as_it_says() -> None:
    text = re.search(r"```velocity\n(.*?)```", GUIDE, re.DOTALL)
    assert text is not None
    attributes = [attribute("name", "shop"), attribute("port", "8080"), attribute("disabled", "0")]
    attributes.append(attribute("domain", "${environment.name}.example.org", scope="Container"))
    web = {"id": "w", "type": "WEB", "label": "web", "files": [template("deploy.sh", executable=True)]}
    cluster = {"id": "c", "type": "CLUSTER", "label": "c", "files": [], "attributes": [attribute("cluster", "blue")]}
    files: dict[str, Any] = {
        "packets/Web/packet.json": {**web, "attributes": attributes},
        "packets/Web/files/deploy.sh": text.group(1),
        "packets/Cluster/packet.json": cluster,
        **environment(
            instance("top", "Cluster", [instance("a", "Web"), instance("b", "Web", name="api", disabled="1")])
        ),
    }
    generation = generate(world(snapshot(files)), "e-prod")
    assert generation.is_complete, generation.problems
    first = generation.rendered.files[0].content.decode().split()
    assert " ".join(first[:5]) == 'echo "shop listens on shop.prod.example.org:8080"'
    assert " ".join(first[5:10]) == 'add_peer "shop" --more add_peer "api"'
    assert " ".join(first[10:]) == 'for file in "${FILES[@]}"; do echo "${file%.*}"; done'
    assert [(item.instance_id, item.caption) for item in generation.actions.values()] == [("a", "Deploy to blue")]


def test_it_names_every_call_of_an_instance_and_every_variable_that_decides() -> None:
    """Shorter names of the same and plain ids are left out."""
    also = {"getAttributeAsBoolean", "getId", "getLabel", "getName", "getPacketName", "toString"}
    also |= {"getInstancesByFileExtension"}
    for method in InstanceObject.VTL_METHODS - also:
        shorter = method.removeprefix("get")
        assert method in GUIDE or f"`{shorter[0].lower()}{shorter[1:]}`" in GUIDE, method
    for kind in (ContainerObject, EnvironmentObject):
        for method in kind.VTL_METHODS - also - {"hasAttributeDefined"}:
            shorter = method.removeprefix("get")
            assert method in GUIDE or f"{shorter[0].lower()}{shorter[1:]}" in GUIDE, method
    for name in CONTROL_VARIABLES:
        assert f"${name}" in GUIDE
    for name in CONSTANTS.keys() - {"velocityService"}:
        assert f"`${name}`" in GUIDE
