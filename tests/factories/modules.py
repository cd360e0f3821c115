"""A module for tests of the whole: actions of every kind, roles, workflows, and an environment that does not render."""

from typing import Any

PATH = "localhost\\tests\\library\\main"
ENVIRONMENT, WORKFLOW, FAILING_WORKFLOW = "env-1", "wf-1", "wf-2"
CONTAINER, OTHER_CONTAINER, INSTANCE, ROLE_INSTANCE = "con-1", "con-2", "ins-1", "role-ins-1"
BROKEN_ENVIRONMENT, BROKEN_INSTANCE = "env-broken", "ins-broken"

SHELL_CODE = (
    'print_code=\'import json; print(json.load(open("/tmp/infraxys/system/custom/arguments.json"))["code"])\'\n'
    'code="$(python3 -c "$print_code")"\neval "$code"\n'
)
SCRIPTS = {
    "ok.sh": "echo hello from $greeting\n",
    "true.sh": ":\n",
    "fail.sh": "echo before; exit 3\necho never\n",
    "argument.sh": "cat /tmp/infraxys/system/custom/arguments.json\n",
    "sleep.sh": "echo started; sleep 300\n",
    "lines.sh": "for n in $(seq 1 2000); do echo line $n; done\n",
    "both.sh": "echo out; echo err >&2\n",
    "variables.sh": "env | sort\n",
    "write.sh": "pwd; echo data > made-here; cat made-here; ls\n",
    "colour.sh": "printf '\\033[31mred\\033[0m\\n'\n",
    "bytes.sh": "printf '\\xff\\xfe\\x00 end\\n'\n",
    "run.py": "#!/usr/bin/env python3\nimport json, os, sys\n"
    "print(json.dumps({'greeting': os.environ['greeting'], 'cwd': os.getcwd()}))\nsys.exit(0)\n",
    "grants.py": "#!/usr/bin/env python3\nimport json, os, subprocess\nsystem = '/tmp/infraxys/system/'\n"
    "asked = json.load(open(system + 'custom/arguments.json'))['grants']\n"
    "def ask(grant):\n    answer = subprocess.run([system + 'has_grant', grant], capture_output=True, text=True)\n"
    "    return answer.stdout.strip()\n"
    "user = json.load(open(system + 'current_user.json'))\n"
    "names = {'project_name': os.environ['project_name'], **user}\n"
    "print(json.dumps({'has': {grant: ask(grant) for grant in asked}, **names}))\n",
    "count.sh": "echo once >> /dev/stdout\n",
    "code.py": "#!/usr/bin/env python3\nimport json\n"
    "exec(json.load(open('/tmp/infraxys/system/custom/arguments.json'))['code'])\n",
    "shell.sh": SHELL_CODE,
    "terminal.sh": SHELL_CODE,
}
INTERACTIVE = {"terminal.sh"}


def file(name: str, *, executable: bool = True, velocity: bool = False, **more: Any) -> dict[str, Any]:
    """Declare a packet file."""
    return {
        "id": f"file-{name}",
        "filename": name,
        "menuCaption": name,
        "executable": executable,
        "parseWithVelocity": velocity,
        **more,
    }


def step(name: str, filename: str) -> dict[str, Any]:
    """Name an action in a workflow."""
    return {"name": name, "containerId": CONTAINER, "instanceId": INSTANCE, "packetFileId": f"file-{filename}"}


def library() -> dict[str, Any]:
    """Give the files of the module."""
    attributes = [
        {"id": "a-1", "name": "greeting", "caption": "Greeting", "defaultValue": "nobody", "parseWithVelocity": True},
        {"id": "a-2", "name": "PATH", "defaultValue": "/evil"},
    ]
    files = [file(name, timeoutSeconds=60, isInteractive=name in INTERACTIVE) for name in SCRIPTS]
    files += [file("notes.txt", executable=False), file("settings.conf", executable=False, velocity=True)]
    tool = {"id": "pac-1", "label": "Tool for %greeting%", "type": "TOOL", "attributes": attributes, "files": files}
    broken = {"id": "pac-broken", "label": "broken", "files": [file("bad.sh", velocity=True), file("good.sh")]}
    instance = {
        "id": INSTANCE,
        "packetId": "pac-1",
        "packetName": "Tool",
        "packetPath": PATH,
        "velocityName": "tool",
        "attributes": [{"id": "a-1", "name": "greeting", "value": "$container.name in $environment.name"}],
    }
    role_instance = {"id": ROLE_INSTANCE, "packetId": "pac-1", "packetName": "Tool", "packetPath": PATH}
    role = {"name": "Shared", "id": "role-1", "path": PATH}
    workflows = [
        {"id": WORKFLOW, "name": "Two steps", "steps": [step("first", "ok.sh"), step("second", "argument.sh")]},
        {
            "id": FAILING_WORKFLOW,
            "name": "Fails in the middle",
            "steps": [step("first", "ok.sh"), step("second", "fail.sh"), step("third", "ok.sh")],
        },
    ]
    return {
        "module.json": {"dependencies": []},
        "packets/Tool/packet.json": tool,
        **{f"packets/Tool/files/{name}": text for name, text in SCRIPTS.items()},
        "packets/Tool/files/notes.txt": "not an action\n",
        "packets/Tool/files/settings.conf": 'name = $instance.getAttribute("greeting")\n',
        "packets/Broken/packet.json": broken,
        "packets/Broken/files/bad.sh": "echo fine\necho $missing_reference\n",
        "packets/Broken/files/good.sh": "echo good\n",
        "roles/Shared/role.json": {"id": "role-1", "instances": [role_instance]},
        "environments/production/environment.json": {"id": ENVIRONMENT, "workflows": workflows},
        "environments/production/web/container.json": {"id": CONTAINER, "roles": [role], "instances": [instance]},
        "environments/production/db+one/container.json": {"id": OTHER_CONTAINER, "roles": [role], "instances": []},
        "environments/broken/environment.json": {
            "id": BROKEN_ENVIRONMENT,
            "workflows": [{"id": "wf-3", "name": "Nothing yet", "steps": []}],
        },
        "environments/broken/only/container.json": {
            "id": "con-broken",
            "roles": [],
            "instances": [{"id": BROKEN_INSTANCE, "packetId": "pac-broken", "packetPath": PATH}],
        },
    }
