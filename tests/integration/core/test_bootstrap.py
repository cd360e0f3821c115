"""What happens before an action, in which order, and what is said when it fails."""

import os
from pathlib import Path
from typing import Any

import pytest

from factories.bootstrap import Bootstrap, put

SAY = 'echo "{} ${{PWD##*/}}"\n'


@pytest.fixture
def bootstrap(tmp_path: Path) -> Bootstrap:
    return Bootstrap(tmp_path)


class TestOrder:
    def test_everything_runs_in_its_order_and_its_folder(self, bootstrap: Bootstrap) -> None:
        for path, number in (("host/org/one/main", "020"), ("host/org/two/feature/x", "005")):
            name = path.split("/")[2]
            files = {
                f"{kind}{number}.sh": SAY.format(f"{kind}{number} {name}")
                for kind in ("init.", "after_modules_enabled.")
            }
            files |= {
                f"auto-source/{number}.sh": SAY.format(f"source {number} {name}"),
                "other.sh": "exit 3",
                "sub/init.1.sh": "exit 4",
            }
            bootstrap.module(path, files)
        bootstrap.module("host/org/three/main", {"init.010.sh": '[[ -d ~/.ssh/keys ]] && echo "same number"'})
        files: dict[str, str | bytes] = {
            "run.sh": SAY.format("action"),
            "init_instance1_x.sh": SAY.format("instance 1"),
            "init_instance.sh": SAY.format("instance"),
            "after_modules_enabled.a.sh": SAY.format("last a"),
            "after_modules_enabled.b": "#!/usr/bin/env python3\nimport os\nprint('last b', os.getcwd()[-8:])",
            "/environment.auto/b.sh": SAY.format("environment b"),
            "/environment.auto/a.sh": SAY.format("environment a"),
            "/web/container.auto/a.sh": SAY.format("container a"),
        }
        ended = bootstrap.lay_out(files).run()
        assert (ended.stderr, ended.returncode) == ("", 0)
        assert ended.stdout.splitlines() == [
            "environment a server_1",
            "environment b server_1",
            "container a server_1",
            "instance server_1",
            "instance 1 server_1",
            "init.005 two x",
            "same number",
            "init.020 one main",
            "source 005 two x",
            "source 020 one main",
            "after_modules_enabled.005 two x",
            "after_modules_enabled.020 one main",
            "last a server_1",
            "last b server_1",
            "action server_1",
        ]

    def test_functions_and_variables_of_modules_reach_the_action(self, bootstrap: Bootstrap) -> None:
        module = {
            "auto-source/lib.sh": 'declare -A table=([a]=1); plain=2; export three=3; greet() { echo "hi $1"; }',
            "auto-source/own.sh": "trim() { echo mine; }",
            "init.py": "#!/usr/bin/env python3\nopen('/dev/stdout', 'w').write('python\\n')\n",
            "init.plain": "from_plain=4\n",
        }
        bootstrap.module("host/org/one/main", module)
        ended = bootstrap.lay_out({"run.sh": 'greet you; trim x; echo "${table[a]} $plain $three $from_plain"'}).run()
        assert ended.stdout == "python\nhi you\nmine\n1 2 3 4\n", ended

    def test_functions_are_there_where_no_module_is(self, bootstrap: Bootstrap) -> None:
        script = """
            declare -F import_args; function_exists ask_yes_no; type -t show_json_form
            trim() { echo mine; }; local_() { local a; import_args "$@"; echo "$a"; }; local_ --a b; trim x
            declare -f log_info | grep -c log_text; echo "${#enabled_modules[@]} $default_ssh_options" | cut -c 1-7
            export -f log_info log_text; bash -c 'log_info there' | grep -o there
            echo $(replace_spaces --text "a b" --replace_with -)
        """
        ended = bootstrap.lay_out({"run.sh": script}).run()
        assert ended.stdout.splitlines() == [
            "import_args", "true", "function", "b", "mine", "1", "0 -o St", "there", "a-b",
        ]  # fmt: skip

    def test_what_the_action_sees_of_itself(self, bootstrap: Bootstrap) -> None:
        script = 'echo "$0 ${BASH_SOURCE[0]} $initial_script_name $# $- $SHELLOPTS"; [[ $INITIAL_PID == $$ ]]'
        ended = bootstrap.lay_out({"run.sh": script}).run()
        name, source, file, count, flags, options = ended.stdout.splitlines()[0].split()
        assert (name, source, file, count) == ("bash", "./run.sh", "run.sh", "0")
        assert "e" in flags
        assert "pipefail" in options

    def test_a_quick_runner_gets_nothing_prepared(self, bootstrap: Bootstrap) -> None:
        bootstrap.module("host/org/one/main", {"init.sh": "echo no"})
        files: dict[str, str | bytes] = {
            "run.sh": 'echo "$RUN_GUID $INSTANCE_GUID [$colour]"; type -t log_info || echo none',
            "init_instance.sh": "echo no",
            "after_modules_enabled.sh": "echo no",
            "a.auto_properties": "colour=blue\n",
            "/environment.auto/a.sh": "echo no",
        }
        ended = bootstrap.lay_out(files, attributes={"colour": "red"}, is_quick=True).run()
        assert (ended.stdout, ended.returncode) == ("run-1 i []\nnone\n", 0)

    def test_a_module_that_is_not_here_is_named(self, bootstrap: Bootstrap) -> None:
        folder = bootstrap.module("host/org/gone/main", {"a": ""})
        (folder / "a").unlink()
        folder.rmdir()
        ended = bootstrap.lay_out({"run.sh": "echo no"}).run()
        assert (ended.stdout, ended.returncode) == ("", 1)
        assert ended.stderr == "module host/org/gone/main is enabled for this action but is not here\n"

    def test_programs_of_caches_come_first(self, bootstrap: Bootstrap) -> None:
        bootstrap.lay_out({"run.sh": 'echo "$PATH"'})
        for name in ("bootstrap.sh", "bash/path.sh"):
            file = bootstrap.root / "core" / name
            file.write_text(file.read_text().replace("/cache", str(bootstrap.root / "cache")))
        for name in ("b", "a", "c"):
            (bootstrap.root / "cache" / "projects" / name / ("bin" if name != "c" else "lib")).mkdir(parents=True)
        (bootstrap.root / "cache" / "project").mkdir()
        cache = f"{bootstrap.root}/cache"
        expected = f"{cache}/project/bin:{cache}/projects/a/bin:{cache}/projects/b/bin:{os.environ['PATH']}"
        assert bootstrap.run().stdout == f"{expected}:{bootstrap.root}/core/bin\n"
        assert (bootstrap.root / "cache" / "project" / "bin").is_dir()

    @pytest.mark.parametrize("name", ["python", "python3.7"])
    def test_scripts_for_an_old_python_find_the_one_that_is_there(self, bootstrap: Bootstrap, name: str) -> None:
        script = f"#!/usr/bin/env {name}\nimport sys\nprint(sys.version_info >= (3, 7), sys.argv[1:])\n"
        bootstrap.lay_out({"run.py": script, "run.sh": './run.py "a b"'})
        assert bootstrap.run().stdout == "True ['a b']\n"

    def test_a_python_of_that_name_counts_first(self, bootstrap: Bootstrap) -> None:
        put(bootstrap.root / "bin", {"python3.7": "#!/bin/sh\necho the real one\n"})
        bootstrap.lay_out({"run.sh": "python3.7 x"})
        assert bootstrap.run(PATH=f"{bootstrap.root}/bin:{os.environ['PATH']}").stdout == "the real one\n"

    def test_the_configuration_in_the_projects_cache_is_taken_over(self, bootstrap: Bootstrap) -> None:
        script = "activate_cached_project_ssh_config; cat ~/.ssh/keys/* ~/.ssh/generated.d/*; stat -c %a ~/.ssh/keys/k"
        bootstrap.lay_out({"run.sh": script})
        ssh = bootstrap.root / "core" / "bash" / "ssh.sh"
        ssh.write_text(ssh.read_text().replace("/cache", str(bootstrap.root / "cache")))
        put(bootstrap.root / "cache" / "project" / ".ssh", {"keys/k": "KEY\n", "config.d/a": "Host a\n"})
        assert bootstrap.run().stdout == "KEY\nHost a\n400\n"


