"""JSON Schemas of the files, for editors and for other programs. They describe the new format, not the legacy one."""

from typing import Any

from infraxys.spec.models import Container, Environment, Model, ModuleFile, Packet, Role

FORMATS: dict[str, type[Model]] = {
    "packet.json": Packet,
    "role.json": Role,
    "container.json": Container,
    "environment.json": Environment,
    "module.json": ModuleFile,
}


def schemas() -> dict[str, dict[str, Any]]:
    """Give the schema of each kind of file by the file's name."""
    return {
        name: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **model.model_json_schema(by_alias=True),
            "title": name,
        }
        for name, model in FORMATS.items()
    }
