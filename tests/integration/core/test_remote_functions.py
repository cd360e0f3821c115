"""The functions that reach other machines: against a real ssh server, and against one that only notes its arguments."""

import getpass
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from factories.bootstrap import Bootstrap, make_folder, put

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
NOTES = '#!/bin/bash\nprintf "%q " "${0##*/}" "$@"; echo\n'
OVER_SSH = r"""
wait_for_ssh --hostname target --max_wait 20 >/dev/null
function_report_function_dependencies="shout"
function_report_variable_dependencies="colour"
shout() { echo "${1^^}"; }
report() {
    local text many function_name hostname transfer_file_remote_path retrieve_file
    import_args "$@"
    shout "$text"; echo "$many|$colour|$own|$ON_PROVISIONING_SERVER|$APPLICATION_USER"
    cat "$transfer_file_remote_path"; echo made >"$retrieve_file"
    log_info "over there"
}
colour="it's \"blue\" \$(id)" own="mine too" CUSTOM_EXPORTED_VARIABLE_NAMES="own"
echo content >~/given
execute_function_over_ssh --function_name report --hostname target --text "a  'b' (c) \\ : d" --many one two \
    --transfer_file ~/given --transfer_file_remote_path ~/far/given --create_directory true \
    --retrieve_file ~/far/made --retrieve_file_local_path ~/made
cat ~/made; [[ ! -e ~/far/made ]]; echo "status $LAST_SSH_EXIT_CODE"
fails() { return 7; }
execute_function_over_ssh --function_name fails --hostname target --exit_on_error false
echo "status $LAST_SSH_EXIT_CODE"
execute_command_over_ssh --hostname target --command 'x="a  b"; echo "$x \\ $INTERACTIVE"'
execute_command_over_ssh --hostname target --command 'exit 5' --exit_on_error false || echo "failed $?"
copy_file_to_host --hostname target --source_path ~/given --target_path "$HOME/with space/copy" >/dev/null
copy_file_over_ssh --hostname target --source_path ~/given --target_path "$HOME/plain/copy" >/dev/null
copy_file_from_host --hostname target --source_path ~/plain/copy --target_path ~/back >/dev/null; cat ~/back
execute_command_remote --ssh_host "target target" --ssh_user "$me" --command 'echo remote'
execute_command_remote --ssh_host "target target" --ssh_user "$me" --command 'exit 3' --exit_on_error false ||
    echo "failed $?"
execute_function_remote --function_name shout --ssh_host target --ssh_user "$me" --message Hello 2>&1 | grep -c Hello
shouts() { local text; import_args "$@"; shout "$text"; }
execute_function_remote --function_name shouts --ssh_host target --ssh_user "$me" --text quiet \
    --extra_functions_to_export shout
wait_for_ssh_connection --ssh_host target --max_wait 20 | grep -c Waiting
target_provisioning_root=~/there TARGET_INSTANCE_DIR=~/there/environments/prod_1/web/server_1
container_ssh_host=target container_ssh_user=$me
execute_on_target cat data
execute_command_over_ssh --hostname target --command 'exit 6'
echo not reached
"""
NOTED = r"""
exec 2>&1
container_ssh_host=server hop_server_ssh_host=hop
execute_command_remote --command 'echo $x' --exit_on_error false
set_default_ssh_options; echo "$default_ssh_options"
get_remote_ssh_args; get_export_variables; get_default_ssh_variables >/dev/null
hop_server_ssh_host=
enable_root_login --ssh_user ubuntu --remove_other_user true | grep -v INFO
(enable_root_login --ssh_user root --remove_other_user true) || echo "refused $?"
echo "  key " >keys; touch key
ssh-agent() { echo 'SSH_AUTH_SOCK=/x; export SSH_AUTH_SOCK; echo Agent pid 1;'; }
ssh-add() { echo add "$@"; }
add_ssh_keys_from_file --filename keys; stat -c %a key
rsync_directory --hostname h --source_directory a/ --target_directory '/b c' | tail -1
execute_function_over_ssh --function_name trim --hostname h --override_ssh_user ann --export_standard_functions false \
    --in_background true; wait
ON_PROVISIONING_SERVER=false; execute_on_target echo direct
TARGET_INSTANCE_DIR=$PWD ORIG_ARGUMENTS="more words"; run_this_on_target --execute_command_line 'echo here'
SSH_RETRY_SECONDS=0; PATH=$(dirname "$(type -P true)"); ssh() { return 1; }
wait_for_ssh --hostname h --max_wait 0 --exit_on_failure false | grep -o 'No ssh at h' || echo none
wait_for_ssh --hostname h --max_wait 0
"""