class TestVariables:
    def test_the_nearest_wins_and_overrides_win_over_all(self, bootstrap: Bootstrap) -> None:
        files: dict[str, str | bytes] = {
            "/environment.auto/x.auto_properties": "".join(f"{name}=environment\n" for name in "abcde"),
            "/web/container.auto/x.auto_properties": "b=container\nc=container\nd=container\ne=container\n",
            "x.auto_properties": "c=instance\nd=instance\ne=instance\n",
            "init_instance.sh": "f=from-init\n",
            "run.sh": 'echo "$a $b $c $d $e [$some_name] $f"; bash -c \'echo "$e"\'; echo "$*"; printf "%s|" "$@"',
        }
        overrides = {"e": "over ride", "Some-Name": 'it\'s "x"\nline \\ two'}
        ended = bootstrap.lay_out(files, attributes={"d": "attribute", "e": "attribute"}, overrides=overrides).run()
        said = 'environment container instance attribute over ride [it\'s "x"\nline \\ two] from-init\nover ride\n'
        words = ["--e", "over ride", "--Some-Name", 'it\'s "x"\nline \\ two']
        assert ended.stdout == f"{said}{' '.join(words)}\n{'|'.join(words)}|", ended

    def test_overrides_are_in_a_file_of_properties_as_well(self, bootstrap: Bootstrap) -> None:
        bootstrap.lay_out(
            {"run.sh": 'export_file $INFRAXYS_ROOT/run_overrides/override.auto_properties; echo "$v"'},
            overrides={"v": "--a\\b\nc"},
        )
        assert bootstrap.run().stdout == "--a\\b\nc\n"

    @pytest.mark.parametrize("first", ["export a=1", "a=$(echo 1)", 'a="$(echo 1)"'])
    def test_properties_that_are_a_script_are_executed(self, bootstrap: Bootstrap, first: str) -> None:
        properties = f'# ours\n{first}\nif true; then b="$a 2"; fi\n'
        is_script = first != "a=$(echo 1)"
        script = "bash -c 'echo \"$a $b\"'"
        ended = bootstrap.lay_out({"run.sh": script, "x.auto_properties": properties}).run()
        assert (ended.returncode, ended.stdout) == ((0, "1 1 2\n") if is_script else (1, ""))

    def test_attributes_are_exported_byte_for_byte(self, bootstrap: Bootstrap) -> None:
        values = {
            "one": 'it\'s "quoted" $HOME `id` \\ \n\ttwo  \n',
            "two": "",
            "three": "é😀*\x01\x7f",
            "four": "-n",
            "five": "\n\n",
        }
        script = (
            "python3 -c 'import os, sys\nfor name in sys.argv[1:]: sys.stdout.buffer.write(os.environb[name.encode()]"
            " + bytes(1))' " + " ".join(values)
        )
        ended = bootstrap.lay_out({"run.sh": script}, attributes=values).run()
        assert ended.stdout.split("\0")[:-1] == list(values.values())

    def test_an_attribute_does_not_take_the_place_of_a_variable_of_the_run(self, bootstrap: Bootstrap) -> None:
        ended = bootstrap.lay_out(
            {"run.sh": "echo $PACKET_GUID $project_name"},
            attributes={"PACKET_GUID": "other", "project_name": "other"},
            project_name="Shop",
        ).run()
        assert ended.stdout == "p Shop\n"

    def test_the_variables_of_a_run_are_there_for_programs(self, bootstrap: Bootstrap) -> None:
        names = (
            "APPLICATION_USER INTERACTIVE WORKFLOW RUN_GUID INFRAXYS_ROOT MODULES_ROOT ENVIRONMENTS_ROOT "
            "ENVIRONMENT_DIR INSTANCE_DIR PACKET_GUID INSTANCE_GUID "
            "thread_number THREAD_NUMBER provisioning_server action_label "
            "infraxys_request_url INFRAXYS_REST_ENDPOINT ON_PROVISIONING_SERVER INITIAL_PID EXECUTING_PIPELINE "
            "TARGET_INSTANCE_DIR TARGET_MODULES_ROOT target_provisioning_root target_files_root target_directory "
            "local_file_directory LOG_TRACE project_name initial_script_name GIT_SSH_COMMAND default_module_dir"
        )
        bootstrap.module("host/org/one/main", {"a": ""})
        script = f'#!/bin/sh\nfor name in {names}; do eval "v=\\$$name"; [ "$v" ] || echo $name; done\n'
        script += "echo $infraxys_request_url"
        ended = bootstrap.lay_out(
            {"run": script}, action="run", workflow_name="w", rest_endpoint="https://x/api/v1", project_name="Shop"
        ).run("run")
        assert ended.stdout == "https://x\n", ended


