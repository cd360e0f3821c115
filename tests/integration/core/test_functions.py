"""Each function of the core library, as a module calls it. All cases run in one shell, each in a subshell."""

import json
import re
from pathlib import Path

import pytest

from factories.bootstrap import Bootstrap

HEAD = r"\[\d\d-\d\d-\d{4} \d\d:\d\d:\d\d,\d{4}\] \[[^]]+\] "
# name: (script, what it says on both streams, status). "…" in what it says stands for the head of a log line.
CASES: dict[str, tuple[str, str, int]] = {
    # -- arguments --
    "import_args": (
        'f() { local a_b=1 c=2 d=3; import_args "$@"; echo "$a_b|$c|$d"; }; f --A-b "x y" --c one two --d; f --a_b "" --c=k=v',
        "x y|one two|3\n|k=v|3\n",
        0,
    ),
    "import_args_exports": ("import_args --colour blue; bash -c 'echo $colour'", "blue\n", 0),
    "import_args_keeps_what_shells_would_expand": ("import_args --v '*$(id)`id` \\n'; printf '%s' \"$v\"", "*$(id)`id` \\n", 0),
    "import_args_refuses_what_is_no_name": ("import_args '--a.b' 1", "…[ERROR] [root] Argument '--a.b' cannot be a variable: letters, digits, - and _ only.\n", 1),
    "import_args_into_file": ("import_args_into_file f --One 1 --two 'a b'; cat f", "one=1\ntwo=a b\n", 0),
    "check_required_argument": ("a=1; check_required_argument f a; check_required_argument f none a; check_required_argument f b c", "…[ERROR] [root] Argument 'b' or 'c' is required for 'f'.\n", 1),
    "check_required_arguments": ("a=1; check_required_arguments f a; check_required_arguments f a b; echo on", "…[ERROR] [root] Argument 'b' is required for function 'f'.\n", 1),
    "check_required_variable": ("check_required_variable --variable_name nope --default_value x; check_required_variable --variable_name nope --or_variable_name HOME; check_required_variable --variable_name nope", "…[ERROR] [root] Required variable 'nope' is not set and no default value is specified. \n", 1),
    "check_required_variables": ("check_required_variables HOME PATH; check_required_variables HOME nope", "…[ERROR] [root] Required variable 'nope' is not set and no default value is specified. \n", 1),
    "check_required_file": ("touch f; check_required_file --filename f; check_required_file --filename g", "…[ERROR] [root] Required file is missing: 'g'\n", 1),
    "get_variable_by_name": ("a=x; get_variable_by_name --variable_name a; get_variable_by_name --variable_name b --default_value y", "x\ny\n", 0),
    "get_value_for_var": ("a=x; get_value_for_var --source_variable_name a --source_value x --target_value yes --default_value no; get_value_for_var --source_variable_name a --source_value z --target_value yes --default_value no", "yes\nno\n", 0),
    "set_value_for_var": ("a=x b=1; set_value_for_var --source_variable a --source_value x --target_variable b --target_value '2; $(id)'; echo \"$b\"", "2; $(id)\n", 0),
    "nvl2": ("a=x; nvl2 --variable_name a --value_if_not_empty full --value_if_empty empty; nvl2 --variable_name b --value_if_not_empty full --value_if_empty empty", "full\nempty\n", 0),
    "trim": ("trim '  a b  '; trim ''; trim '   '", "a b\n\n\n", 0),
    "replace_spaces": ("replace_spaces --text 'a  b c' --replace_with ','", "a,b,c\n", 0),
    "is_url": ("is_url --uri https://x; is_url --uri ftp://x", "true\nfalse\n", 0),
    # -- logging --
    "log_levels": ("log_debug d; log_info i; log_warn w; log_error e; log_text OTHER o; log_trace t", "…[DEBUG] [root] d\n…[INFO ] [root] i\n…[WARN ] [root] w\n…[ERROR] [root] e\n…[OTHER] [root] o\n", 0),
    "log_trace": ("LOG_TRACE=true; log_trace t; log_trace_no_cr u; LOG_TRACE=false LOG_TRACE_MESSAGES=true; log_trace v", "…[TRACE] [root] t\n…[TRACE] [root] u…[TRACE] [root] v\n", 0),
    "log_fatal": ("log_fatal over; echo on", "…[FATAL] [root] over\n", 1),
    "log_without_line_end": ("log_debug_no_cr d; log_info_no_cr i; log_warn_no_cr w; log_error_no_cr e; (log_fatal_no_cr f) || :", "…[DEBUG] [root] d…[INFO ] [root] i…[WARN ] [root] w…[ERROR] [root] e…[FATAL] [root] f", 0),
    "log_streams": ("{ log_error e; log_info_to_std_err i; (log_fatal f) || :; } 2>/dev/null; log_info o 2>/dev/null", "…[INFO ] [root] o\n", 0),
    "log_prints_what_it_is_given": ("log_info '%s\\n -n *'", "…[INFO ] [root] %s\\n -n *\n", 0),
    "confirm_or_abort_alone": ("confirm_or_abort --message Sure", "…[INFO ] [root] Confirmed without asking, because this run is not interactive. Message: Sure\n", 0),
    "confirm_or_abort": ("INTERACTIVE=true; confirm_or_abort --message 'Sure ' <<<y; confirm_or_abort --message 'Sure ' --expected_answer DESTROY <<<y; echo on", "--------------------\n…[QUESTION] [root] Sure --------------------\n…[QUESTION] [root] Sure …[WARN ] [root] The answer was not 'DESTROY'. Aborting.\n", 1),
    # -- files and processes --
    "export_file": ("printf '%s' $'# note\\n\\n a =  1 2\\r\\nb=x{CARRIAGE_RETURN}y=\\'z\\'\\nc=' >p; export_file p; bash -c 'printf \"[%s]\" \"$a\" \"$b\" \"$c\"'", "[  1 2][x\ny='z'][]", 0),
    "export_file_names_the_line": ("printf 'a=1\\n1x=2\\n' >p; export_file p", "…[ERROR] [root] p: line 2: '1x' cannot be the name of a variable\n", 1),
    "files_exist": ("touch a.sh; files_exist --directory . --filename_pattern '*.sh'; files_exist --directory . --filename_pattern '*.py'; files_exist_with_pattern --directory nope --filename_pattern x", "true\nfalse\nfalse\n", 0),
    "run_or_source_files": ("mkdir d; echo 'v=sourced' >d/one.sh; printf '#!/bin/sh\\necho executed $0' >d/two; chmod +x d/two; done_() { echo \"$v\"; }; run_or_source_files --directory d --filename_pattern '[ot]*' --run_function_name done_; echo $run_or_source_files_found ${PWD##*/}", "executed ./two\nsourced\ntrue d\n", 0),
    "run_or_source_files_by_extension": ("echo 'echo s' >one.sh; run_or_source_files --directory . --filename_extension sh; run_or_source_files --directory . --filename_extension py; echo $run_or_source_files_found", "s\nfalse\n", 0),
    "run_or_source_file": ("run_or_source_file --filename nope; echo 'x=1' >a.sh; run_or_source_file --filename a.sh; echo $x", "1\n", 0),
    "get_file_mode": ("touch f; chmod 640 f; get_file_mode --filename f", "640\n", 0),
    "file_contains_pattern": ("echo '-abc' >f; file_contains_pattern --filename f --pattern 'b.$'; file_contains_pattern --filename f --pattern z; file_contains_pattern --filename nope --pattern z", "true\nfalse\nfalse\n", 0),
    "update_line_in_file": ("printf 'a=1\\nxb=2\\n' >f; update_line_in_file --filename f --text a= --new_text 'a=/x&y.\\z'; update_line_in_file --filename f --text b= --new_text b=3 --starts_only false; update_line_in_file --filename f --text c= --new_text c=4; update_line_in_file --filename f --text d= --new_text d=5 --add_line_if_not_found false; update_line_in_file --filename f --text c= --new_text 5 --replace_line false; cat f", "a=/x&y.\\z\nb=3\nc=45\n", 0),
    "remove_lines_in_file_that_start_with": ("printf '/a 1\\nb\\n/a 2\\n' >f; remove_lines_in_file_that_start_with --filename f --start_text /a; remove_lines_in_file_that_start_with --filename nope --start_text a; cat f", "b\n", 0),
    "block_in_file": ("echo first >f; block_in_file --filename f --block_text 'one /x'; block_in_file --filename f --block_text two; block_in_file --filename f --block_text other --marker_text 'A/B' --line_comment //; cat f; block_in_file --filename f; cat f", "first\n# Infraxys block - start\ntwo\n# Infraxys block - end\n// A/B - start\nother\n// A/B - end\nfirst\n// A/B - start\nother\n// A/B - end\n", 0),
    "append_all_files_in_dir": ("mkdir d; printf 1 >d/a; printf 2 >d/b; append_all_files_in_dir --directory d --target_file t --add_new_line true; append_all_files_in_dir --directory nope --target_file t; cat t", "1\n2\n", 0),
    "wait_for_background_jobs": ("sleep 0.1 & wait_for_background_jobs; { sleep 0.1; false; } & sleep 0.1 & wait_for_background_jobs; echo on", "…[INFO ] [root] Waiting for 1 background jobs.\n…[INFO ] [root] All background jobs have finished.\n…[INFO ] [root] Waiting for 2 background jobs.\n…[ERROR] [root] Failed background jobs: 1\n", 1),
    "function_exists": ("function_exists trim; [[ ! $(function_exists nope) ]] && echo none", "true\nnone\n", 0),
    "pipefail": ("unset_pipefail; false | true; echo $last_pipefail; restore_pipefail; false | true; echo on", "on\n", 1),
    "get_ip_address": ("ip() { echo '1: lo inet 127.0.0.1/8 x'; echo '2: e inet 10.1.2.3/24 y'; }; get_ip_address", "10.1.2.3\n", 0),
    "run_as": ("run_as \"$(id -un)\" 'echo me'; su() { echo \"$@\"; }; run_as ann 'echo me'", "me\nann -p -c echo me\n", 0),
    # -- grants --
    "has_grant": ("has_grant --grant_name deploy; has_grant --grant_name 'two words' --grant_guid 0; has_grant --grant_name other --grant_guid deploy; has_grant --grant_name other", "true\ntrue\ntrue\nfalse\n", 0),
    "has_grant_is_read_only": ("has_grant() { echo true; }", "…has_grant: readonly function\n", 1),
    "check_grant": ("check_grant --grant_name deploy --grant_guid x; check_grant --grant_name other --grant_guid 7; echo on", "…[ERROR] [root] User lacks required grant 'other' (guid '7').\n", 1),
    # -- modules --
    "git_urls": ("for u in https://github.com/org/repo.git git@host.x:org/repo.git https://user@h/a/b/repo; do echo $(get_hostname_from_git_url $u) $(get_user_or_org_from_git_url $u) $(get_repo_name_from_git_url $u); done", "github.com org repo\nhost.x org repo\nh b repo\n", 0),
    "git_url_that_is_none": ("get_hostname_from_git_url ftp:x", "…[FATAL] [root] Unsupported git url: ftp:x. These start with git@ or https://\n", 1),
    "get_module_directory": ("get_module_directory --git_url https://host/org/base.git --git_branch main | sed \"s|$MODULES_ROOT||\"", "/host/org/base/main\n", 0),
    "enable_module": ("enable_module --git_url https://host/org/base.git --git_branch main; enable_module --git_url https://host/org/base.git --git_branch main; echo ${#enabled_modules[@]}; modules_enabled; enable_module --git_url https://host/org/base.git --git_branch gone 2>&1 | grep -o 'does not exist'", "2\ndoes not exist\n", 1),
    # -- JSON forms --
    "get_json_result": ("LAST_RESULTS='{\"results\": [{\"id\": \"t\", \"value\": 1, \"selectedItemList\": [{\"a\": \"x\"}, {\"a\": \"y z\"}]}]}'; get_json_result --object_id t --property a; get_first_json_result --object_id t --property a; get_first_json_result --object_id t | tr -d ' \\n'; get_json_result --object_id t | grep -c value", "x\ny z\nx\n{\"a\":\"x\"}1\n", 0),
    "get_json_result_without_json": ("unset LAST_RESULTS; get_json_result --object_id t", "…[ERROR] [root] Argument 'json' or 'LAST_RESULTS' is required for 'get_json_result'.\n", 1),
    "add_data_part": ("add_data_part --full_json '{\"form\": 1}' --data_part_id d --data_json '{\"items\": []}' | tr -d ' \\n'; add_and_wrap_data_part --full_json '{}' --data_part_id d --data_json '[1]' | tr -d ' \\n'", '{"form":1,"dataParts":[{"id":"d","data":{"items":[]}}]}{"dataParts":[{"id":"d","data":{"items":[1]}}]}', 0),
    "add_canvas_columns": ("add_canvas_columns --json '{\"form\": {\"canvas\": {\"columns\": [1]}}}' --columns_json '{\"a\": 2}' | tr -d ' \\n'", '{"form":{"canvas":{"columns":[1,{"a":2}]}}}', 0),
    "export_json_attributes": ("export_json_attributes --json '{\"one\": \"a\\nb $(id)\", \"two\": 2, \"three\": {\"x\": null}}'; bash -c 'echo \"$one|$two|$three\"'", 'a\nb $(id)|2|{"x":null}\n', 0),
    # -- ssh and git configuration --
    "process_ssh_private_key_variables": ("rm -f ~/.ssh/keys/*; process_ssh_private_key_variables; cat ~/.ssh/keys/my.pem; stat -c %a ~/.ssh/keys/my.pem ~/.ssh/keys ~/.ssh", "KEY\n400\n700\n700\n", 0),
    "process_ssh_config_variables": ("rm -f ~/.ssh/config; process_ssh_config_variables; cat ~/.ssh/config", "\nHost a\n", 0),
    "process_netrc_variables": ("process_netrc_variables; cat ~/.netrc; stat -c %a ~/.netrc; process_netrc_variables", "machine a\nmachine b\n400\n", 0),
    "generate_environment_ssh_config": ("rm ~/.ssh/config; generate_environment_ssh_config; cat ~/.ssh/generated.d/vpc; grep -c 'Host \\*' ~/.ssh/config", "Host from-a-file\n1\n", 0),
    "init_git": ("rm -f ~/.gitconfig; github_user_name='Ann B' github_user_email=a@b git_token_variable=main; init_git; init_git; git config --global --list; echo $github_token", "push.default=simple\nuser.name=Ann B\nuser.email=a@b\ngh-token\n", 0),
    "load_git_config_variable": ("load_git_config_variable --git_config_variable hub --set_global_config true; echo $github_domain $github_token $(git config --global pull.rebase); load_git_config_variable --git_config_variable nope 2>&1 | grep -o 'file is missing'", "git.x tok false\nfile is missing\n", 1),
    "git_clone_repository": ("git() { echo \"$@ [${GIT_CONFIG_VALUE_0-}]\"; }; git_clone_repository --github_domain git.x --organization o --repository r --branch f/b; git_clone_repository --git_config_variable hub --organization o --repository r --branch b --target_directory d; git_clone_repository --github_domain git.x --organization o --repository r --branch b", "…[INFO ] [root] Cloning branch f/b from https://git.x/o/r to /tmp/r_f_b\nclone -q -b f/b -- https://git.x/o/r /tmp/r_f_b []\n…[INFO ] [root] Cloning branch b from https://git.x/o/r to d\nclone -q -b b -- https://git.x/o/r d [Authorization: Basic dG9rOngtb2F1dGgtYmFzaWM=]\n…[INFO ] [root] Cloning branch b from https://git.x/o/r to /tmp/r_b\nclone -q -b b -- https://git.x/o/r /tmp/r_b []\n", 0),
    "git_clone_repository_sparse": ("git() { [[ $1 != init ]] || mkdir -p .git/info; echo \"$@\"; }; git_clone_repository --github_domain git.x --organization o --repository r --branch b --sparse_path a/b; cat .git/info/sparse-checkout", "…[INFO ] [root] Sparse checkout of path a/b from https://git.x/o/r, branch b.\ninit -q\nconfig core.sparseCheckout true\nremote add origin https://git.x/o/r\npull -q --depth 1 origin b\na/b\n", 0),
    "create_github_team": ("curl() { cat ${7#@} | sed 's/^/header /'; echo \"${@:8}\"; }; github_token=t; create_github_team --github_domain git.x --github_token t --organization o --team_name 'a\"b' --team_description d", "…[INFO ] [root] Creating GitHub team 'a\"b' in organization 'o' of 'git.x'.\nheader Authorization: token t\n-X POST --data {\"name\": \"a\\\"b\", \"privacy\": \"closed\", \"description\": \"d\"} https://git.x/api/v3/orgs/o/teams\n", 0),
    # -- remote, what needs no other machine --
    "should_run_parallel": ("should_run_parallel --ssh_host 'a b'; should_run_parallel --ssh_host a", "true\nfalse\n", 0),
    "is_localhost": ("is_localhost localhost; is_localhost x; ssh_user=ann; get_ssh_part_for_connect --ssh_host h", "true\nfalse\nann@h\n", 0),
    "get_export_function_names": ("CUSTOM_EXPORTED_FUNCTION_NAMES=mine; get_export_function_names | tr ' ' '\\n' | grep -c -x -e import_args -e mine -e log_info -e check_required_arguments; export_shared_functions; bash -c 'trim() { :; }; log_info hi'", "4\n…[INFO ] [root] hi\n", 0),
    "create_key_file": ("create_key_file --key_filename k --key_username \"$(id -un)\" --append_to_authorized_keys_of_user \"$(id -un)\"; cmp ~/.ssh/k.pub ~/.ssh/authorized_keys; create_key_file --key_filename k --key_username \"$(id -un)\" | grep -o already", "already\n", 0),
    "configure_ssh": ("service() { echo service \"$@\"; }; echo '#GSSAPIAuthentication yes' >c; SSHD_CONFIG_FILE=c os_flavor=debian; configure_ssh; cat c", "service ssh restart\nGSSAPIAuthentication no # set by Infraxys\nGSSAPICleanupCredentials no # set by Infraxys\n", 0),
    "names_of_the_project": ("echo $project_name $module_branch $THREAD_NUMBER $ON_PROVISIONING_SERVER; [[ $default_module_dir == $MODULES_ROOT/host/org/base/main && $TARGET_INSTANCE_DIR == $target_provisioning_root/environments/* ]]", "Shop 1 true\n", 0),
}  # fmt: skip
# These are tested where something answers: other tests of this folder call them.
ELSEWHERE = {
    "activate_cached_project_ssh_config",  # needs /cache
    "modules_enabled", "process_module_json", "get_module_relative_directory",  # called by enable_module
    "restart_ssh_service", "init_ssh", "get_export_variables", "exit", "show_dialog_v2",
    "set_default_ssh_options", "get_remote_ssh_args", "get_default_ssh_variables",
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int]]:
    """What each case says, and its status."""
    script = ["set +eE; trap - ERR EXIT; exec 2>&1"]
    for name, (case, _, _) in CASES.items():
        body = f"set -e; mkdir -p ~/work/{name}; cd ~/work/{name}\n{case}"
        script.append(f"printf '\\x1d{name}\\n'; (\n{body}\n); printf '\\x1e%s' $?")
    bootstrap = Bootstrap(tmp_path_factory.mktemp("functions"))
    bootstrap.module("host/org/base/main", {"module.json": '{"dependencies": [{"git_url": "git@host:org/second.git"}]}'})
    bootstrap.module("host/org/second/master", {"README": ""})
    files: dict[str, str | bytes] = {"run.sh": "\n".join(script) + "\nexit 0\n"}
    files["/web/other_2/configure_ssh_vpc"] = "#!/bin/sh\necho Host from-a-file >~/.ssh/generated.d/vpc\n"
    bootstrap.lay_out(files, project_name="Shop")
    variables = {
        "SSH-PRIVATE-KEY/my.pem": "KEY", "SSH-CONFIG/a": "Host a", "NETRC/a": "machine a", "NETRC/b": "machine b\n",
        "GITHUB-TOKEN/main": "gh-token",
        "GIT-CONFIG/hub": json.dumps({"hostname": "git.x", "token": "tok", "config": [{"name": "pull.rebase", "value": "false"}]}),
    }  # fmt: skip
    for path, value in variables.items():
        file = bootstrap.root / "variables" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value)
    ended = bootstrap.run()
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    parts = [part.partition("\n") for part in ended.stdout.split("\x1d")[1:]]
    return {name: (text.rpartition("\x1e")[0], int(text.rpartition("\x1e")[2])) for name, _, text in parts}


@pytest.mark.parametrize("name", CASES)
def test_each_function_does_what_it_says(said: dict[str, tuple[str, int]], name: str) -> None:
    _, expected, status = CASES[name]
    text, ended = said[name]
    pattern = re.escape(expected).replace("…", HEAD)
    if "readonly" in expected:
        pattern = re.escape(expected).replace("…", ".*")
    assert re.fullmatch(pattern, text), (expected, text)
    assert ended == status


def test_every_function_of_the_library_is_called_by_a_test() -> None:
    functions = Path(__file__).parents[3] / "src" / "infraxys" / "core" / "bash"
    names = {
        name
        for file in functions.glob("*.sh")
        for name in re.findall(r"^([a-z][a-z0-9_]*)\(\)", file.read_text(), re.MULTILINE)
    }
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    assert len(names) > 100
    assert {name for name in names if not re.search(rf"\b{name}\b", tests)} == set()