@pytest.fixture
def bootstrap(tmp_path: Path) -> Bootstrap:
    return Bootstrap(tmp_path)


@pytest.mark.skipif(SSHD is None, reason="needs sshd")
def test_functions_and_commands_are_executed_over_ssh(bootstrap: Bootstrap) -> None:
    server = make_folder(bootstrap.root / "server")
    home = make_folder(bootstrap.home)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(server / name)], check=True)
    (server / "authorized").write_text((server / "user.pub").read_text())
    config = [f"HostKey {server}/host", f"AuthorizedKeysFile {server}/authorized", "StrictModes no", "UsePAM no"]
    put(server, {"config": "\n".join([*config, f"PidFile {server}/pid", "Subsystem sftp internal-sftp", ""])})
    if os.geteuid() == 0:
        make_folder(Path("/run/sshd"))
    # The server talks through a pipe, so no port is needed. The home folder of ssh is not that of the test.
    # All calls share one connection, whose socket needs a short path.
    shared = tempfile.mkdtemp(prefix="ix-")
    client = [
        "Host target",
        "    ControlMaster auto",
        f"    ControlPath {shared}/s",
        "    ControlPersist 60",
        f"    User {getpass.getuser()}",
        f"    IdentityFile {server}/user",
        f"    ProxyCommand {SSHD} -i -f {server}/config",
    ]
    for name in ("ssh", "scp"):
        put(bootstrap.root / "bin", {name: f'#!/bin/sh\nexec {shutil.which(name)} -F "{home}/.ssh/config" "$@"\n'})
    bootstrap.lay_out({"run.sh": OVER_SSH, "data": "of the instance\n"})
    variables = make_folder(bootstrap.root / "variables" / "SSH-CONFIG")
    (variables / "target").write_text("\n".join(client))
    ended = bootstrap.run(PATH=f"{bootstrap.root}/bin:{os.environ['PATH']}", me=getpass.getuser())
    subprocess.run([bootstrap.root / "bin" / "ssh", "-O", "exit", "target"], capture_output=True, check=False)
    shutil.rmtree(shared)
    said = [line for line in ended.stdout.splitlines() if "[INFO ]" not in line or "over there" in line]
    assert said[0] == "A  'B' (C) \\ : D", ended
    assert said[1] == 'one two|it\'s "blue" $(id)|mine too|false|ann'
    assert said[2] == "content"
    assert said[3].endswith("over there")
    assert said[4:] == [
        "made",
        "status 0",
        "status 7",
        "a  b \\ false",
        "failed 5",
        "content",
        "remote",
        "remote",
        "failed 3",
        "1",
        "QUIET",
        "1",
        "of the instance",
    ]
    assert (home / "with space" / "copy").read_text() == "content\n"
    assert "run.sh: line " in ended.stderr
    assert ended.returncode == 6


def test_the_command_lines_of_the_older_functions(bootstrap: Bootstrap) -> None:
    for name in ("ssh", "rsync"):
        put(bootstrap.root / "bin", {name: NOTES})
    bootstrap.lay_out({"run.sh": NOTED})
    ended = bootstrap.run(PATH=f"{bootstrap.root}/bin:{os.environ['PATH']}")
    lines = ended.stdout.splitlines()
    options = (
        "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ServerAliveInterval=60 -o LogLevel=ERROR "
        "-o PreferredAuthentications=publickey"
    )
    assert lines[0].startswith(f"ssh -t -k {options} -o ProxyCommand=ssh\\ -k\\ "), ended
    assert "root@hop\\ -W\\ server:22 root@server bash\\ -c\\ " in lines[0]
    assert lines[1].startswith(f"-k {options} -o ProxyCommand=ssh -k ")
    assert lines[2].startswith("export INITIAL_PID=")
    assert "APPLICATION_USER=ann INTERACTIVE=false" in lines[2]
    assert lines[3] == "export os_flavor='';"
    assert "ubuntu@server" in lines[4]
    assert "sudo" in lines[4]
    assert "root@server" in lines[5]
    assert "userdel" in lines[5]
    assert lines[6].endswith("root cannot be removed.")
    assert lines[7:11] == ["refused 1", "add key", "600", "rsync -ah -e ssh\\ -k -- a/ h:/b\\ c "]
    assert lines[11].startswith("ssh -k ann@h bash\\ -c\\ ")
    assert lines[12:14] == ["direct", "here more words"]
    assert "No ssh at h after 0 seconds" in lines[-2]
    assert lines[-1] == "run.sh: line 21: ended the action with exit status 1"
    assert ended.returncode == 1
