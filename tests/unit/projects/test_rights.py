"""What teams give, down the tree; and where an environment is."""

from itertools import pairwise

import pytest

from infraxys.server.auth.grants import ADMINISTER, ALL_GRANTS, BUNDLES, GRANTS, check_scopes, is_server_wide
from infraxys.server.auth.places import (
    Place,
    Sight,
    check_place,
    grants_in_runs,
    hidden_containers,
    missing_grant,
    teams_in_runs,
)
from infraxys.server.auth.rights import ROOT, Attachment, CustomGrant, Policy, Rights, Team
from infraxys.server.auth.subject import Subject
from infraxys.server.errors import Forbidden

UPPER, LOWER = "0198a1b2-0000-7000-8000-00000000000a", "0198a1b2-0000-7000-8000-00000000000b"
# root > a > b > c, and root > z
POLICY = Policy(
    version=1,
    parents={ROOT: None, "a": ROOT, "b": "a", "c": "b", "z": ROOT},
    attachments={
        ("h/o/r", "env"): (
            Attachment("a", "", is_prefix=True),
            Attachment("b", "feature/", is_prefix=True),
            Attachment("c", "feature/x", is_prefix=False),
            Attachment("z", "feature/x/", is_prefix=True),
        )
    },
    teams={
        "readers": Team("readers", "Readers", "a"),
        "runners": Team("runners", "Runners", "b"),
        "admins-b": Team("admins-b", "administrators", "b"),
        "admins": Team("admins", "administrators", ROOT),
        "holders": Team("holders", "Holders", "a"),
    },
    given={
        "readers": {"a": frozenset({"run.list", "run.read"})},
        "runners": {"b": frozenset({"action.execute"}), "z": frozenset({"run.list"})},
        "admins-b": {"b": frozenset({ADMINISTER})},
        "admins": {ROOT: frozenset({ADMINISTER})},
        "holders": {"b": frozenset({UPPER})},
    },
    custom={UPPER: CustomGrant(UPPER, "Upper", "a"), LOWER: CustomGrant(LOWER, "Lower", "b")},
    protected={
        ("h/o/r", "env", "upper"): frozenset({UPPER}),
        ("h/o/r", "env", "lower"): frozenset({LOWER}),
    },
)


def caller(*teams: str, scopes: set[str] | None = None, is_administrator: bool = False) -> Subject:
    """Give somebody who is in teams."""
    return Subject(
        "user",
        "ada",
        "Ada",
        is_administrator,
        scopes=None if scopes is None else frozenset(scopes),
        rights=Rights(POLICY, teams),
    )


def on(branch: str, environment: str = "env") -> Place:
    """Name the environment of the tests on a branch."""
    return Place("h/o/r", branch, environment)


class TestInheritance:
    @pytest.mark.parametrize(
        ("project", "grants"),
        [
            (ROOT, set()),
            ("a", {"run.list", "run.read"}),
            ("b", {"run.list", "run.read", "action.execute"}),
            ("c", {"run.list", "run.read", "action.execute"}),
            ("z", {"run.list"}),
            ("gone", set()),
        ],
    )
    def test_grants_hold_where_they_were_given_and_below(self, project: str, grants: set[str]) -> None:
        assert caller("readers", "runners").grants_on(project) == grants

    def test_a_team_that_is_gone_gives_nothing(self) -> None:
        assert caller("deleted").grants_on("c") == frozenset()
        assert not caller("deleted").may_somewhere("run.list")

    def test_projects_with_a_grant_are_all_below(self) -> None:
        assert caller("readers").projects_with("run.list") == {"a", "b", "c"}
        assert caller("readers", "runners").projects_with("run.list") == {"a", "b", "c", "z"}
        assert caller("admins").projects_with("run.list") is None
        assert caller().projects_with("run.list") == frozenset()

    def test_what_is_given_somewhere_is_not_given_for_the_whole_server(self) -> None:
        subject = caller("runners")
        assert subject.may_somewhere("action.execute")
        assert not subject.may("action.execute")
        assert not subject.may_somewhere("run.read")


