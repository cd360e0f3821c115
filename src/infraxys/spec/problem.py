"""What is wrong with a file that somebody wrote, and exactly where."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding. `file` is the path inside the module; `line` and `column` are 1-based, or None for a whole file.

    `code` is stable snake_case; `message` is one sentence that names the thing and says what to do.
    `where` says which container, instance, file or attribute of an environment is meant, as far as there is one;
    `container_id`, `instance_id` and `attribute` say the same to programs.
    """

    file: str
    line: int | None
    column: int | None
    code: str
    message: str
    severity: Literal["error", "warning"] = "error"
    where: str = ""
    container_id: str = ""
    instance_id: str = ""
    attribute: str = ""

    def __str__(self) -> str:
        """Give `file:line:column: message`, the form that editors and CI understand."""
        position = "" if self.line is None else f":{self.line}" + ("" if self.column is None else f":{self.column}")
        prefix = f"{self.where}: " if self.where else ""
        return f"{self.file}{position}: {prefix}{self.message}"


def quoted(text: str, limit: int = 100) -> str:
    """Show a text from a file in a message: between quotes, one line, nothing hidden in it, of bounded length."""
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text[: limit + 1])
    return f"'{shown}'" if len(text) <= limit else f"'{shown[:limit]}...'"
