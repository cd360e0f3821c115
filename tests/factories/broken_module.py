"""A module with fifty files of which each is broken in its own way, and where and how each one is."""

import json
from dataclasses import dataclass
from typing import Any

Position = tuple[int, int]
HERE = "@@"  # stands before the value, key or character at which the problem is expected


@dataclass(frozen=True)
class Broken:
    """A file's bytes and what is to be reported: its position (None: the whole file), code and severity."""

    data: bytes
    position: Position | None
    code: str
    severity: str = "error"


def broken_module() -> dict[str, Broken]:
    """Give the broken files by path. Each gives exactly one problem."""
    files = {**_broken_json(), **_broken_packets(), **_broken_environments(), **_broken_containers(), **_broken_roles()}
    assert len(files) == 50, len(files)
    return files


def _marked(text: str, code: str, severity: str = "error") -> Broken:
    """Take the mark out of a text; where it stood is where the problem is."""
    assert text.count(HERE) == 1, text
    before = text[: text.index(HERE)]
    position = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    return Broken(text.replace(HERE, "").encode(), position, code, severity)


def _written(value: Any, code: str, severity: str = "error") -> Broken:
    """Write a value as JSON; a key that is, or a value that begins with, the mark says where the problem is.

    `{"@@": x}` stands for the value x itself, at which the problem is.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    assert text.count(HERE) == 1, text
    return _marked(text.replace(f'"{HERE}', f'{HERE}"'), code, severity)


def _broken_json() -> dict[str, Broken]:
    deep = "[" * 100
    texts = {
        "empty": ("@@", "not_json"),
        "cut": ('{\n  "label": "x",\n  "files": [@@', "not_json"),
        "no-value": ('{\n  "label": @@}', "not_json"),
        "no-comma": ('{\n  "label": "x"\n  @@"type": "y"\n}', "not_json"),
        "comma-at-end": ('{\n  "label": "x"@@,\n}', "not_json"),
        "comma-in-list": ('{\n  "files": [{"filename": "a"}@@,]\n}', "not_json"),
        "comment": ('{\n  @@// a comment\n  "label": "x"\n}', "not_json"),
        "single-quotes": ("{\n  @@'label': 'x'\n}", "not_json"),
        "line-end": ('{\n  "label": "one@@\ntwo"\n}', "not_json"),
        "no-end-of-text": ('{\n  "ä": 1,\n  "label": @@"one\\"}', "not_json"),
        "more-behind": ('{"label": "x"}\n@@{"label": "y"}', "not_json"),
        "python": ('{\n  "autoExpand": @@True\n}', "not_json"),
        "nan": ('{\n  "label": "NaN",\n  "menuOrder": @@NaN\n}', "not_a_number"),
        "infinity": ('{\n  "x": [1, @@-Infinity]\n}', "not_a_number"),
        "overflow": ('{\n  "x": [1e5, @@1e400]\n}', "not_a_number"),
        "digits": ('{\n  "x": @@' + "1" * 5000 + "\n}", "not_a_number"),
        "duplicate-key": ('{\n  "a": {"label": "x"},\n  "label": "label",\n  @@"label": "y"\n}', "duplicate_key"),
        "deep": ('{"x": ' + deep.removesuffix("[") + "@@[" + "]" * 100 + "}", "too_deep"),
        "half-pair": ('{\n  "x": "\\ud83d\\ude00",\n  "label": "a@@\\ud800"\n}', "lone_surrogate"),
        "list": ("\n  @@[]", "wrong_type"),
    }
    files = {f"packets/{name}/packet.json": _marked(text, code) for name, (text, code) in texts.items()}
    files["packets/bom/packet.json"] = Broken(b'\xef\xbb\xbf{"label": "x"}', (1, 1), "byte_order_mark")
    files["packets/utf-16/packet.json"] = Broken('{"label": "x"}'.encode("utf-16"), (1, 1), "byte_order_mark")
    files["packets/latin/packet.json"] = Broken(b'{\n  "\xc3\xa4": "\xe9"\n}', (2, 9), "not_utf8")
    files["packets/large/packet.json"] = Broken(b" " * (5 * 2**20 + 1), None, "too_large")
    return files


def _broken_packets() -> dict[str, Broken]:
    def packet(**fields: Any) -> dict[str, Any]:
        return {"version": "1.0", "label": "x", **fields}

    def attribute(**fields: Any) -> dict[str, Any]:
        return packet(attributes=[{"name": "fine"}, {"name": "other", **fields}])

    def file(**fields: Any) -> dict[str, Any]:
        return packet(files=[{"filename": "run.sh", **fields}])

    warning = "warning"
    found = {
        "no-name": _marked('{\n  "attributes": [\n    @@{"caption": "x"}\n  ]\n}', "missing_field"),
        "type": _written(attribute(type="@@java.lang.Sting"), "unknown_value"),
        "scope": _written(attribute(scope="@@instance"), "unknown_value"),
        "save-with": _written(file(saveWith="@@CURENT INSTANCE"), "unknown_value"),
        "text-for-boolean": _written(attribute(required="@@true"), "wrong_type"),
        "text-for-number": _written(attribute(formOrder="@@1100"), "wrong_type"),
        "text-for-list": _written(packet(attributes="@@"), "wrong_type"),
        "number-for-text": _marked('{\n  "label": "x",\n  "type": @@7\n}', "wrong_type"),
        "list-for-object": _marked('{\n  "files": [{"filename": "a"}, @@[]]\n}', "wrong_type"),
        "time-out": _marked('{\n  "files": [{"filename": "a", "timeoutSeconds": @@0}]\n}', "out_of_range"),
        "nul": _written(attribute(defaultValue="@@a\0b"), "control_character"),
        "huge": _written(packet(infoHtml="@@" + "x" * 1_000_001), "wrong_length"),
        "exported": _written(packet(attributes=[{"name": "@@LD_PRELOAD"}]), "not_exportable", warning),
        "shell": _written(packet(attributes=[{"name": "@@a;rm -rf"}]), "not_exportable", warning),
        "twice": _written(attribute(name="@@fine"), "duplicate_name"),
        "misspelt": _marked('{\n  "label": "x",\n  "autoExpnd": @@true\n}', "unknown_field", warning),
    }
    return {f"packets/{name}/packet.json": broken for name, broken in found.items()}


def _broken_environments() -> dict[str, Broken]:
    step = {"containerId": "c", "instanceId": "i", "packetFileId": "f"}
    twice = [{"name": "one", "id": "w", "steps": []}, {"name": "two", "id": "@@w", "steps": []}]
    no_container = '{\n  "workflows": [{"name": "n", "id": "w", "steps": [\n    @@{"instanceId": "i"}\n  ]}]\n}'
    bad_path = [{"name": "n", "id": "w", "steps": [{**step, "moduleBranchPath": "@@somewhere"}]}]
    found = {
        "same-id": _written({"version": "1.0", "id": "e1", "workflows": twice}, "duplicate_id"),
        "no-container": _marked(no_container, "missing_field"),
        "bad-path": _written({"id": "e3", "workflows": bad_path}, "bad_path", "warning"),
    }
    return {f"environments/{name}/environment.json": broken for name, broken in found.items()}


def _broken_containers() -> dict[str, Broken]:
    def container(**instance: Any) -> dict[str, Any]:
        first = {"id": "i1", "packetId": "p"}
        return {"version": "1.0", "id": "c", "roles": [], "instances": [{**first, "instances": [instance]}]}

    found = {
        "same-id": _written(container(id="@@i1", packetId="p"), "duplicate_id"),
        "value": _marked(
            '{\n  "instances": [{"id": "i", "packetId": "p",\n    "attributes": [{"name": "a", "value": @@{}}]}]\n}',
            "wrong_type",
        ),
        "legacy": _marked(
            '{\n  "instances": [\n    {"guid": @@3, "packetGuid": "h\\\\o\\\\r\\\\b\\\\p"}]\n}', "wrong_type"
        ),
    }
    return {f"environments/same-id/{name}/container.json": broken for name, broken in found.items()}


def _broken_roles() -> dict[str, Broken]:
    found = {
        "no-packet": _marked('{\n  "id": "r1",\n  "instances": [\n    @@{"id": "i"}\n  ]\n}', "missing_field"),
        "bad-name": _written(
            {"id": "r2", "instances": [{"id": "i", "packetId": "p", "velocityName": "@@1 x"}]},
            "bad_velocity_name",
            "warning",
        ),
        "no-line": _written({"id": "r3", "instances": [{"id": "@@a\nb", "packetId": "p"}]}, "control_character"),
    }
    files = {f"roles/{name}/role.json": broken for name, broken in found.items()}
    files["module.json"] = _marked('{\n  "dependencies": [\n    @@{"branch": "master"}\n  ]\n}', "missing_field")
    return files
