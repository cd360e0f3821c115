"""A module whose attributes take their values from scripts and images."""

from typing import Any

PATH = "localhost\\tests\\lists\\main"
MODULE, ENVIRONMENT, CONTAINER, INSTANCE = "localhost/tests/lists", "env-lists", "con-lists", "ins-lists"
COUNTED = "date +%s%N\n"
SCRIPTS = {
    "regions.sh": "printf 'eu-west-1=Ireland\\r\\n\\nus-east-1\\neu-west-1=again\\n  spaced  \\n'; echo noise >&2\n",
    "count.sh": COUNTED,
    "never.sh": COUNTED,
    "fail.sh": "echo half; echo the reason >&2; exit 4\n",
    "much.sh": "yes abcdefghij\n",
    "slow.sh": "sleep 300\n",
    "attribute.sh": 'echo "$name/$INTERACTIVE"\n',
    "write.sh": 'echo "${INFRAXYS_ARTEFACTS-none}"; cat /tmp/infraxys/system/token 2>/dev/null || echo no token\n',
    "prepared.sh": "cat /cache/instance/prepared/here /cache/project/here\n",
    "variables.sh": 'echo "$REGION"; cat /tmp/infraxys/variables/KEYS/list-key\n',
    "list.py": "#!/usr/bin/env python3\nprint('from python')\n",
    "escapes.sh": "printf '\\033[31mred\\033[0m\\n<b>bold</b>\\nbidi\\342\\200\\256x\\n\\377\\n'\n",
}
PREPARATION = """
echo noise of the module
mkdir -p /cache/instance/prepared
echo in the cache | tee /cache/instance/prepared/here >/cache/project/here
"""
# Not of a list: nothing names it.
OTHER = {"id": "own", "name": "name", "defaultValue": "nobody"}


def attribute(name: str, **more: Any) -> dict[str, Any]:
    return {"id": f"attribute-{name}", "name": name, **more}


def lists() -> dict[str, Any]:
    """Give the files of the module."""
    attributes = [
        OTHER,
        attribute("plain", listOfValues="1=one, 2=two,3,,3", newItemsAllowed=True),
        attribute("rendered", listOfValues="$instance.getAttribute('name')=you,$container.name"),
        attribute("expressions", parseWithVelocity=True,
                  listOfValues='$instance.parent.getAttribute("region")=Inherit,$x.f("a,b)"),eu-west-1'),
        attribute("unbalanced", parseWithVelocity=True, listOfValues='smile :(,5" disk,6" disk'),
        attribute("image", source="DOCKER RUN", referenceFilter="registry.example/regions:1.0", cacheMinutes=10),
        attribute("in_image", source="SCRIPT OUTPUT", referenceFilter="count.sh",
                  referenceValueAttributeName="registry.example/tools:1"),
        attribute("kept", source="SCRIPT OUTPUT", referenceFilter="count.sh", cacheMinutes=10),
        attribute("not_kept", source="SCRIPT OUTPUT", referenceFilter="never.sh"),
        attribute("missing", source="SCRIPT OUTPUT", referenceFilter="nothing.sh"),
        attribute("outside", source="SCRIPT OUTPUT", referenceFilter="../../../etc/passwd"),
        attribute("elsewhere", source="ENVIRONMENT INSTANCE", referenceFilter="x"),
        *(
            attribute(name.partition(".")[0], source="script output", referenceFilter=name, cacheMinutes=1)
            for name in SCRIPTS
            if name not in {"count.sh", "never.sh"}
        ),
    ]  # fmt: skip
    files = [{"id": f"file-{name}", "filename": name, "executable": False, "timeoutSeconds": 3} for name in SCRIPTS]
    packet = {"id": "pac-lists", "label": "lists", "attributes": attributes, "files": files}
    instance = {
        "id": INSTANCE,
        "packetId": "pac-lists",
        "packetPath": PATH,
        "attributes": [{"id": "own", "name": "name", "value": "ann"}],
    }
    return {
        "module.json": {"dependencies": []},
        "init.sh": PREPARATION,
        "packets/Lists/packet.json": packet,
        **{f"packets/Lists/files/{name}": text for name, text in SCRIPTS.items()},
        "environments/lists/environment.json": {"id": ENVIRONMENT, "workflows": []},
        "environments/lists/only/container.json": {"id": CONTAINER, "roles": [], "instances": [instance]},
    }
