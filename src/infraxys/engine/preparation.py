"""What the bootstrap prepares an action with: which files, in which order, each with the folder it is sourced in."""

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path

from infraxys.engine.plan import PlannedModule, PlannedStep
from infraxys.spec.names import CONTAINER_AUTO, ENVIRONMENT_AUTO

# The original's core module: known by its name and layout, it finds its own files at one fixed place only.
CORE_MODULE, CORE_PLACE = "infraxys-modules/infraxys-core", "github.com/infraxys-modules/infraxys-core/master"
CORE_SETUP = "bash/bootstrap/setup_environment.sh"
# The packet file of that module that sources the scripts of environment and container; where it is, ours do not.
CORE_INSTANCE_FILE = "init_instance0_runs_first_infraxys_system.sh"
LEFT_OUT = frozenset({"__init__.py", "__pycache__"})  # of our core folder itself: what makes it a package
# Files whose functions are defined only when the first of them is called, unless a module is there to use them.
GROUPS = ("arguments", "logging", "files", "feedback", "dialogs", "forms", "modules", "remote", "git")
Found = tuple[str, str]  # a file, the folder it is sourced in


@dataclass(frozen=True, slots=True)
class ModuleFiles:
    """The names of the files of a module that prepare actions."""

    init: tuple[str, ...]
    source: tuple[str, ...]
    after: tuple[str, ...]
    has_setup: bool
    has_python: bool


def preparation(
    root: str,
    environment: Path,
    step: PlannedStep,
    modules: Sequence[tuple[PlannedModule, Path]],
    attributes: str,
    overrides: Mapping[str, str],
) -> str:
    """Write, in the shell's language, what there is to prepare. Blocks.

    `root` is the fixed path inside the sandbox, `environment` the folder of rendered environments; `modules` are the
    enabled modules with the folders of their files. `attributes` are shell commands for the attributes; they are
    executed after the properties have been read. Of the names of files, only those in UTF-8 are found.
    """
    places = [(f"{root}/modules/{module.path.directory}", module_files(path)) for module, path in modules]
    cores = [place for (module, path), (place, _) in zip(modules, places, strict=True) if is_core(module, path)]
    original = cores[0] if cores else ""
    environment_folder, container_folder, _ = step.directory.split("/", 2)
    instance = f"{root}/environments/{step.directory}"
    own = names_in(environment / step.directory)
    shared = [
        f"{environment_folder}/{ENVIRONMENT_AUTO}",
        f"{environment_folder}/{container_folder}/{CONTAINER_AUTO}",
    ]
    auto = [
        (f"{root}/environments/{folder}/{name}", instance)
        for folder in shared
        for name in names_in(environment / folder)
    ]
    ours = [] if original else [(f"{root}/core/bash/init.010.sh", f"{root}/core")]
    files = [
        *(file for file in auto if file[0].endswith(".sh") and CORE_INSTANCE_FILE not in own),
        *((f"./{name}", instance) for name in own if name.startswith("init_instance")),
        *ordered([*ours, *((f"{folder}/{name}", folder) for folder, found in places for name in found.init)]),
        *ordered((f"{folder}/auto-source/{name}", folder) for folder, found in places for name in found.source),
        *ordered((f"{folder}/{name}", folder) for folder, found in places for name in found.after),
        *((f"./{name}", instance) for name in own if name.startswith("after_modules_enabled.")),
    ]
    python = [f"{folder}/python:" for folder, found in places if found.has_python]
    given = [f"{root}/run_overrides/override.auto_properties"] if overrides else []
    properties = [*(file for file, _ in auto), *(f"{instance}/{name}" for name in own), *given]
    return "".join(
        [
            "__infraxys_is_prepared=true\n",
            array("__infraxys_files", (file for file, _ in files)),
            array("__infraxys_folders", (folder for _, folder in files)),
            array("__infraxys_properties", (file for file in properties if file.endswith(".auto_properties"))),
            f"__infraxys_original={shlex.quote(original)}\n",
            f"__infraxys_python={shlex.quote(''.join(python))}\n",
            array("__infraxys_modules", (folder for folder, _ in places)),
            "default_module_dir=${__infraxys_modules[0]-}\n",
            array("__infraxys_arguments", (word for name, value in overrides.items() for word in (f"--{name}", value))),
            f"__infraxys_attributes() {{\n{attributes}:\n}}\n",
        ]
    )


def is_core(module: PlannedModule, folder: Path) -> bool:
    """Whether a module is the original's core module."""
    return f"{module.path.module.org}/{module.path.module.repo}" == CORE_MODULE and module_files(folder).has_setup


def ordered(files: Iterable[Found]) -> list[Found]:
    """Order files of all modules by their own names, and those of one name by their folders."""
    return sorted(files, key=lambda found: (found[0].rpartition("/")[2], found[1]))


@lru_cache(maxsize=4096)
def module_files(folder: Path) -> ModuleFiles:
    """Find what is in a module's folder. The folder is that of one commit, so it never changes."""
    names = names_in(folder)
    return ModuleFiles(
        init=tuple(name for name in names if name.startswith("init.")),
        source=tuple(names_in(folder / "auto-source")),
        after=tuple(name for name in names if name.startswith("after_modules_enabled.")),
        has_setup=(folder / CORE_SETUP).is_file(),
        has_python=(folder / "python").is_dir(),
    )


def names_in(folder: Path) -> list[str]:
    """Give the files in a folder, ordered, without hidden ones; none when it is not there."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    except OSError:
        return []


def array(name: str, values: Iterable[str]) -> str:
    """Write an array for the shell."""
    return f"{name}=({' '.join(map(shlex.quote, values))})\n"


def copy_core(source: Traversable, target: Path) -> None:
    """Copy what every action sees of our core, readable for all whatever the umask. Blocks; once at start."""
    _copy(source, target, LEFT_OUT)
    names = [
        name
        for group in GROUPS
        for name in re.findall(r"^(\w+)\(\) \{$", (target / "bash" / f"{group}.sh").read_text(), re.MULTILINE)
    ]
    stubs = [f'{name}() {{ __infraxys_load; {name} "$@"; }}\n' for name in names]
    (target / "bash" / "stubs.sh").write_text("".join([f"__infraxys_stubs=({' '.join(names)})\n", *stubs]))
    (target / "bash" / "stubs.sh").chmod(0o755)


def _copy(source: Traversable, target: Path, left_out: frozenset[str] = frozenset({"__pycache__"})) -> None:
    for file in source.iterdir():
        place = target / file.name
        if file.name in left_out:
            continue
        if file.is_dir():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            place.chmod(0o755)
            _copy(file, place)
        else:
            place.write_bytes(file.read_bytes())
            place.chmod(0o755)
