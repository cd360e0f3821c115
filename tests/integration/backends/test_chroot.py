"""A server that is started in a chroot. The chroot is this system again, mounted elsewhere for one process."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can go into a chroot")


def in_chroot(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a chroot at `folder`, seen by nobody else."""
    script = f"mount --rbind / {folder} || exit 99; exec chroot {folder} {shlex.join(command)}"
    private = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(private, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 99 or (done.returncode and "unshare: unshare failed" in done.stderr):
        pytest.skip("nothing can be mounted here")
    return done


def test_the_sandbox_works_although_the_kernel_refuses_user_namespaces_in_a_chroot(tmp_path: Path) -> None:
    root, data = tmp_path / "root", tmp_path / "data"
    root.mkdir()
    plain = in_chroot(root, "sh", "-c", "unshare --user true || echo refused")
    assert plain.stdout == "refused\n"  # without this the rest would prove nothing
    command = [sys.executable, "-m", "infraxys", "doctor", "--data-dir", str(data), "--json"]
    done = in_chroot(root, *command)
    findings = {item["name"]: item for item in json.loads(done.stdout)}
    assert findings["sandbox"]["ok"], findings["sandbox"]["detail"]
    assert (data / "db").is_dir()  # it is still the same file system that it works on


def test_outside_of_a_chroot_nothing_is_changed() -> None:
    look = "import os; print(os.readlink('/proc/self/ns/mnt'), os.getcwd())"
    code = f"{look}; from infraxys.engine.backends.chroot import make_root_real; print(make_root_real()); {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    before, answer, after = done.stdout.splitlines()
    assert (answer, after) == ("False", before)
