"""Who may see a run, and what the one who started it may do."""

import json
from collections.abc import Iterable
from dataclasses import replace

import sqlalchemy as sa

from infraxys.engine.limits import Wishes
from infraxys.server.auth.access import AccessControl
from infraxys.server.auth.permissions import check
from infraxys.server.auth.places import (
    Place,
    check_place,
    grants_in_runs,
    hidden_containers,
    missing_grant,
    project_of,
    teams_in_runs,
)
from infraxys.server.auth.rights import ROOT, Attachment, Rights
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import project_environments, run_steps, runs
from infraxys.server.errors import Forbidden, NotFound
from infraxys.server.runs.transitions import RunRecord

_attached = project_environments.c
# The project of a run's environment, as `Policy.project_of` finds it: one branch before many, then the longest prefix.
_PROJECT = sa.func.coalesce(
    sa.select(_attached.project_id)
    .where(
        _attached.module == runs.c.module,
        _attached.environment_id == runs.c.environment_id,
        sa.case(
            (_attached.is_prefix, sa.func.substr(runs.c.branch, 1, sa.func.length(_attached.branch))),
            else_=runs.c.branch,
        )
        == _attached.branch,
    )
    .order_by(_attached.is_prefix, sa.func.length(_attached.branch).desc())
    .limit(1)
    .correlate(runs)
    .scalar_subquery(),
    sa.literal(ROOT),
)
FEW = 100  # one in so many attached environments: about where both ways take equally long


class UnknownRun(NotFound):
    """There is no such run, or none that the caller may know of."""

    code = "unknown_run"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run '{run_id[:100]}'")


def grant_for(kind: str) -> str:
    """Give the grant that starting a kind of run needs."""
    return "workflow.execute" if kind == "workflow" else "action.execute"


def place_of(record: RunRecord) -> Place:
    """Give where a run's environment is."""
    return Place(record["module"], record["branch"], record["environment_id"])


def visible_runs(subject: Subject) -> sa.ColumnElement[bool] | None:
    """Give the condition under which a list shows a run to a caller; None where it shows all."""
    conditions: list[sa.ColumnElement[bool]] = []
    allowed = subject.projects_with("run.list")
    if allowed is not None:
        projects = sorted(allowed)
        conditions.append(_PROJECT.in_(projects))
        attached = [item.project_id in allowed for items in _attachments(subject) for item in items]
        if sum(attached) * FEW < len(attached):
            # Their runs are found by the index and sorted; for who sees more, the newest of all are soon enough his.
            own = sa.select(_attached.environment_id).where(_attached.project_id.in_(projects))
            conditions.append(runs.c.environment_id.in_(own))
    hidden = hidden_containers(subject)
    if hidden:
        step = sa.tuple_(runs.c.module, runs.c.environment_id, run_steps.c.container_id, _PROJECT)
        conditions.append(
            ~sa.select(run_steps.c.run_id)
            .where(run_steps.c.run_id == runs.c.id, step.in_(hidden))
            .correlate(runs)
            .exists()
        )
    return sa.and_(*conditions) if conditions else None


def _attachments(subject: Subject) -> Iterable[tuple[Attachment, ...]]:
    return subject.rights.policy.attachments.values()


def check_run(subject: Subject, record: RunRecord, grant: str) -> None:
    """Refuse who lacks a grant for a run. Raises UnknownRun and Forbidden."""
    if subject.has_everything:
        return
    place, unknown = place_of(record), UnknownRun(record["id"])
    check(subject, grant, project_of(subject, place), unknown, "run.list", "run.read")
    if any(missing_grant(subject, place, step["container_id"]) is not None for step in record["steps"]):
        raise unknown


class Starters:
    """Who started a run, with the rights that they have now."""

    def __init__(self, database: Database, access: AccessControl) -> None:
        self._database, self._access = database, access

    def of(self, record: RunRecord) -> Subject | None:
        """Give who started a run; None for an account that is gone or locked out. Blocks."""
        user_id, name = record["user_id"], record["user_name"] or ""
        if user_id is None:  # the operating-system user of developer mode
            return Subject(None, name, name, is_administrator=True)
        scopes = None if record["scopes"] is None else frozenset(json.loads(record["scopes"]))
        return self._database.read_now(lambda connection: self._access.starter(connection, user_id, scopes))

    def context_of(self, subject: Subject, record: RunRecord) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Give the grants and the teams that the actions of a run find."""
        place = place_of(record)
        if subject.has_everything:  # what there is was not looked up for it
            subject = replace(subject, rights=Rights(self._access.policy, ()))
        return grants_in_runs(subject, place), teams_in_runs(subject, place)

    def wishes(self, record: RunRecord) -> Wishes:
        """Give what the projects of a run's environment say about limits."""
        return self._access.policy.wishes_for(record["module"], record["branch"], record["environment_id"])

    def projects_of(self, subject: Subject) -> tuple[str, ...]:
        """Give the names of the projects that somebody may know of."""
        policy, visible = self._access.policy, subject.projects_with("project.list")
        if visible is None:
            return policy.all_names
        return tuple(sorted({policy.names[item] for item in visible if item in policy.names}))

    def project_name(self, record: RunRecord) -> str:
        """Give the name of the project that a run's environment belongs to."""
        policy, place = self._access.policy, place_of(record)
        return policy.names.get(policy.project_of(place.module, place.branch, place.environment_id), "")

    def refusal(self, record: RunRecord) -> str | None:
        """Say why a run that waited may not start any more: its starter lost what it needs. Blocks."""
        starter = self.of(record)
        if starter is None:
            return f"not started: the account '{record['user_name']}', which asked for it, was disabled or deleted"
        try:
            check_place(
                starter,
                grant_for(record["kind"]),
                place_of(record),
                [step["container_id"] for step in record["steps"]],
            )
        except Forbidden as problem:
            return (
                f"not started: '{record['user_name']}', who asked for it, has lost the grant '{problem.extra['grant']}'"
            )
        return None
