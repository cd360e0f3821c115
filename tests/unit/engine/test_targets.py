"""Which files are written where, and what cannot be written there."""

from typing import Any

import pytest

from factories.snapshots import MAIN, attribute, environment, instance, snapshot, template, world
from infraxys.engine.planner import StepTarget, make_plan, workflow_targets
from infraxys.engine.render import Generation, generate
from infraxys.engine.world import World
from infraxys.spec.identity import BranchPath, ModuleId
from infraxys.spec.models import Workflow
from infraxys.spec.snapshot import Dependency


def packet(name: str, declared: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Give a packet whose files say where they are."""
    model = {"id": f"p-{name}", "label": name, "files": declared, "attributes": [], **more}
    text = "$instance of $container in $environment"
    files = {f"packets/{name}/files/{file['filename']}": text for file in declared}
    return {f"packets/{name}/packet.json": model, **files}


def made(*parts: dict[str, Any]) -> World:
    files: dict[str, Any] = {}
    for part in parts:
        files.update(part)
    return world(snapshot(files))


def tree(generation: Generation) -> dict[str, str]:
    """Give what is written, by the path in the environment's directory."""
    assert generation.is_complete, generation.problems
    return {file.path.partition("/")[2]: file.content.decode() for file in generation.rendered.files}


ALL_SCOPES = ["CURRENT INSTANCE", "EVERY INSTANCE", "CURRENT CONTAINER", "EVERY CONTAINER", "CURRENT ENVIRONMENT",
              "EVERY ENVIRONMENT"]  # fmt: skip
SHARED = {
    **packet("Shared", [template(scope, saveWith=scope) for scope in ALL_SCOPES]),
    **environment(instance("s", "Shared"), name="base", container="common"),
}


class TestScopes:
    def test_each_goes_where_it_says(self) -> None:
        here = made(
            packet("P", [template(scope, saveWith=scope) for scope in ALL_SCOPES]),
            packet("Q", []),
            packet("R", [], skipEveryInstanceFiles=True),
            environment(instance("i", "P"), instance("q", "Q"), instance("r", "R")),
            {"environments/prod/db/container.json": {"id": "c-db", "roles": [], "instances": [instance("k", "Q")]}},
        )
        generation = generate(here, "e-prod")
        assert tree(generation) == {
            "web/P_i/CURRENT INSTANCE": "P of web in prod",
            "web/P_i/EVERY INSTANCE": "P of web in prod",
            "web/Q_q/EVERY INSTANCE": "Q of web in prod",
            "db/Q_k/EVERY INSTANCE": "Q of db in prod",
            "web/container.auto/CURRENT CONTAINER": "P of web in prod",
            "web/container.auto/EVERY CONTAINER": "P of web in prod",
            "db/container.auto/EVERY CONTAINER": "P of db in prod",
            "environment.auto/CURRENT ENVIRONMENT": "P of web in prod",
            "environment.auto/EVERY ENVIRONMENT": "P of web in prod",
        }
        for path, scope in generation.scopes.items():
            assert path.endswith(f"/{scope}")

    def test_an_included_container_gives_its_wide_files_and_keeps_the_others(self) -> None:
        here = made(SHARED, packet("Q", []), environment(instance("q", "Q")))
        here.include("e-prod", here.environment("e-base").containers)
        assert tree(generate(here, "e-prod")) == {
            "web/Q_q/EVERY INSTANCE": "Q of web in prod",
            "web/container.auto/EVERY CONTAINER": "Shared of web in prod",
            "environment.auto/CURRENT ENVIRONMENT": "Shared of common in prod",
            "environment.auto/EVERY ENVIRONMENT": "Shared of common in prod",
        }

    def test_a_role_is_evaluated_in_every_container_that_uses_it(self) -> None:
        role = {"name": "R", "id": "r", "path": str(MAIN)}
        here = made(
            packet("P", [template("x"), template("all", saveWith="CURRENT CONTAINER")]),
            {"roles/R/role.json": {"id": "r", "instances": [instance("i", "P")]}},
            environment(roles=[role]),
            {"environments/prod/db/container.json": {"id": "c-db", "roles": [role], "instances": []}},
        )
        assert tree(generate(here, "e-prod")) == {
            "web/P_i/x": "P of web in prod", "web/container.auto/all": "P of web in prod",
            "db/P_i/x": "P of db in prod", "db/container.auto/all": "P of db in prod",
        }  # fmt: skip

    @pytest.mark.parametrize("is_dependency", [True, False])
    def test_a_role_is_found_by_nothing_but_its_id(self, *, is_dependency: bool) -> None:
        used = ModuleId("host", "org", "roles")
        own = {**packet("P", [template("x")]), **environment(roles=[{"roleGuid": "r"}])}
        role = {"roles/R/role.json": {"id": "r", "instances": [instance("i", "P")]}}
        dependencies = (Dependency("host/org/roles", "main"),) if is_dependency else ()
        here = world(snapshot(own, dependencies=dependencies), snapshot(role, used))
        assert tree(generate(here, "e-prod")) == {"web/P_i/x": "P of web in prod"}

    def test_ids_are_found_also_where_their_module_has_another_name_by_now(self) -> None:
        old = "host\\org\\before\\main"
        used = ModuleId("host", "org", "roles")
        role = {
            "roles/R/role.json": {
                "id": "r",
                "instances": [{**instance("i", "no"), "packetId": "p-P", "packetPath": old}],
            }
        }
        own = {**packet("P", [template("x")]), **environment(roles=[{"name": "no", "id": "r", "path": old}])}
        assert tree(generate(world(snapshot(own), snapshot(role, used)), "e-prod")) == {"web/P_i/x": "P of web in prod"}

    def test_another_branch_than_the_one_that_is_named_does_not_do(self) -> None:
        used = snapshot(packet("P", [template("x")]), ModuleId("host", "org", "lib"))
        for branch, found in (("main", []), ("feature", ["unknown_packet"])):
            named = {**instance("i", "P"), "packetId": "p-P", "packetPath": f"host\\org\\lib\\{branch}"}
            generation = generate(world(snapshot(environment(named)), used), "e-prod")
            assert [problem.code for problem in generation.problems] == found

    def test_a_role_that_is_nowhere_is_named_by_its_id(self) -> None:
        [found] = generate(made(environment(roles=[{"roleGuid": "r-7"}])), "e-prod").problems
        assert (found.code, found.message) == ("unknown_role", "role 'r-7' is not known here")


class TestEveryInstance:
    """A file that one packet gives to every instance is an action of each."""

    def here(self) -> World:
        library = snapshot(packet("Lib", [template("all.sh", executable=True, saveWith="EVERY INSTANCE",
                                                   timeoutSeconds=9)]), ModuleId("host", "org", "lib"))  # fmt: skip
        brings = {**instance("lib", "Lib"), "packetPath": "host\\org\\lib\\main"}
        own = snapshot({**packet("Q", []), **environment(instance("q", "Q"), brings)})
        return world(own, library)

    def test_can_be_executed_there_with_the_module_that_it_is_from(self) -> None:
        here = self.here()
        generation = generate(here, "e-prod")
        assert ("c-web", "q", "all.sh") in generation.actions
        target = StepTarget("c-web", "q", "all.sh")
        [step] = make_plan(here, here.environment("e-prod"), generation, [target], kind="action").steps
        assert (step.directory, step.timeout_seconds) == ("prod_e-prod/web/Q_q", 9)
        assert BranchPath(ModuleId("host", "org", "lib"), "main") in [module.path for module in step.modules]

    @pytest.mark.parametrize("named", [{"packetFileId": "f-all.sh"}, {"filename": "all.sh"}])
    def test_can_be_a_step_of_a_workflow(self, named: dict[str, str]) -> None:
        step = {"name": "s", "containerId": "c-web", "instanceId": "q", **named}
        workflow = Workflow.model_validate({"id": "w", "name": "w", "steps": [step]})
        [target] = workflow_targets(self.here().environment("e-prod"), workflow)
        assert target.filename == "all.sh"


class TestCollisions:
    def test_an_instance_keeps_its_own_file_and_the_other_is_reported(self) -> None:
        wide = template("x", saveWith="EVERY INSTANCE")
        here = made(
            packet("A", [wide]), packet("B", [{"filename": "x"}]), environment(instance("a", "A"), instance("b", "B"))
        )
        generation = generate(here, "e-prod")
        assert tree(generation)["web/B_b/x"] == "$instance of $container in $environment"
        [found] = generation.problems
        assert (found.code, found.severity, found.container_id) == ("file_collision", "warning", "c-web")
        assert found.message == "'prod_e-prod/web/B_b/x' is also written by instance 'B'; that one is kept"

    def test_equal_files_do_not_collide(self) -> None:
        shared = template("x", saveWith="CURRENT ENVIRONMENT", parseWithVelocity=False)
        generation = generate(
            made(packet("A", [shared]), environment(instance("a", "A"), instance("b", "A"))), "e-prod"
        )
        assert generation.problems == ()

    @pytest.mark.parametrize("names", [("x", "y"), ("y", "x")])
    def test_a_file_where_another_needs_a_directory_is_reported(self, names: tuple[str, str]) -> None:
        files = {"x": template("x"), "y": template("y", directory="x/deep")}
        here = made(packet("A", [files[name] for name in names]), environment(instance("a", "A")))
        generation = generate(here, "e-prod")
        assert [problem.code for problem in generation.problems] == ["file_collision"]
        assert len(generation.rendered.files) == 1

    def test_files_in_directories_beside_one_another_do_not_collide(self) -> None:
        files = [template("x", directory="d/e"), template("y", directory="d"), template("z", directory="../up")]
        generation = generate(made(packet("A", files), environment(instance("a", "A"))), "e-prod")
        assert generation.problems == ()
        assert sorted(tree(generation)) == ["web/A_a/d/e/x", "web/A_a/d/y", "web/A_a/z"]

    def test_a_container_named_as_the_environments_own_directory_is_apart(self) -> None:
        generation = generate(
            made(packet("A", [template("x")]), environment(instance("a", "A"), container="environment.auto")), "e-prod"
        )
        assert list(tree(generation)) == ["environment%2Eauto/A_a/x"]

    def test_labels_and_names_become_safe_directories(self) -> None:
        here = made(
            packet("A", [template("x")], label="%l%", attributes=[attribute("l")]),
            environment(
                instance("a", "A", l="../../etc"), instance("b", "A", l="a b/c"), instance("c", "A", l="-rf $(x)"),
                name="my env", container="my+web",
            ),
        )  # fmt: skip
        generation = generate(here, "e-my env")
        paths = [file.path for file in generation.rendered.files]
        assert paths == [
            "my_env_e-my%20env/my+web/%2Drf_%24%28x%29_c/x",
            "my_env_e-my%20env/my+web/%2E.%2F..%2Fetc_a/x",
            "my_env_e-my%20env/my+web/a_b%2Fc_b/x",
        ]


class TestIds:
    def test_an_id_that_a_container_has_twice_counts_once(self) -> None:
        here = made(packet("A", [template("x")]), environment(instance("a", "A"), instance("a", "A")))
        generation = generate(here, "e-prod")
        assert [(problem.code, problem.severity) for problem in generation.problems] == [("duplicate_id", "warning")]
        assert len(generation.rendered.files) == 1

    def test_a_container_that_the_environment_has_itself_is_not_included_again(self) -> None:
        packets = packet("A", [template("x", saveWith="EVERY CONTAINER")])
        here = made(packets, environment(instance("a", "A")), environment(instance("b", "A"), name="copy"))
        here.include("e-prod", here.environment("e-copy").containers)
        assert here.environment("e-prod").included == []
