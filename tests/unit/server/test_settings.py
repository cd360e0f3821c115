"""Where settings come from, and that each is documented."""

import inspect
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from infraxys.cli.server_commands import serve
from infraxys.server.settings import Settings

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "operate" / "settings.md"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"INFRAXYS_{name.upper()}", raising=False)
    monkeypatch.delenv("INFRAXYS_CONFIG", raising=False)


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(Settings.model_fields)


def test_every_option_of_the_server_is_a_setting() -> None:
    assert set(inspect.signature(serve).parameters) <= set(Settings.model_fields)


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "infraxys.toml"
    file.write_text('port = 1\ngrace = 1\nlog_level = "error"\n')
    monkeypatch.setenv("INFRAXYS_CONFIG", str(file))
    monkeypatch.setenv("INFRAXYS_PORT", "2")
    monkeypatch.setenv("INFRAXYS_GRACE", "2")
    settings = Settings(port=3)
    assert (settings.port, settings.grace, settings.log_level) == (3, 2, "error")


def test_a_name_in_the_file_that_nobody_knows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "infraxys.toml"
    file.write_text("prot = 1\n")
    monkeypatch.setenv("INFRAXYS_CONFIG", str(file))
    with pytest.raises(ValidationError, match="prot"):
        Settings()


def test_a_file_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFRAXYS_CONFIG", "/nonexistent/infraxys.toml")
    with pytest.raises(FileNotFoundError, match="INFRAXYS_CONFIG"):
        Settings()


def test_a_file_that_is_not_toml_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "infraxys.toml"
    file.write_text("port =\n")
    monkeypatch.setenv("INFRAXYS_CONFIG", str(file))
    with pytest.raises(ValueError, match=r"infraxys\.toml' is not TOML: .*line 1"):
        Settings()


def test_the_home_folder_may_be_written_as_a_shell_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("INFRAXYS_DATA_DIR", "~/infraxys")
    settings = Settings()
    assert settings.data_dir == Path("/home/ada/infraxys")
    assert settings.database == "sqlite:////home/ada/infraxys/db/infraxys.db"


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 65536},
        {"slots": 0},
        {"mode": "open"},
        {"grace": -1},
        {"body_limit": 1},
        {"backend": "none"},
        {"git_schemes": "ext"},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_server_mode_accepts_fewer_kinds_of_url() -> None:
    assert Settings(mode="server").schemes == ("https", "ssh")
    assert "file" in Settings().schemes
    assert Settings(git_schemes=" https , file,").schemes == ("https", "file")
