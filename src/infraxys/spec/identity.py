r"""How modules and their branches are named: `host/org/repo` and `host\org\repo\branch`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ModuleId:
    """A Git repository known to the server. `org` may hold slashes (nested groups)."""

    host: str
    org: str
    repo: str

    def __str__(self) -> str:
        return f"{self.host}/{self.org}/{self.repo}"

    @classmethod
    def parse(cls, text: str) -> "ModuleId":
        """Read `host/org/repo` (the first part is the host, the last the repository). Raises ValueError."""
        parts = text.split("/")
        if len(parts) < 3 or not all(parts):
            raise ValueError(f"'{text}' is not host/org/repo")
        return cls(parts[0], "/".join(parts[1:-1]), parts[-1])


@dataclass(frozen=True, slots=True, order=True)
class BranchPath:
    """A module's branch as the files and the REST API name it."""

    module: ModuleId
    branch: str

    def __str__(self) -> str:
        r"""Give the form that is written: `host\org\repo\branch`."""
        return f"{self.module.host}\\{self.module.org}\\{self.module.repo}\\{self.branch}"

    @property
    def directory(self) -> str:
        """The path below `$MODULES_ROOT`: `host/org/repo/branch`."""
        return f"{self.module}/{self.branch}"

    @classmethod
    def parse(cls, text: str) -> "BranchPath":
        r"""Read `host\org\repo\branch`; slashes are taken for backslashes where there is none. Raises ValueError.

        With backslashes each part may hold slashes (`feature/x`); without, host, org and repo are one word each.
        """
        parts = text.split("\\", 3) if "\\" in text else text.split("/", 3)
        if len(parts) != 4 or not all(parts):
            raise ValueError(f"'{text}' is not host\\org\\repo\\branch")
        return cls(ModuleId(parts[0], parts[1], parts[2]), parts[3])
