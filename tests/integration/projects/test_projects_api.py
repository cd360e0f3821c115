"""Projects, teams and grants over HTTP: the tree, and that nobody gives more than he has."""

import json
import uuid
from typing import Any

import httpx
import pytest

from factories.access import MODULE
from infraxys.server.auth.grants import BUNDLES, GRANTS
from plugins.access import AccessServer
from plugins.server import ServerProcess


def new_name() -> str:
    return uuid.uuid4().hex


def code(answer: httpx.Response) -> tuple[int, str]:
    return (answer.status_code, answer.json()["code"])


def make_project(server: AccessServer, parent: str = "root", token: str | None = None, **more: Any) -> str:
    body = {"parentId": parent, "name": new_name(), **more}
    answer = server.ask("POST", "/projects", token or server.everything, body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


class TestTree:
    def test_a_project_can_be_made_read_changed_and_deleted(self, access_server: AccessServer) -> None:
        ask, admin, name = access_server.ask, access_server.everything, new_name()
        made = ask("POST", "/projects", admin, {"name": f" {name} ", "description": "a\nb"}).json()
        assert (made["name"], made["parentId"], made["depth"], made["description"]) == (name, "root", 1, "a\nb")
        changed = ask("PATCH", f"/projects/{made['id']}", admin, {"name": f"{name}-2"}).json()
        assert (changed["name"], changed["description"]) == (f"{name}-2", "a\nb")
        assert ask("GET", f"/projects/{made['id']}", admin).json() == changed
        assert ask("DELETE", f"/projects/{made['id']}", admin).status_code == 204
        assert code(ask("GET", f"/projects/{made['id']}", admin)) == (404, "unknown_project")

    def test_the_list_has_every_project_behind_the_one_above(self, access_server: AccessServer) -> None:
        upper = make_project(access_server)
        lower = make_project(access_server, upper)
        items: list[dict[str, Any]] = []
        cursor = ""
        while cursor is not None:
            page = access_server.ask("GET", f"/projects?limit=2{cursor}", access_server.everything).json()
            assert len(page["items"]) <= 2
            items += page["items"]
            cursor = page["nextCursor"] and f"&cursor={page['nextCursor']}"
        ids = [item["id"] for item in items]
        assert len(set(ids)) == len(ids)
        assert ids[0] == "root"
        by_id = {item["id"]: item for item in items}
        assert all(ids.index(item["parentId"]) < ids.index(item["id"]) for item in items[1:])
        assert by_id[lower]["parentId"] == upper
        assert by_id[lower]["depth"] == 2

    def test_a2_the_project_above_is_not_told_to_who_may_not_know_it(self, access_server: AccessServer) -> None:
        upper = make_project(access_server)
        lower = make_project(access_server, upper)
        token = access_server.holder(lower, "project.list", "project.read")
        items = access_server.ask("GET", "/projects", token).json()["items"]
        assert [(item["id"], item["parentId"]) for item in items] == [(lower, None)]
        one = access_server.ask("GET", f"/projects/{lower}", token)
        assert one.json()["parentId"] is None
        assert upper not in one.text
        assert one.json()["grants"] == ["project.list", "project.read"]

    def test_neighbours_have_different_names_whatever_they_look_like(self, access_server: AccessServer) -> None:
        name = new_name()
        upper = make_project(access_server)
        make_project(access_server, upper, name=f"Ä{name}")
        body = {"parentId": upper, "name": f"a\u0308{name.upper()}"}
        assert code(access_server.ask("POST", "/projects", access_server.everything, body)) == (409, "name_taken")
        other = make_project(access_server, upper)
        answer = access_server.ask("PATCH", f"/projects/{other}", access_server.everything, {"name": f"ä{name}"})
        assert code(answer) == (409, "name_taken")

    @pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\nb", "a\x00b", "\ud83d", "a\u202eb", 5, None])
    def test_odd_names_are_refused(self, access_server: AccessServer, name: object) -> None:
        # Written by hand: the client would not send what cannot be encoded.
        answer = access_server.client.post(
            "/api/v1/projects",
            content=json.dumps({"name": name}),
            headers={"Content-Type": "application/json", "Authorization": f"token {access_server.everything}"},
        )
        assert answer.status_code == 422, answer.text

    def test_a9_what_the_server_decides_cannot_be_sent(self, access_server: AccessServer) -> None:
        for extra in (
            {"id": "mine"},
            {"createdAt": "2026-01-01T00:00:00Z"},
            {"grants": ["*"]},
            {"isAdministrators": 1},
        ):
            body = {"name": new_name(), **extra}
            assert access_server.ask("POST", "/projects", access_server.everything, body).status_code == 422
            team = {**body, "projectId": "root"}
            assert access_server.ask("POST", "/teams", access_server.everything, team).status_code == 422

    def test_the_tree_has_a_bounded_depth_also_after_a_move(self, access_server: AccessServer) -> None:
        chain = [make_project(access_server)]
        while len(chain) < 10:
            chain.append(make_project(access_server, chain[-1]))
        ask, admin = access_server.ask, access_server.everything
        assert code(ask("POST", "/projects", admin, {"parentId": chain[-1], "name": "x"})) == (409, "not_possible")
        upper = make_project(access_server)
        make_project(access_server, upper)
        answer = ask("PATCH", f"/projects/{upper}", admin, {"parentId": chain[8]})
        assert code(answer) == (409, "not_possible")
        assert ask("PATCH", f"/projects/{upper}", admin, {"parentId": chain[7]}).json()["depth"] == 9

    def test_no_project_comes_below_itself(self, access_server: AccessServer) -> None:
        upper = make_project(access_server)
        lower = make_project(access_server, make_project(access_server, upper))
        for goal in (upper, lower):
            answer = access_server.ask("PATCH", f"/projects/{upper}", access_server.everything, {"parentId": goal})
            assert code(answer) == (409, "not_possible")

    def test_the_root_stays_where_it_is(self, access_server: AccessServer) -> None:
        ask, admin = access_server.ask, access_server.everything
        assert code(ask("DELETE", "/projects/root", admin)) == (409, "not_possible")
        goal = make_project(access_server)
        assert code(ask("PATCH", "/projects/root", admin, {"parentId": goal})) == (409, "not_possible")

    def test_only_an_empty_project_can_be_deleted(self, access_server: AccessServer) -> None:
        ask, admin = access_server.ask, access_server.everything
        project = make_project(access_server)
        child = make_project(access_server, project)
        assert code(ask("DELETE", f"/projects/{project}", admin)) == (409, "project_not_empty")
        ask("DELETE", f"/projects/{child}", admin)
        entry = access_server.make.attach(project, new_name())
        assert code(ask("DELETE", f"/projects/{project}", admin)) == (409, "project_not_empty")
        ask("DELETE", f"/projects/{project}/environments/{entry}", admin)
        grant = access_server.make.custom(project)
        protection = access_server.make.protect(grant, "env", "con")
        assert code(ask("DELETE", f"/projects/{project}", admin)) == (409, "project_not_empty")
        ask("DELETE", f"/grants/{grant}/containers/{protection}", admin)
        access_server.make.team(project, ["run.list", grant])
        assert ask("DELETE", f"/projects/{project}", admin).status_code == 204
        assert code(ask("GET", f"/grants/{grant}", admin)) == (404, "unknown_grant")


class TestMoving:
    def test_takes_the_people_of_the_old_place_their_rights_and_gives_those_of_the_new_one(
        self, access_server: AccessServer
    ) -> None:
        old, new = make_project(access_server), make_project(access_server)
        project = make_project(access_server, old)
        make, ask = access_server.make, access_server.ask
        of_old = make.team(old, ["project.read"])
        given_below = make.team(old, ["project.read"], on=project)
        before = [make.token(make.user(of_old)), make.token(make.user(given_below))]
        after = access_server.holder(new, "project.read")
        inside = access_server.holder(project, "project.read")
        path = f"/projects/{project}"
        assert [ask("GET", path, token).status_code for token in (*before, after, inside)] == [200, 200, 404, 200]
        moved = ask("PATCH", path, access_server.everything, {"parentId": new})
        assert moved.json()["parentId"] == new
        assert [ask("GET", path, token).status_code for token in (*before, after, inside)] == [404, 403, 200, 200]

    def test_needs_an_administrator_of_the_place_that_it_leaves(self, access_server: AccessServer) -> None:
        old, new = make_project(access_server), make_project(access_server)
        project = make_project(access_server, old)
        make = access_server.make
        goal = make.administrators_of(new)
        for team in (make.team(old, BUNDLES["administrator"]), make.administrators_of(project)):
            token = make.token(make.user(team, goal))
            answer = access_server.ask("PATCH", f"/projects/{project}", token, {"parentId": new})
            assert (answer.status_code, answer.json()["grant"]) == (403, "project.administer")
        token = make.token(make.user(make.administrators_of(old)))
        answer = access_server.ask("PATCH", f"/projects/{project}", token, {"parentId": new})
        assert code(answer) == (404, "unknown_project")  # it may not know of the goal
        token = make.token(make.user(make.administrators_of(old), goal))
        assert access_server.ask("PATCH", f"/projects/{project}", token, {"parentId": new}).status_code == 200

    def test_brings_no_two_custom_grants_of_one_name_together(self, access_server: AccessServer) -> None:
        upper, project = make_project(access_server), make_project(access_server)
        name = f"deploy {new_name()}"
        access_server.make.custom(upper, name)
        access_server.make.custom(project, name)
        answer = access_server.ask("PATCH", f"/projects/{project}", access_server.everything, {"parentId": upper})
        assert code(answer) == (409, "name_taken")


class TestEnvironments:
    def test_attaching_needs_an_administrator_of_who_has_it(self, access_server: AccessServer) -> None:
        mine, theirs, environment = make_project(access_server), make_project(access_server), new_name()
        ask, make = access_server.ask, access_server.make
        token = access_server.administrator_of(mine)
        body = {"module": MODULE, "environmentId": environment}
        unattached = ask("POST", f"/projects/{mine}/environments", token, body)
        assert (unattached.status_code, unattached.json()["grant"]) == (403, "project.administer")
        make.attach(theirs, environment)
        attached = ask("POST", f"/projects/{mine}/environments", token, {**body, "branch": "main"})
        assert attached.text == unattached.text  # it is not told which it was
        both = make.token(make.user(make.administrators_of(mine), make.administrators_of(theirs)))
        answer = ask("POST", f"/projects/{mine}/environments", both, {**body, "branch": "main"})
        assert answer.status_code == 201
        assert (answer.json()["branch"], answer.json()["projectId"]) == ("main", mine)

    def test_attaching_the_same_branches_elsewhere_moves_them(self, access_server: AccessServer) -> None:
        first, second, environment = make_project(access_server), make_project(access_server), new_name()
        ask, admin = access_server.ask, access_server.everything
        body = {"module": MODULE, "environmentId": environment, "branch": "release/*"}
        for project in (first, second):
            assert ask("POST", f"/projects/{project}/environments", admin, body).status_code == 201
        listed = [ask("GET", f"/projects/{project}/environments", admin).json()["items"] for project in (first, second)]
        assert [[item["branch"] for item in items] for items in listed] == [[], ["release/*"]]

    def test_detaching_hands_it_over_only_by_an_administrator(self, access_server: AccessServer) -> None:
        project, environment = make_project(access_server), new_name()
        ask = access_server.ask
        wide = access_server.make.attach(project, environment)
        narrow = access_server.make.attach(project, environment, "main")
        token = access_server.holder(project, "project.modify")
        path = f"/projects/{project}/environments"
        assert ask("DELETE", f"{path}/{narrow}", token).status_code == 204
        assert ask("DELETE", f"{path}/{wide}", token).json()["grant"] == "project.administer"
        assert ask("DELETE", f"{path}/{wide}", access_server.administrator_of(project)).status_code == 204
        assert code(ask("DELETE", f"{path}/{wide}", access_server.everything)) == (404, "unknown_entry")

    @pytest.mark.parametrize("branch", ["", "a*b", "**", "a\nb", "x" * 501])
    def test_a_branch_is_a_name_or_its_beginning(self, access_server: AccessServer, branch: str) -> None:
        body = {"module": MODULE, "environmentId": "env", "branch": branch}
        answer = access_server.ask("POST", "/projects/root/environments", access_server.everything, body)
        assert answer.status_code == 422

    def test_included_containers_are_inherited_and_need_to_be_visible(self, access_server: AccessServer) -> None:
        upper, environment = make_project(access_server), new_name()
        lower = make_project(access_server, upper)
        ask, admin = access_server.ask, access_server.everything
        body = {"module": MODULE, "branch": "main", "environmentId": environment, "containerId": "con"}
        answer = ask("POST", f"/projects/{upper}/containers", access_server.administrator_of(upper), body)
        assert (answer.status_code, answer.json()["grant"]) == (403, "environment.read")
        assert ask("POST", f"/projects/{upper}/containers", admin, body).json()["allowOverrides"] is True
        changed = ask("POST", f"/projects/{upper}/containers", admin, {**body, "allowOverrides": False}).json()
        (item,) = ask("GET", f"/projects/{lower}/containers", admin).json()["items"]
        assert (item["id"], item["allowOverrides"], item["isInherited"]) == (changed["id"], False, True)
        answer = ask("DELETE", f"/projects/{lower}/containers/{item['id']}", admin)
        assert code(answer) == (404, "unknown_entry")


class TestTeams:
    def test_a_role_gives_all_of_its_grants_and_they_can_be_taken(self, access_server: AccessServer) -> None:
        project = make_project(access_server)
        lower = make_project(access_server, project)
        ask, admin = access_server.ask, access_server.everything
        team = ask("POST", "/teams", admin, {"projectId": project, "name": new_name()}).json()["id"]
        user = access_server.make.user()
        token = access_server.make.token(user)
        body = {"projectId": lower, "bundles": ["operator"], "grants": ["run.argument"]}
        assert ask("POST", f"/teams/{team}/grants", admin, body).status_code == 204
        assert ask("POST", f"/teams/{team}/grants", admin, body).status_code == 204  # again changes nothing
        assert ask("GET", f"/projects/{lower}", token).status_code == 403
        assert ask("PUT", f"/teams/{team}/members/{user}", admin).status_code == 204
        assert ask("PUT", f"/teams/{team}/members/{user}", admin).status_code == 204
        found = ask("GET", f"/projects/{lower}", token).json()
        assert set(found["grants"]) == {*BUNDLES["operator"], "run.argument"}
        assert code(ask("GET", f"/projects/{project}", token)) == (404, "unknown_project")
        listed = ask("GET", f"/teams/{team}/grants", admin).json()["items"]
        assert {item["grant"] for item in listed} == set(found["grants"])
        me = ask("GET", "/me", token).json()
        assert [item["id"] for item in me["teams"]] == [team]
        assert ask("DELETE", f"/teams/{team}/grants/project.read?projectId={lower}", admin).status_code == 204
        assert ask("GET", f"/projects/{lower}", token).status_code == 403
        members = ask("GET", f"/teams/{team}/members", admin).json()["items"]
        assert [item["id"] for item in members] == [user]
        assert ask("DELETE", f"/teams/{team}/members/{members[0]['name']}", admin).status_code == 204
        assert ask("GET", "/runs", token).status_code == 403
        assert code(ask("DELETE", f"/teams/{team}/members/{user}", admin)) == (404, "unknown_member")

    def test_nobody_gives_a_grant_that_he_has_not(self, access_server: AccessServer) -> None:
        project = make_project(access_server)
        make, ask = access_server.make, access_server.ask
        mine = make.team(project, ["grant.modify", "run.list"])
        token = make.token(make.user(mine))
        path = f"/teams/{mine}/grants"
        assert ask("POST", path, token, {"projectId": project, "grants": ["run.list"]}).status_code == 204
        for grants, bundles, missing in ((["run.read"], [], "run.read"), ([], ["viewer"], "cache.list")):
            answer = ask("POST", path, token, {"projectId": project, "grants": grants, "bundles": bundles})
            assert (answer.status_code, answer.json()["grant"]) == (403, missing)
        custom = make.custom(project, name := f"own {new_name()}")
        answer = ask("POST", path, token, {"projectId": project, "grants": [custom]})
        assert (answer.status_code, answer.json()["grant"]) == (403, name)
        answer = ask("POST", path, token, {"projectId": "root", "grants": ["run.list"]})
        assert code(answer) == (404, "unknown_project")

    def test_nobody_makes_himself_a_member_of_a_team_that_has_more(self, access_server: AccessServer) -> None:
        project = make_project(access_server)
        lower = make_project(access_server, project)
        make, ask = access_server.make, access_server.ask
        user = make.user(make.team(project, BUNDLES["administrator"]))
        token = make.token(user)
        assert ask("PUT", f"/teams/{make.team(project, ['run.read'])}/members/{user}", token).status_code == 204
        custom = make.team(lower, [make.custom(lower, name := f"own {new_name()}")])
        for team, missing in (
            (make.administrators_of(project), "project.administer"),
            (make.administrators_of(lower), "project.administer"),
            (custom, name),
        ):
            answer = ask("PUT", f"/teams/{team}/members/{user}", token)
            assert (answer.status_code, answer.json()["grant"]) == (403, missing)
            answer = ask("PATCH", f"/teams/{team}", token, {"externalGroup": "everyone"})
            assert (answer.status_code, answer.json()["grant"]) == (403, missing)

    def test_b4_a_narrow_token_gives_its_scopes_at_most(self, access_server: AccessServer) -> None:
        project = make_project(access_server)
        make, ask = access_server.make, access_server.ask
        token = make.token(make.user(is_administrator=True), ["grant.modify", "team.modify"])
        team = make.team(project, ["run.read"])
        answer = ask("POST", f"/teams/{team}/grants", token, {"projectId": project, "grants": ["run.list"]})
        assert (answer.status_code, answer.json()["grant"]) == (403, "run.list")
        for goal, missing in ((team, "run.read"), ("root-administrators", "project.administer")):
            answer = ask("PUT", f"/teams/{goal}/members/{make.user()}", token)
            assert (answer.status_code, answer.json()["grant"]) == (403, missing)

    def test_only_administrators_remove_administrators(self, access_server: AccessServer) -> None:
        project = make_project(access_server)
        make, ask = access_server.make, access_server.ask
        team = make.administrators_of(project)
        administrator = make.user(team)
        token = access_server.holder(project, *BUNDLES["administrator"])
        path = f"/teams/{team}/members/{administrator}"
        assert ask("DELETE", path, token).json()["grant"] == "project.administer"
        assert ask("DELETE", path, access_server.administrator_of(project)).status_code == 204

    def test_the_administrators_team_stays_as_it_is(self, access_server: AccessServer) -> None:
        project = make_project(access_server)
        ask, admin, team = access_server.ask, access_server.everything, None
        (team,) = ask("GET", f"/teams?projectId={project}", admin).json()["items"]
        assert team["isAdministrators"]
        assert code(ask("DELETE", f"/teams/{team['id']}", admin)) == (409, "not_possible")
        assert code(ask("PATCH", f"/teams/{team['id']}", admin, {"name": "others"})) == (409, "not_possible")
        body = {"projectId": project, "grants": ["run.list"]}
        assert code(ask("POST", f"/teams/{team['id']}/grants", admin, body)) == (409, "not_possible")
        answer = ask("POST", "/teams", admin, {"projectId": project, "name": "Administrators"})
        assert code(answer) == (409, "name_taken")

    def test_a_team_is_given_nothing_outside_of_its_project(self, access_server: AccessServer) -> None:
        project, other = make_project(access_server), make_project(access_server)
        team = access_server.make.team(project)
        for goal in (other, "root"):
            body = {"projectId": goal, "grants": ["run.list"]}
            answer = access_server.ask("POST", f"/teams/{team}/grants", access_server.everything, body)
            assert code(answer) == (422, "grant_not_possible")

    @pytest.mark.parametrize(
        ("body", "refusal"),
        [
            ({"grants": ["project.administer"]}, (422, "grant_not_possible")),
            ({"grants": ["user.modify"]}, (422, "grant_not_possible")),
            ({"bundles": ["god"]}, (422, "grant_not_possible")),
            ({"grants": ["run.list\x00"]}, (422, "validation_failed")),
            ({"grants": ["*"]}, (404, "unknown_grant")),
            ({"grants": ["run.exectue"]}, (404, "unknown_grant")),
            ({"grants": ["0198a1b2-0000-7000-8000-00000000000a"]}, (404, "unknown_grant")),
        ],
    )
    def test_what_cannot_be_given_is_refused(
        self, access_server: AccessServer, body: dict[str, Any], refusal: tuple[int, str]
    ) -> None:
        project = make_project(access_server)
        team = access_server.make.team(project)
        answer = access_server.ask(
            "POST", f"/teams/{team}/grants", access_server.everything, {"projectId": project, **body}
        )
        assert code(answer) == refusal

    @pytest.mark.parametrize("field", ["grants", "bundles", "projectId"])
    def test_what_cannot_be_written_is_refused(self, access_server: AccessServer, field: str) -> None:
        body = {"projectId": "root", field: "\ud83d" if field == "projectId" else ["\ud83d"]}
        answer = access_server.client.post(
            f"/api/v1/teams/{access_server.make.team('root')}/grants",
            content=json.dumps(body),
            headers={"Content-Type": "application/json", "Authorization": f"token {access_server.everything}"},
        )
        assert code(answer) == (422, "validation_failed")

    def test_a_custom_grant_is_not_given_outside_of_its_project(self, access_server: AccessServer) -> None:
        project, other = make_project(access_server), make_project(access_server)
        grant = access_server.make.custom(other)
        body = {"projectId": project, "grants": [grant]}
        answer = access_server.ask(
            "POST", f"/teams/{access_server.make.team(project)}/grants", access_server.everything, body
        )
        assert code(answer) == (404, "unknown_grant")

    def test_teams_come_in_pages(self, access_server: AccessServer) -> None:
        project = make_project(access_server)
        made = {access_server.make.team(project) for _ in range(4)} | {access_server.make.administrators_of(project)}
        token = access_server.holder(project, "team.list")
        found: list[str] = []
        cursor = ""
        while cursor is not None:
            page = access_server.ask("GET", f"/teams?limit=2{cursor}", token).json()
            found += [item["id"] for item in page["items"]]
            cursor = page["nextCursor"] and f"&cursor={page['nextCursor']}"
        assert len(found) == 6  # and the caller's own
        assert made < set(found)
        answer = access_server.ask("GET", "/teams?cursor=nonsense", token)
        assert answer.status_code == 400

    def test_a_deleted_account_leaves_its_teams(self, access_server: AccessServer) -> None:
        project = make_project(access_server)
        team = access_server.make.team(project)
        user = access_server.make.user(team)
        ask, admin = access_server.ask, access_server.everything
        assert ask("DELETE", f"/users/{user}", admin).status_code == 204
        assert ask("GET", f"/teams/{team}/members", admin).json()["items"] == []


class TestAccounts:
    def test_nobody_changes_an_account_that_has_more_than_he_has(self, access_server: AccessServer) -> None:
        make, ask = access_server.make, access_server.ask
        project = make_project(access_server)
        token = access_server.holder("root", "user.modify", "user.delete", "user.read", "run.list")
        for team, missing in (
            ("root-administrators", "project.administer"),
            (make.administrators_of(project), "project.administer"),
            (make.team(project, ["run.read"]), "run.read"),
        ):
            path = f"/users/{make.user(team)}"
            for answer in (ask("PATCH", path, token, {"displayName": "x"}), ask("DELETE", path, token)):
                assert (answer.status_code, answer.json()["grant"]) == (403, missing)
        path = f"/users/{make.user(make.team(project, ['run.list']))}"
        assert ask("PATCH", path, token, {"displayName": "x"}).status_code == 200
        assert ask("DELETE", path, token).status_code == 204


class TestGrants:
    def test_the_catalogue_has_every_built_in_grant_for_everybody(self, access_server: AccessServer) -> None:
        token = access_server.make.token(access_server.make.user())
        access_server.make.custom(make_project(access_server))
        items = access_server.ask("GET", "/grants", token).json()["items"]
        assert {item["id"] for item in items} == GRANTS.keys()
        by_id = {item["id"]: item for item in items}
        assert by_id["run.list"]["bundles"] == ["viewer", "operator", "editor", "administrator"]
        assert by_id["user.create"]["isServerWide"]

    def test_custom_grants_are_listed_where_they_can_be_given(self, access_server: AccessServer) -> None:
        upper = make_project(access_server)
        lower, other = make_project(access_server, upper), make_project(access_server)
        grants = {project: access_server.make.custom(project) for project in (upper, lower, other)}
        token = access_server.holder(lower, "grant.list")

        def custom(query: str) -> set[str]:
            items = access_server.ask("GET", f"/grants{query}", token).json()["items"]
            return {item["id"] for item in items if item["kind"] == "custom"}

        assert custom("") == {grants[lower]}
        assert custom(f"?projectId={lower}") == {grants[lower], grants[upper]}
        answer = access_server.ask("GET", f"/grants?projectId={other}", token)
        assert code(answer) == (404, "unknown_project")

    def test_a_name_is_taken_once_on_every_path_down(self, access_server: AccessServer) -> None:
        upper = make_project(access_server)
        lower, other = make_project(access_server, upper), make_project(access_server)
        ask, admin, name = access_server.ask, access_server.everything, f"Deploy {new_name()}"
        assert ask("POST", "/grants", admin, {"projectId": upper, "name": name}).status_code == 201
        for project in (upper, lower, "root"):
            answer = ask("POST", "/grants", admin, {"projectId": project, "name": name.lower()})
            assert code(answer) == (409, "name_taken")
        assert ask("POST", "/grants", admin, {"projectId": other, "name": name}).status_code == 201

    @pytest.mark.parametrize("name", ["*", "run.list", "a\nb", "a'b", "0198a1b2-0000-7000-8000-00000000000a"])
    def test_no_custom_grant_looks_like_another(self, access_server: AccessServer, name: str) -> None:
        answer = access_server.ask("POST", "/grants", access_server.everything, {"projectId": "root", "name": name})
        assert answer.status_code == 422

    def test_what_protects_cannot_be_deleted_and_is_opened_by_a_holder_only(self, access_server: AccessServer) -> None:
        project = make_project(access_server)
        grant = access_server.make.custom(project)
        ask = access_server.ask
        token = access_server.holder(project, *BUNDLES["administrator"])
        body = {"module": MODULE, "environmentId": "e", "containerId": "c"}
        first = ask("POST", f"/grants/{grant}/containers", token, body)
        assert first.status_code == 201
        assert ask("POST", f"/grants/{grant}/containers", token, body).json() == first.json()
        assert code(ask("DELETE", f"/grants/{grant}", token)) == (409, "grant_in_use")
        path = f"/grants/{grant}/containers/{first.json()['id']}"
        assert ask("DELETE", path, token).status_code == 403
        assert ask("DELETE", path, access_server.holder(project, "grant.modify", grant)).status_code == 204
        assert ask("DELETE", f"/grants/{grant}", token).status_code == 204


def test_in_developer_mode_nothing_has_to_be_given(own_server: ServerProcess) -> None:
    client = own_server.client
    project = client.post("/api/v1/projects", json={"name": "mine"}).json()["id"]
    assert client.get(f"/api/v1/projects/{project}").json()["grants"] == ["*"]
    assert client.get("/api/v1/me").json()["grants"] == ["*"]
    team = client.post("/api/v1/teams", json={"projectId": project, "name": "us"}).json()["id"]
    body = {"projectId": project, "bundles": ["editor"]}
    assert client.post(f"/api/v1/teams/{team}/grants", json=body).status_code == 204
    assert client.delete(f"/api/v1/projects/{project}").status_code == 204
