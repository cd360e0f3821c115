"""What a step gets from the host beside its own tree: folders that stay when it is gone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from infraxys.engine.backends.base import Mount
from infraxys.engine.plan import Plan, PlannedStep
from infraxys.engine.run_tree import RunContext


def _nothing() -> None:
    return None


def _no() -> bool:
    return False


def _no_note() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Attached:
    """Folders for one step.

    `account` names whom the folders belong to: actions of one account may write what any of them wrote. `variables`
    are put into the action's environment. `note` is a sentence for people about what is not as usual, for the log and
    for the run's message.
    When the action has ended, `has_left` tells, quickly and on the event loop, whether `settle` has something to do;
    that runs in a thread before the end is told, and gives another note. `release` is called in a thread, always and
    once, when nothing of the step is left.
    """

    mounts: tuple[Mount, ...] = ()
    account: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    has_left: Callable[[], bool] = _no
    settle: Callable[[], str] = _no_note
    release: Callable[[], None] = _nothing


class Attachment(Protocol):
    """Gives folders to steps."""

    def attach(self, plan: Plan, step: PlannedStep, run: RunContext) -> Attached:
        """Make the folders for a step ready. Blocks, in a thread. Raises StartFailed and OSError."""


def notes(attached: tuple[Attached, ...]) -> str:
    """Put together what is to be said about the folders of a step."""
    return "; ".join(one.note for one in attached if one.note)


def settle(attached: tuple[Attached, ...]) -> str:
    """Look after what an action has left. Blocks."""
    return "; ".join(note for one in attached if one.has_left() and (note := one.settle()))
