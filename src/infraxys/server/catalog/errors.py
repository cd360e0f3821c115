"""What the catalog refuses: the 404s, 409s and the 422 of the execution calls."""

from collections.abc import Sequence

from infraxys.server.errors import Conflict, NotFound, Unprocessable
from infraxys.spec.problem import Problem as FileProblem

SHOWN = 100  # characters of an id from a request that a message repeats


def narrowed(**parts: str | None) -> str:
    """Say in which part of everything something was looked for."""
    return "".join(f" in {noun} '{given[:SHOWN]}'" for noun, given in parts.items() if given is not None)


def did_you_mean(near: str | None) -> str:
    """Add the closest match, where there is one."""
    return f"; did you mean '{near}'?" if near else ""


class UnknownBranch(NotFound):
    """No registered module has the branch."""

    code = "unknown_branch"

    def __init__(self, branch: str, near: str | None) -> None:
        super().__init__(f"no module has a branch '{branch[:SHOWN]}'{did_you_mean(near)}")


class UnknownInstance(NotFound):
    """No module has the instance on the branch."""

    code = "unknown_instance"

    def __init__(self, instance_id: str, branch: str, near: str | None, where: str = "") -> None:
        super().__init__(
            f"no instance '{instance_id[:SHOWN]}' on a branch '{branch[:SHOWN]}'{where}{did_you_mean(near)}"
        )

    @classmethod
    def because(cls, message: str, branch: str) -> "UnknownInstance":
        """Refuse with a message of its own."""
        error = cls("", branch, None)
        error.detail = message
        return error


class UnknownEnvironment(NotFound):
    """No module has the environment on the branch."""

    code = "unknown_environment"

    def __init__(self, environment_id: str, branch: str, near: str | None, where: str = "") -> None:
        super().__init__(
            f"no environment '{environment_id[:SHOWN]}' on a branch '{branch[:SHOWN]}'{where}{did_you_mean(near)}"
        )

    @classmethod
    def because(cls, message: str, branch: str) -> "UnknownEnvironment":
        """Refuse with a message of its own."""
        error = cls("", branch, None)
        error.detail = message
        return error


class UnknownContainer(NotFound):
    """No environment has the container."""

    code = "unknown_container"

    def __init__(self, container_id: str) -> None:
        super().__init__(f"no environment has a container '{container_id[:SHOWN]}'")


class UnknownWorkflow(NotFound):
    """The environment has no such workflow."""

    code = "unknown_workflow"

    def __init__(self, workflow_id: str, environment: str, near: str | None) -> None:
        super().__init__(f"environment '{environment}' has no workflow '{workflow_id[:SHOWN]}'{did_you_mean(near)}")


class UnknownFile(NotFound):
    """The packet has no such file."""

    code = "unknown_file"


class EmptyWorkflow(Conflict):
    """A workflow has nothing to execute."""

    code = "empty_workflow"


class NotExecutable(Conflict):
    """The file is there, but it is no action."""

    code = "not_executable"


class AmbiguousId(Conflict):
    """The id stands in several places."""

    code = "ambiguous_id"

    def __init__(self, noun: str, wanted: str, candidates: Sequence[str]) -> None:
        shown = list(candidates[:20])
        super().__init__(
            f"{noun} '{wanted[:SHOWN]}' exists in {len(candidates)} places; narrow it with ?module=, ?environment= or "
            f"?container=: {'; '.join(shown)}",
            extra={"candidates": shown},
        )


class GenerationFailed(Unprocessable):
    """Templates of the environment do not render."""

    code = "generation_failed"

    def __init__(self, environment: str, problems: Sequence[FileProblem]) -> None:
        found = [problem for problem in problems if problem.severity == "error"]
        first = f": {found[0]}" if found else ""
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        super().__init__(
            f"environment '{environment}' cannot be generated{first}{more}",
            errors=[
                {"loc": _location(problem), "message": f"{problem.where}: {problem.message}".removeprefix(": ")}
                for problem in found[:100]
            ],
        )


def _location(problem: FileProblem) -> str:
    line = "" if problem.line is None else f":{problem.line}"
    column = "" if problem.line is None or problem.column is None else f":{problem.column}"
    return f"{problem.file}{line}{column}"


class UnknownAttribute(NotFound):
    """The packet of the instance has no such attribute."""

    code = "unknown_attribute"


class NoValues(Conflict):
    """The attribute's list cannot be made."""

    code = "no_values"