class TestAdministrators:
    def test_of_a_project_have_every_built_in_grant_there_and_below_only(self) -> None:
        subject = caller("admins-b")
        assert subject.grants_on("c") >= GRANTS.keys()
        assert subject.grants_on("a") == subject.grants_on("z") == subject.grants_on(ROOT) == frozenset()

    def test_have_the_custom_grants_made_there_but_not_those_from_above(self) -> None:
        subject = caller("admins-b")
        assert subject.may(LOWER, "b")
        assert subject.may(LOWER, "c")
        assert not subject.may(UPPER, "b")
        assert caller("admins-b", "holders").may(UPPER, "c")

    def test_of_the_root_have_everything(self) -> None:
        assert caller("admins").grants_on("c") == {ALL_GRANTS}
        assert caller("admins").may(UPPER, "c")
        assert caller("admins").may("user.delete")

    def test_nobody_gets_their_grant_by_being_given_every_other(self) -> None:
        assert ADMINISTER not in {grant for bundle in BUNDLES.values() for grant in bundle}


class TestScopes:
    def test_b4_the_narrower_of_scopes_and_grants_counts(self) -> None:
        subject = caller("readers", scopes={"run.list", "action.execute"})
        assert subject.grants_on("a") == {"run.list"}
        assert not subject.may("run.read", "a")
        assert not subject.may("action.execute", "a")

    def test_b4_an_administrators_token_has_its_scopes_only(self) -> None:
        subject = caller(is_administrator=True, scopes={"run.list"})
        assert not subject.has_everything
        assert subject.grants_on("c") == {"run.list"}
        assert not subject.may(ADMINISTER, "c")
        assert subject.projects_with("run.read") == frozenset()
        assert subject.projects_with("run.list") is None

    def test_a_protected_container_needs_its_grant_among_the_scopes(self) -> None:
        assert missing_grant(caller("admins", scopes={"action.execute"}), on("main"), "upper") == UPPER
        assert missing_grant(caller("admins", scopes={"action.execute", UPPER}), on("main"), "upper") is None

    @pytest.mark.parametrize("scope", ["*", "run.exectue", "", "Upper", "0198A1B2-0000-7000-8000-00000000000A"])
    def test_a_scope_that_cannot_be_is_refused(self, scope: str) -> None:
        with pytest.raises(ValueError, match="no scope"):
            check_scopes([scope])


class TestPlaces:
    @pytest.mark.parametrize(
        ("branch", "project"),
        [
            ("main", "a"),
            ("feature", "a"),
            ("feature/", "b"),
            ("feature/y", "b"),
            ("feature/x", "c"),
            ("feature/x/y", "z"),
            ("Feature/x", "a"),
        ],
    )
    def test_one_branch_counts_before_many_and_the_longest_beginning_first(self, branch: str, project: str) -> None:
        assert POLICY.project_of("h/o/r", branch, "env") == project

    def test_what_nobody_attached_belongs_to_the_root(self) -> None:
        assert POLICY.project_of("h/o/r", "main", "other") == ROOT
        assert POLICY.project_of("h/o/other", "main", "env") == ROOT

    @pytest.mark.parametrize(
        ("pattern", "project"),
        [
            ("main", "a"),
            ("feature/x", "c"),
            ("feature/x*", "b"),
            ("feature/*", "b"),
            ("feature/x/z*", "z"),
            ("*", "a"),
        ],
    )
    def test_attaching_takes_from_who_covers_all_of_the_branches(self, pattern: str, project: str) -> None:
        branch, is_prefix = pattern.removesuffix("*"), pattern.endswith("*")
        assert POLICY.losing("h/o/r", "env", branch, is_prefix=is_prefix) == project

    def test_attaching_what_nobody_covers_takes_from_the_root(self) -> None:
        assert POLICY.losing("h/o/r", "other", "main", is_prefix=False) == ROOT


