"""What the documents say is true."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from infraxys.cli.main import app
from infraxys.server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "operate" / "settings.md").read_text()


def test_the_readme_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "./infraxys serve" in text
    assert "./infraxys test" in text


def test_documents_that_the_readme_names_exist() -> None:
    for name in re.findall(r"`(docs/[\w./-]+|[A-Z]+\.md)`", (ROOT / "README.md").read_text()):
        assert (ROOT / name).exists(), name


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    pages = [path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "decisions"]
    assert pages
    assert [str(page) for page in pages if f"`{page}`" not in text] == []


def commands(command: Any, *names: str) -> list[tuple[str, Any]]:
    """Give every command below one, with what people type."""
    if not hasattr(command, "commands"):
        return [(" ".join(names), command)]
    return [found for name, below in command.commands.items() for found in commands(below, *names, name)]


@pytest.mark.parametrize(("name", "command"), commands(typer.main.get_command(app)))
def test_every_command_has_an_example_in_its_help(name: str, command: Any) -> None:
    assert f"Example: infraxys {name}" in command.help.replace("\n", " ") or command.hidden, name


def test_the_lock_files_name_no_host() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in path.read_text()
    for path in (ROOT / "tests" / "plugins").glob("*/package-lock.json"):
        assert "resolved" not in path.read_text()
