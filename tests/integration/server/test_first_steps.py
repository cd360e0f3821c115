"""The guide for beginners is true: its module is made, checked, added and executed as it says."""

import os
import re
import subprocess
from pathlib import Path

from plugins.server import ROOT, ServerProcess

GUIDE = (ROOT / "docs" / "guide" / "first-steps.md").read_text()


def make_module(home: Path) -> Path:
    """Run the commands of the guide that write the module."""
    (commands,) = [block for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL) if "git init" in block]
    person = {f"GIT_{who}_{what}": "ada@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **person, "HOME": str(home)}
    subprocess.run(["bash", "-euc", commands], check=True, env=environment, cwd=home, timeout=60)
    return home / "modules" / "greeter"


def test_the_module_of_the_guide_works(own_server: ServerProcess) -> None:
    module = make_module(own_server.folder)
    checked = own_server.command("check", str(module))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    added = own_server.command("module", "add", str(module))
    assert added.returncode == 0, added.stdout + added.stderr
    assert "localhost/modules/greeter" in added.stdout
    ran = own_server.command("run", "action", "main", "greeter-1", "greet.sh", "--argument", '{"ticket": 12}')
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("Hello web, this is run ")
    assert "The argument is {'ticket': 12}" in ran.stdout


def test_the_check_of_the_guide_finds_what_is_broken(own_server: ServerProcess) -> None:
    module = make_module(own_server.folder)
    file = module / "environments" / "demo" / "web" / "container.json"
    file.write_text(file.read_text().replace('"greeter-1"', '"greeter-1",'))
    checked = own_server.command("check", str(module))
    assert checked.returncode == 1
    assert "environments/demo/web/container.json:4:" in checked.stdout