class TestPrompts:
    """Of `read -p`, where no terminal is there to show them."""

    def said(self, bootstrap: Bootstrap, script: str, answers: str = "yes\nno\n", **run: Any) -> tuple[str, str]:
        ended = bootstrap.lay_out({"run.sh": script}, **run).run(answers=answers)
        return ended.stdout, ended.stderr

    @pytest.mark.parametrize(
        "arguments", ["-p 'Sure? ' a b", "-rp 'Sure? ' a b", "-p'Sure? ' a b", "-d $'\\n' -rs -t 5 -p 'Sure? ' a b"]
    )
    def test_are_shown_to_whoever_is_to_answer(self, bootstrap: Bootstrap, arguments: str) -> None:
        script = f'read {arguments}; echo "$a-$b"; read c; echo "$c"; read -p x || echo "$?"'
        assert self.said(bootstrap, script, "yes on\nno\n", is_interactive=True) == ("yes-on\nno\n1\n", "Sure? x")

    def test_are_not_shown_where_nobody_is(self, bootstrap: Bootstrap) -> None:
        assert self.said(bootstrap, "read -p 'Sure? ' a; echo $a", is_interactive=False) == ("yes\n", "")


class TestFailures:
    @pytest.mark.parametrize(
        ("script", "said", "status"),
        [
            ("echo one\nfalse\n", "run.sh: line 2: 'false' failed with exit status 1\n", 1),
            (
                "f() {\n  (exit 9)\n}\n\nf x\n",
                "run.sh: line 2 (in f, called from run.sh: line 5): '( exit 9 )' failed with exit status 9\n",
                9,
            ),
            ("false |\n true\n", "run.sh: line 2: 'true' failed with exit status 1\n", 1),
            ("x=$(exit 5)\n", "run.sh: line 1: 'x=$(exit 5)' failed with exit status 5\n", 5),
            ("exit 3", "", 3),
            ("f() { exit 3; }\nf", "", 3),
            ("return 4", "", 4),
            ("set +e\nfalse\ntrue\n(exit 6)\n", "run.sh: line 4: '( exit 6 )' failed with exit status 6\n", 6),
            ("set +e\nfalse\ntrue\n", "", 0),
            ("if false; then :; fi; false || true; ! true; (false) || echo x", "", 0),
            ("echo 'exit 7' >lib; . ./lib", "lib: line 1: ended the action with exit status 7\n", 7),
            ("trap 'echo cleaned' EXIT\nfalse", "run.sh: line 2: 'false' failed with exit status 1\n", 1),
            ("trap 'echo \"user $?\"' ERR\nfalse", "run.sh: ended with exit status 1\n", 1),
            (
                "\n\ncheck_required_arguments f nope",
                "Argument 'nope' is required for function 'f'.\nrun.sh: line 3: ended the action with exit status 1\n",
                1,
            ),
            ("set -u\n\necho $nope", "./run.sh: line 3: nope: unbound variable\nrun.sh: ended with exit status 1\n", 1),
            ("kill -TERM $$; sleep 1", "", -15),
            ("exec false", "", 1),
        ],
    )
    def test_the_action_keeps_its_status_and_the_place_is_said(
        self, bootstrap: Bootstrap, script: str, said: str, status: int
    ) -> None:
        ended = bootstrap.lay_out({"run.sh": script}).run()
        assert ended.returncode == status
        assert ended.stderr.endswith(said)
        assert said or not ended.stderr

    @pytest.mark.parametrize("is_module", [False, True])
    def test_lines_that_end_as_on_windows_are_named(self, bootstrap: Bootstrap, is_module: bool) -> None:  # noqa: FBT001 - a parameter of the test
        name, text = "run.sh", "echo a\r\ncd /\nif true; then\r\n echo b\r\nfi\r\n"
        if is_module:
            name = "host/org/one/main/init.sh"
            bootstrap.module("host/org/one/main", {"init.sh": text})
        ended = bootstrap.lay_out({"run.sh": "echo no" if is_module else text}).run()
        assert ended.stderr.endswith(f"{name}: its lines end as on Windows (CR LF); save the file with LF line ends\n")

    def test_a_script_that_is_none_is_told_by_the_shell(self, bootstrap: Bootstrap) -> None:
        ended = bootstrap.lay_out({"run.sh": "echo a\nif true\n"}).run()
        assert ended.returncode == 2
        assert ended.stderr.startswith("./run.sh: line 3: syntax error")
        assert "bootstrap" not in ended.stderr

    @pytest.mark.parametrize(
        ("file", "script", "said", "status"),
        [
            (
                "init.001.sh",
                "echo\nfalse",
                "host/org/one/main/init.001.sh: line 2: 'false' failed with exit status 1\n",
                1,
            ),
            (
                "init.001.sh",
                "\nexit 3",
                "host/org/one/main/init.001.sh: line 2: exit status 3, so run.sh was not started\n",
                3,
            ),
            (
                "init.001.sh",
                "exit 0",
                "host/org/one/main/init.001.sh: line 1: exit status 0, so run.sh was not started\n",
                0,
            ),
            (
                "auto-source/a.sh",
                "f() { return 4; }\nf || return 5",
                "host/org/one/main/auto-source/a.sh: ended with status 5, so run.sh was not started\n",
                5,
            ),
            (
                "after_modules_enabled.a.sh",
                "log_fatal over",
                "r\nhost/org/one/main/after_modules_enabled.a.sh: line 1: exit status 1, so run.sh was not started\n",
                1,
            ),
            ("init.001.sh", "fi", "host/org/one/main/init.001.sh: ended with status 2, so run.sh was not started\n", 2),
            (
                "init.001",
                "#!/usr/bin/env python3\nraise SystemExit(8)\n",
                "host/org/one/main/init.001: ended with status 8, so run.sh was not started\n",
                8,
            ),
            (
                "init.001.sh",
                "\ntrap 'echo mine' EXIT; nosuchcommand",
                "host/org/one/main/init.001.sh: line 2: 'nosuchcommand' failed with exit status 127\n",
                127,
            ),
        ],
    )
    def test_a_failing_preparation_keeps_the_action_from_starting(
        self, bootstrap: Bootstrap, file: str, script: str, said: str, status: int
    ) -> None:
        bootstrap.module("host/org/one/main", {file: script})
        ended = bootstrap.lay_out({"run.sh": "echo started"}).run()
        assert "started" not in ended.stdout
        assert ended.stderr.endswith(said)
        assert ended.returncode == status

    def test_traps_that_a_module_has_taken_away_are_there_for_the_action(self, bootstrap: Bootstrap) -> None:
        bootstrap.module(
            "host/org/one/main",
            {"init.sh": "trap - ERR EXIT; set +e; set -e; IFS=,; set -f; shopt -s nullglob nocasematch"},
        )
        ended = bootstrap.lay_out({"run.sh": "\nfalse", "after_modules_enabled.sh": "echo after"}).run()
        assert (ended.stdout, ended.stderr) == ("after\n", "run.sh: line 2: 'false' failed with exit status 1\n")

    def test_a_function_of_a_module_is_named_where_it_failed(self, bootstrap: Bootstrap) -> None:
        bootstrap.module("host/org/one/main", {"auto-source/lib.sh": "\ndeploy() {\n  cat nope\n}\n"})
        ended = bootstrap.lay_out({"run.sh": "\n\ndeploy"}).run()
        assert ended.stderr.endswith(
            "host/org/one/main/auto-source/lib.sh: line 3 (in deploy, called from run.sh: line 3): "
            "'cat nope' failed with exit status 1\n"
        )

    def test_a_bad_property_names_file_and_line(self, bootstrap: Bootstrap) -> None:
        ended = bootstrap.lay_out({"run.sh": "echo started", "x.auto_properties": "a=1\na b=2\n"}).run()
        assert ended.returncode == 1
        assert "server_1/x.auto_properties: line 2: 'a b' cannot be the name of a variable" in ended.stderr
