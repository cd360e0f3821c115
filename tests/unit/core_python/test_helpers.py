"""The log, programs and folders, what the run was given, and who started it."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from factories.core_python import Server, module


class TestLogger:
    def logger(self) -> Any:
        return module("logger").Logger.get_logger("tag")

    @pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "error"])
    def test_lines_have_moment_host_level_user_and_tag(self, server: Server, level: str) -> None:
        getattr(self.logger(), level)("50 % é")
        pattern = r"\[\d\d-\d\d-\d{4} \d\d:\d\d:\d\d,\d{4}\] \[[^]]+\] \[([A-Z ]{5})\] \[\w+\] \[tag\] 50 % é\n"
        match = re.fullmatch(pattern, server.said)
        assert match
        assert match[1].strip() == level.upper()

    def test_a_line_can_stay_open(self, server: Server) -> None:
        self.logger().info("a", new_line=False)
        self.logger().print_dot()
        assert server.said.endswith("] a.")

    def test_fatal_ends_the_action_unless_it_is_told_not_to(self, server: Server) -> None:
        self.logger().fatal("one", exit_on_error=False)
        with pytest.raises(SystemExit) as ended:
            self.logger().fatal("two", exit_code=7)
        assert ended.value.code == 7
        assert server.said.count("[FATAL]") == 2

    def test_an_object_is_shown(self, server: Server) -> None:
        self.logger().print_object(module("json.instance_reference").InstanceReference("m", "c", "i"))
        assert "'container_id': 'c'" in server.said

    def test_what_is_audited_is_on_record(self, server: Server) -> None:
        server.answers = ["SUCCESS"] * 5
        logger = module("logger").Logger.get_logger("tag", ticket="T-1")
        logger.audit("said", audit_json={"a": 1})
        logger.audit_action_start("go", {"b": 2})
        logger.audit_action_complete("go")
        logger.audit_action("go")
        logger.audit_json({"c": 3})
        assert {request.verb for request in server.requests} == {"SYSTEM/AUDIT"}
        assert [request.fields["json"] for request in server.requests] == [
            {"a": 1, "ticket": "T-1", "message": "said"},
            {"b": 2, "label": "go", "status": "start"},
            {"label": "go", "status": "complete"},
            {"label": "go"},
            {"c": 3},
        ]


class TestSystem:
    def test_a_program_gives_status_output_and_errors(self, server: Server, tmp_path: Path) -> None:
        run = module("os_utils").OsUtils.run_command
        (tmp_path / "a b").write_text("")
        assert run("ls", workdir=str(tmp_path)) == (0, "a b\n", "")
        fails = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.exit('no')"
        assert run(f"{sys.executable} -c", fails, string_for_stdin="in") == (1, "[] in\n", "no\n")
        assert run(f"{sys.executable} -c", fails, log_command=False)[1] == "[] \n"
        assert run("ls /nowhere", hide_stderr=True)[1:] == ("", "")
        assert run("echo 'x  y'", hide_stdout=True) == (0, "", "")
        assert run("echo 'x  y'")[1] == "'x y'\n"
        assert server.said.count("command_line: ") == 5
        assert "sys.exit" not in server.said

    def test_a_program_that_fails_can_end_the_action(self, server: Server) -> None:
        with pytest.raises(SystemExit) as ended:
            module("os_utils").OsUtils.run_command("ls /nowhere", exit_on_error=True)
        assert ended.value.code == 1
        assert "[ERROR]" in server.said
        assert "/nowhere" in server.said

    def test_a_command_for_another_host_is_one_word_for_ssh(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "ssh").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
        (tmp_path / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        run = module("os_utils").OsUtils.run_command_over_ssh
        assert run("web-1", "ls -l; id")[1] == "-k|web-1|ls -l; id|"

    def test_folders_are_made_once(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        ensure = module("os_utils").OsUtils.ensure_dir
        ensure(str(tmp_path / "a"), "b")
        ensure(str(tmp_path / "a" / "b"))
        assert (tmp_path / "a" / "b").is_dir()
        (tmp_path / "file").write_text("")
        ensure(str(tmp_path / "file" / "x"), exit_on_error=False)
        with pytest.raises(SystemExit):
            ensure(str(tmp_path / "file" / "x"))
        assert capfd.readouterr().err.count("Not a directory") == 2


class TestRun:
    def test_the_argument_is_json_of_any_kind(self, root: Path) -> None:
        library = module()
        assert library.get_argument("none") == "none"
        file = root / "system" / "custom" / "arguments.json"
        for value in ({"é": [1, None, {"x": "\u2028</FEEDBACK>\n"}]}, [], 0, "text", False):
            file.write_text(json.dumps(value, ensure_ascii=False))
            assert library.get_argument() == value
        file.write_text("null")
        assert library.get_argument("default") is None
        file.write_text("")
        assert library.get_argument("default") == "default"

    def test_a_deep_argument_is_read_or_told_to_be_too_deep(self, root: Path) -> None:
        file = root / "system" / "custom" / "arguments.json"
        file.write_text("[" * 200 + "]" * 200)
        assert json.dumps(module("run").get_argument()) == "[" * 200 + "]" * 200
        file.write_text("[" * 100_000 + "]" * 100_000)
        with pytest.raises(RecursionError):
            module("run").get_argument()

    def test_variables_are_files_or_exported(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / "variables" / "KEY").write_text("a\n")
        (root / "variables" / "NETRC").mkdir()
        (root / "variables" / "NETRC" / "one").write_text("b")
        monkeypatch.setenv("EXPORTED", "c")
        get = module().get_variable
        assert (get("KEY"), get("one", "NETRC"), get("one", type="NETRC"), get("EXPORTED")) == ("a\n", "b", "b", "c")
        with pytest.raises(module("exceptions").NotFoundException, match="there is no variable 'NETRC/two'"):
            get("two", "NETRC")

    def test_attributes_and_whether_somebody_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("colour", "blue")
        monkeypatch.delenv("INTERACTIVE", raising=False)
        library = module()
        assert (library.get_attribute("colour"), library.get_attribute("none", "x")) == ("blue", "x")
        assert not library.is_interactive()
        monkeypatch.setenv("INTERACTIVE", "true")
        assert library.is_interactive()
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = library.nothing

    def test_who_started_it(self, root: Path) -> None:
        user = {"username": "ann", "full_name": "Ann", "grants": ["deploy"], "teams": ["web"], "projects": ["Shop"]}
        file = root / "system" / "current_user.json"
        file.write_text(json.dumps(user))
        found = module("model.current_user").CurrentUser()
        assert (found.username, found.full_name, found.get_projects()) == ("ann", "Ann", ["Shop"])
        assert [found.has_grant(grant) for grant in ("deploy", "remove", "")] == [True, False, False]
        assert (found.has_team("web"), found.has_team("db")) == (True, False)
        file.write_text(json.dumps({**user, "grants": ["*"]}))
        found = module("model.current_user").CurrentUser()
        assert (found.has_grant("anything"), found.has_grant("")) == (True, False)


class TestFiles:
    def test_items_are_found(self, tmp_path: Path) -> None:
        items = [{"name": "Ann", "team": "web"}, {"name": "bob", "team": "web"}]
        (tmp_path / "f.json").write_text(json.dumps({"rows": items, "é": 1}))
        file = module("json.json_file").JsonFile(str(tmp_path / "f.json"), items_attribute="rows")
        assert file.get_attribute("é") == 1
        assert file.get_all_items() == file.get_items("team", "web") == items
        assert file.get_item("name", "ANN") is None
        assert file.get_item("name", "ANN", case_sensitive=False) == items[0]
        assert file.get_items("name", "bob", {"rows": []}) == []
        assert file.get_items("name", "bob", {"more": items}, "more") == [items[1]]
        utils = module("json.json_utils").JsonUtils
        assert utils.get_item_from_array([{}, *items], "name", "bob") == items[1]
        assert utils.get_item_from_array([], "name", "bob") is None
        assert utils.get_instance() is utils.get_instance()

    def test_references_are_known_by_name(self, tmp_path: Path) -> None:
        place = {"moduleBranchPath": "h\\o\\r\\b", "containerId": "c", "instanceId": "i"}
        (tmp_path / "f.json").write_text(json.dumps({"one": {**place, "environmentId": "e"}, "two": place}))
        references = module("json.instance_references").InstanceReferences
        references.load(str(tmp_path / "f.json"))
        one, two = references.get_instance_reference("one"), references.get_instance_reference("two")
        assert one.to_rest_get_json() == {**place, "environmentId": "e"}
        assert (two.environment_id, two.name) == (None, "two")
        assert references.get_instance_reference("three") is None


def test_exceptions_say_what_happened() -> None:
    exceptions = module("exceptions")
    for name in ("BaseException", "UnauthorizedException", "BadRequestException", "NotFoundException"):
        kind = getattr(exceptions, name)
        assert issubclass(kind, exceptions.BaseException)
        assert (str(kind()), str(kind("why")), kind("why").label) == (name, f"{name}: why", "why")
