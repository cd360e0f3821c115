"""Who may change instances, in server mode: by calls, and by actions for who started them."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from factories.asking import PYTHON
from factories.instances import CHILD, CONTAINER, ENVIRONMENT, ITEM, ORG, REPOSITORY, ROLE_INSTANCE, ROOT, shapes
from factories.repositories import GitRepository
from plugins.access import AccessServer
from plugins.server import ServerProcess, make_folder
from plugins.shapes import MODULE

BRANCH = "rights"
EDITOR = ("environment.read", "action.execute", "run.read", "instance.create", "instance.modify", "instance.delete")
REFERENCE = {
    "moduleBranchPath": f"{ORG}\\{REPOSITORY}\\{BRANCH}",
    "environmentId": ENVIRONMENT,
    "containerId": CONTAINER,
}


@dataclass
class Guarded:
    """The module in a project of a server with permissions."""

    server: AccessServer
    project: str

    def holder(self, *grants: str) -> str:
        """Give the token of somebody new with grants on the project."""
        return self.server.holder(self.project, *grants)

    def save(self, token: str, instance_id: str = CHILD, **values: str) -> httpx.Response:
        """Change values of an instance."""
        attributes = [{"name": name, "value": value} for name, value in values.items()]
        body = {**REFERENCE, "id": instance_id, "attributes": attributes}
        return self.server.ask("POST", "/instances", token, {"instance": body})

    def ensure(self, token: str, *wanted: dict[str, Any], parent: str = ROOT) -> httpx.Response:
        """Ensure children."""
        path = f"/instance/{BRANCH}/{CONTAINER}/instances/{parent}/children/ensure"
        return self.server.ask("POST", path, token, {"instances": list(wanted)})

    def run(self, token: str, code: str) -> str:
        """Execute an action that asks; gives its log."""
        path = f"/instance/{BRANCH}/{ROOT}/files/code.py/execute"
        answer = self.server.ask("POST", path, token, {"argument": {"code": PYTHON + code}})
        assert answer.status_code == 200, answer.text
        log: str = answer.json()["log"]
        return log

    def head(self) -> str:
        """Give the commit that the branch is served at."""
        modules = self.server.ask("GET", "/modules", self.server.everything).json()["items"]
        branches = next(item for item in modules if item["name"] == MODULE)["branches"]
        return str(next(item for item in branches if item["name"] == BRANCH)["commit"])


@pytest.fixture(scope="module")
def guarded(access_server: AccessServer) -> Iterator[Guarded]:
    repository = GitRepository(access_server.folder / "tests" / f"{REPOSITORY}.git")
    repository.commit(shapes(), branch=BRANCH)
    added = access_server.ask("POST", "/modules", access_server.everything, {"url": str(repository.path)})
    assert added.status_code == 201, added.text
    project = access_server.make.project()
    access_server.make.attach(project, ENVIRONMENT, BRANCH, MODULE)
    yield Guarded(access_server, project)
    access_server.ask("DELETE", f"/modules/{MODULE.replace('/', '%2F')}", access_server.everything)


def update(**fields: str) -> str:
    """Give code of an action that changes the child."""
    return f'print(ask({{"requestType": "UPDATE INSTANCE", "dbId": {CHILD!r}, "fields": {fields!r}}}))'


class TestGrants:
    def test_each_kind_of_change_takes_its_grant(self, guarded: Guarded) -> None:
        before = guarded.head()
        reader = guarded.holder("environment.read", "instance.create")
        assert guarded.save(guarded.holder("environment.read", "instance.create"), size="2").json()["grant"] == (
            "instance.modify"
        )
        # It is found by its key, so that it would be changed.
        refused = guarded.ensure(reader, {"key": "one", "size": "2"})
        assert (refused.status_code, refused.json()["grant"]) == (403, "instance.modify")
        assert guarded.head() == before
        assert guarded.ensure(reader, {"key": "new"}).json()["status"] == "SUCCESS"
        writer = guarded.holder("instance.modify")
        assert guarded.save(writer, size="3").json()["status"] == "SUCCESS"

    def test_who_has_it_elsewhere_is_told_that_there_is_nothing(self, guarded: Guarded) -> None:
        stranger = guarded.server.holder(guarded.server.make.project(), *EDITOR)
        for answer in (
            guarded.save(stranger, size="2"),
            guarded.ensure(stranger, {"key": "x"}),
            guarded.server.ask("GET", "/instances", stranger, {**REFERENCE, "instanceId": CHILD}),
            guarded.server.ask("GET", f"/container/{CONTAINER}/instances/{ROOT}/children", stranger, {}),
        ):
            assert answer.status_code == 404
            assert answer.json()["code"] in {"unknown_instance", "unknown_branch", "unknown_container"}

    def test_a_role_is_changed_by_who_may_change_it_for_all(self, guarded: Guarded) -> None:
        editor = guarded.holder(*EDITOR)
        refused = guarded.save(editor, ROLE_INSTANCE, title="for all")
        assert (refused.status_code, refused.json()["grant"]) == (403, "role.modify")
        make = guarded.server.make
        user = make.user(make.team(guarded.project, EDITOR), make.team("root", ["role.modify"]))
        assert guarded.save(make.token(user), ROLE_INSTANCE, title="for all").json()["status"] == "SUCCESS"

    def test_a_token_changes_no_more_than_its_scopes(self, guarded: Guarded) -> None:
        make = guarded.server.make
        user = make.user(make.team(guarded.project, EDITOR))
        narrow = make.token(user, ["environment.read", "instance.create"])
        assert guarded.save(narrow, size="9").status_code == 403
        assert guarded.ensure(narrow, {"key": "scoped"}).json()["status"] == "SUCCESS"


class TestActions:
    def test_an_action_changes_what_its_starter_may_change(self, guarded: Guarded) -> None:
        before = guarded.head()
        assert "the answer is FAILED" in (log := guarded.run(guarded.holder("action.execute"), update(size="4")))
        assert "[infraxys] no instance" in log
        looker = guarded.holder("action.execute", "environment.read")
        assert "the grant 'instance.modify' is required" in guarded.run(looker, update(size="4"))
        assert guarded.head() == before
        assert '"updated"' in guarded.run(guarded.holder(*EDITOR), update(size="4"))
        assert guarded.head() != before

    def test_the_scopes_of_the_token_that_started_it_hold_for_it(self, guarded: Guarded) -> None:
        make = guarded.server.make
        user = make.user(make.team(guarded.project, EDITOR))
        narrow = make.token(user, ["action.execute", "environment.read"])
        assert "the grant 'instance.modify' is required" in guarded.run(narrow, update(size="5"))

    def test_removing_others_at_an_import_takes_the_grant_for_it(self, guarded: Guarded) -> None:
        request = {
            "requestType": "IMPORT INSTANCES", "parentInstanceId": ROOT, "packetGuid": ITEM,
            "removeExistingChildren": True, "instances": [{"fields": {"key": "one"}}],
        }  # fmt: skip
        guarded.ensure(guarded.holder(*EDITOR), {"key": "to be removed"})
        keeper = guarded.holder(*(grant for grant in EDITOR if grant != "instance.delete"))
        assert "the grant 'instance.delete' is required" in guarded.run(keeper, f"ask({request!r})")
        assert '"removed": ' in guarded.run(guarded.holder(*EDITOR), f"print(ask({request!r}))")

    def test_environments_are_made_where_the_starter_may_make_them(self, guarded: Guarded) -> None:
        other = guarded.server.make.project()
        request = {"requestType": "ENSURE ENVIRONMENT", "projectId": other, "environmentName": "Elsewhere"}
        owner = guarded.holder(*EDITOR, "environment.create")
        assert f"no project '{other}' in which you may make" in guarded.run(owner, f"ask({request!r})")
        request["projectId"] = guarded.project
        assert '"created"' in guarded.run(owner, f"print(ask({request!r}))")
        attached = guarded.server.ask("GET", f"/projects/{guarded.project}/environments", guarded.server.everything)
        assert len(attached.json()["items"]) == 2

    def test_every_change_is_on_record_with_its_commit_and_run(self, guarded: Guarded) -> None:
        editor = guarded.holder(*EDITOR)
        guarded.run(editor, update(owner="recorded"))
        found = guarded.server.ask("GET", "/audit?what=instance.change&limit=500", guarded.server.everything).json()
        last = max(found["items"], key=lambda item: item["sequence"])
        assert (last["target"], last["details"]["commit"]) == (f"instance/{CHILD}", guarded.head())
        assert (last["details"]["message"], last["details"]["branch"]) == ("Update instance 'one'", BRANCH)
        assert last["runId"]


@pytest.fixture
def frozen() -> Iterator[ServerProcess]:
    """A server that changes no modules."""
    folder = make_folder()
    running = ServerProcess(folder, "--no-examples", environment={"INFRAXYS_EDITS": "false"})
    try:
        repository = GitRepository(folder / "tests" / f"{REPOSITORY}.git")
        repository.commit(shapes(), branch=BRANCH)
        running.add_module(repository.path)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_server_can_be_told_to_change_no_modules(frozen: ServerProcess) -> None:
    body = {**REFERENCE, "id": CHILD, "attributes": [{"name": "size", "value": "2"}]}
    answer = frozen.client.post("/api/v1/instances", json={"instance": body})
    assert (answer.status_code, answer.json()["code"]) == (409, "edits_disabled")
    run = frozen.execute(ROOT, "code.py", BRANCH, argument={"code": PYTHON + update(size="2")})
    assert "this server changes no modules" in run["log"]


def test_what_was_changed_is_there_after_a_kill(own_server: ServerProcess) -> None:
    repository = GitRepository(own_server.folder / "tests" / f"{REPOSITORY}.git")
    repository.commit(shapes(), branch=BRANCH)
    own_server.add_module(repository.path)
    body = {**REFERENCE, "id": CHILD, "attributes": [{"name": "size", "value": "77"}]}
    assert own_server.client.post("/api/v1/instances", json={"instance": body}).json()["status"] == "SUCCESS"
    own_server.kill()
    own_server.start()
    found = own_server.client.request("GET", "/api/v1/instances", json={**REFERENCE, "instanceId": CHILD}).json()
    assert {item["name"]: item["value"] for item in found["instance"]["attributes"]}["size"] == "77"