class TestProtection:
    def test_holds_while_the_environment_is_in_the_grants_project_or_below(self) -> None:
        outsider = caller("readers", "runners")
        assert missing_grant(outsider, on("main"), "upper") == UPPER
        assert missing_grant(outsider, on("feature/x"), "lower") == LOWER
        assert missing_grant(outsider, on("main"), "lower") is None  # the environment is above the grant's project
        assert missing_grant(outsider, on("feature/x/y"), "upper") is None  # it is in another tree
        assert missing_grant(outsider, on("main"), "open") is None

    def test_ends_for_who_has_the_grant_where_the_environment_is(self) -> None:
        assert missing_grant(caller("holders"), on("feature/y"), "upper") is None
        assert missing_grant(caller("holders"), on("main"), "upper") == UPPER  # given on b only

    def test_refuses_execution_by_name(self) -> None:
        with pytest.raises(Forbidden, match="'Upper'"):
            check_place(caller("runners"), "action.execute", on("feature/y"), ["open", "upper"])
        check_place(caller("runners", "holders"), "action.execute", on("feature/y"), ["open", "upper"])

    def test_hides_the_container_but_not_its_neighbours(self) -> None:
        sight = Sight(caller("runners"), "action.execute")
        assert sight.container(on("feature/y"), "open")
        assert not sight.container(on("feature/y"), "upper")
        assert not sight.container(on("main"), "open")

    def test_lists_what_is_hidden_by_the_project_that_the_environment_may_be_in(self) -> None:
        assert hidden_containers(caller("admins")) == []
        assert hidden_containers(caller("holders", "admins-b")) == [("h/o/r", "env", "upper", "a")]
        assert sorted(hidden_containers(caller("readers"))) == [
            ("h/o/r", "env", "lower", "b"),
            ("h/o/r", "env", "lower", "c"),
            ("h/o/r", "env", "upper", "a"),
            ("h/o/r", "env", "upper", "b"),
            ("h/o/r", "env", "upper", "c"),
        ]


class TestInRuns:
    def test_actions_find_names_and_for_custom_grants_ids_too(self) -> None:
        found = grants_in_runs(caller("runners", "holders", "readers"), on("feature/y"))
        assert set(found) == {"action.execute", "run.list", "run.read", UPPER, "Upper"}

    def test_only_administrators_of_the_root_have_everything(self) -> None:
        everything = {ALL_GRANTS, "run.cancel", "user.create", LOWER, "Lower", UPPER, "Upper"}
        assert everything <= set(grants_in_runs(caller("admins"), on("main")))
        assert everything <= set(grants_in_runs(caller(is_administrator=True), on("main")))
        found = grants_in_runs(caller("admins-b"), on("feature/y"))
        assert {LOWER, "Lower", "run.cancel"} <= set(found)
        assert {UPPER, "Upper", ALL_GRANTS}.isdisjoint(found)

    def test_a_narrow_token_gives_its_scopes_only(self) -> None:
        scopes = {"action.execute", "token.list"}
        assert grants_in_runs(caller("admins", scopes=scopes), on("main")) == ("action.execute",)

    def test_the_teams_are_those_that_count_there(self) -> None:
        subject = caller("readers", "runners", "admins")
        assert teams_in_runs(subject, on("main")) == ("Readers", "administrators")
        assert teams_in_runs(subject, on("feature/x/y")) == ("administrators",)


def test_bundles_have_what_projects_are_about_and_grow() -> None:
    bundles = [set(grants) for grants in BUNDLES.values()]
    assert all(bundle <= GRANTS.keys() for bundle in bundles)
    assert all(narrow < wide for narrow, wide in pairwise(bundles))
    assert not any(is_server_wide(grant) for bundle in bundles for grant in bundle)
