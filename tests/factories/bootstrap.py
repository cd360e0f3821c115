"""The bootstrap and its functions in a plain shell, without a sandbox: the same files at another place, and fast."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from factories.plans import ENVIRONMENT, INSTANCE, make_context, make_plan
from infraxys.engine.plan import PlannedModule
from infraxys.engine.preparation import copy_core
from infraxys.engine.run_tree import ROOT, lay_out
from infraxys.spec.identity import BranchPath

SHELL = ("bash", "--norc", "--noprofile", "-p", "-c", 'set +p; . "$@"', "bash")


@dataclass
class Bootstrap:
    """A tree like that of the sandbox below `root`; `home` is the action's."""

    root: Path
    modules: list[PlannedModule] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def instance(self) -> Path:
        return self.root / "environments" / INSTANCE

    @property
    def environment(self) -> Path:
        return self.root / "environments" / ENVIRONMENT

    def module(self, path: str, files: Mapping[str, str]) -> Path:
        """Enable a module with these files. `path` is host/org/repo/branch."""
        folder = self.root / "modules" / path
        put(folder, files)
        self.modules.append(PlannedModule(BranchPath.parse(path), "1" * 40))
        return folder

    def path(self, module: PlannedModule) -> Path:
        return self.root / "modules" / module.path.directory

    def lay_out(
        self,
        files: Mapping[str, str | bytes],
        *,
        action: str = "run.sh",
        attributes: Mapping[str, str] | None = None,
        is_quick: bool = False,
        **run: Any,
    ) -> "Bootstrap":
        """Write what the server writes for a step. Names of files that begin with `/` are below the environment."""
        plan = make_plan(files, action, attributes=attributes, modules=tuple(self.modules))
        step = replace(plan.steps[0], is_quick=is_quick)
        rendered = self.root / "rendered"
        for file in plan.rendered.files:
            put(rendered, {file.path: file.content})
            put(self.root / "environments", {file.path: file.content})
        step_folder = self.root / "step"
        lay_out(step_folder, rendered, step, make_context(**run), [(m, self.path(m)) for m in self.modules])
        shutil.rmtree(self.instance)
        (step_folder / "instance").rename(self.instance)
        (step_folder / "system").rename(self.root / "system")
        if (step_folder / "run_overrides").exists():
            (step_folder / "run_overrides").rename(self.root / "run_overrides")
        file = self.root / "system" / "environment.sh"
        file.chmod(0o644)
        file.write_text(file.read_text().replace(ROOT, str(self.root)))
        copy_core(resources.files("infraxys.core"), make_folder(self.root / "core"))
        (self.root / "system" / "has_grant").unlink()
        grant = (self.root / "core" / "has_grant").read_text().replace(ROOT, str(self.root))
        put(self.root / "system", {"has_grant": grant})
        make_folder(self.home)
        return self

    def run(self, action: str = "run.sh", *, answers: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Start the action; its standard input is `answers`."""
        return subprocess.run(
            [*SHELL, str(self.root / "core" / "bootstrap.sh"), action],
            input=answers,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.home,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "USER": "root", "LANG": "C.UTF-8", **environment},
        )


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def put(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, executable, below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o755)
