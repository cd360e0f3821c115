"""Generation: who inherits what, who sees what, what is written where."""

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from factories.snapshots import MAIN, attribute, environment, instance, snapshot, template, world
from infraxys.engine.evaluate import Rules
from infraxys.engine.planner import CannotPlan, StepTarget, enabled_modules, make_plan
from infraxys.engine.render import Generation, RenderCache, generate
from infraxys.engine.world import World
from infraxys.spec.identity import BranchPath, ModuleId
from infraxys.spec.snapshot import Dependency
from infraxys.velocity import Limits


def packet(
    name: str, *, files: dict[str, str] | None = None, attributes: list[Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Give the files of a packet whose files are all templates unless declared in `more`."""
    declared = more.pop("declared", [template(file) for file in files or {}])
    model = {"id": f"p-{name}", "label": name, "attributes": attributes or [], "files": declared, **more}
    return {f"packets/{name}/packet.json": model, **{f"packets/{name}/files/{k}": v for k, v in (files or {}).items()}}


def texts(generation: Generation) -> dict[str, str]:
    """Give what was written, by the last part of the path."""
    assert generation.is_complete, generation.problems
    return {file.path.rpartition("/")[2]: file.content.decode() for file in generation.rendered.files}


def render(*parts: dict[str, Any], environment_id: str = "e-prod") -> Generation:
    files: dict[str, Any] = {}
    for part in parts:
        files.update(part)
    return generate(world(snapshot(files)), environment_id)


class TestInheritance:
    def test_own_wins_then_the_first_parent_and_diamonds_count_once(self) -> None:
        generation = render(
            packet(
                "Base", files={"x": "base", "b": "base"}, attributes=[attribute("v", "base"), attribute("w", "base")]
            ),
            packet("Left", files={"x": "left"}, attributes=[attribute("v", "left")], extends=[{"name": "Base"}]),
            packet(
                "Right",
                files={"x": "right", "r": "$v $w"},
                attributes=[attribute("w", "right")],
                extends=[{"name": "Base"}],
            ),
            packet("Own", extends=[{"name": "Left"}, {"name": "Right"}]),
            environment(instance("i", "Own")),
        )
        assert texts(generation) == {"x": "left", "b": "base", "r": "left base"}

    def test_files_alone_are_inherited_the_old_way(self) -> None:
        generation = render(
            packet("Helper", files={"h": "help"}, attributes=[attribute("hidden", "no")]),
            packet("Own", inheritFilesFromPacketGuid=f"{MAIN}\\helper\n".lower()),
            environment(instance("i", "Own")),
        )
        assert texts(generation) == {"h": "help"}

    def test_a_type_of_an_ancestor_is_a_type(self) -> None:
        generation = render(
            packet("Base", type="BASE"),
            packet(
                "Own",
                files={"x": '$instance.hasPacketType("BASE") $instance.hasPacketType("NO")'},
                extends=[{"name": "Base"}],
            ),
            environment(instance("i", "Own")),
        )
        assert texts(generation)["x"] == "true false"


class TestValues:
    def test_are_looked_up_in_the_ancestors_then_the_container_then_the_environment(self) -> None:
        generation = render(
            packet("Top", attributes=[attribute("up", "parent $container.name")]),
            packet(
                "Scoped",
                attributes=[attribute("c", "container", scope="Container"), attribute("e", "all", scope="Environment")],
            ),
            packet(
                "Leaf",
                files={
                    "x": '$instance.getAttribute("up") $c $container.getAttribute("c") $environment.getAttribute("e")'
                },
            ),
            environment(instance("t", "Top", [instance("l", "Leaf")]), instance("s", "Scoped")),
        )
        assert texts(generation)["x"] == "parent web container container all"

    def test_refer_to_one_another_lazily(self) -> None:
        generation = render(
            packet("P", files={"x": "$a"}, attributes=[attribute("a", "<$b>"), attribute("b", "[$container.name]")]),
            environment(instance("i", "P")),
        )
        assert texts(generation)["x"] == "<[web]>"

    def test_a_circle_is_reported_as_the_chain(self) -> None:
        generation = render(
            packet("P", files={"x": "$a"}, attributes=[attribute("a", "$b"), attribute("b", "$a")]),
            environment(instance("i", "P")),
        )
        assert not generation.is_complete
        assert "a → b → a" in str(generation.problems[0])

    def test_a_circle_is_reported_once_however_many_are_in_it(self) -> None:
        names = [f"a{number}" for number in range(20)]
        circle = [attribute(name, f"$a{(number + 1) % 20}") for number, name in enumerate(names)]
        declared = [template("x"), template("y", executable=True)]
        made = packet("P", files={"x": "$a0", "y": "$a7"}, declared=declared, attributes=circle)
        generation = render(made, environment(instance("i", "P")))
        [problem] = generation.problems
        assert " → ".join([*names, "a0"]) in problem.message

    def test_a_long_chain_renders_and_one_without_end_is_refused(self) -> None:
        def chain(length: int) -> Generation:
            attributes = [attribute(f"a{number}", f'#if(true)"$a{number + 1}"#end') for number in range(length)]
            attributes.append(attribute(f"a{length}", "end"))
            return render(packet("P", files={"x": "$a0"}, attributes=attributes), environment(instance("i", "P")))

        assert texts(chain(30))["x"] == '"' * 30 + "end" + '"' * 30
        assert "more than 32 levels deep: 'a0' … 'a32'" in chain(40).problems[0].message

    def test_what_no_file_reads_is_reported_where_actions_get_it(self) -> None:
        attributes = [attribute("wrong", "$missing"), attribute("right", "$container.name")]
        for executable, expected in [(False, []), (True, ["wrong"])]:
            declared = [template("x", executable=executable)]
            made = packet("P", files={"x": "x"}, declared=declared, attributes=attributes)
            generation = render(made, environment(instance("i", "P")))
            assert [problem.attribute for problem in generation.problems] == expected

    def test_what_an_action_gets_is_reported_also_where_its_file_fails(self) -> None:
        attributes = [attribute("wrong", "$missing"), attribute("also", "$nothing", scope="Environment")]
        declared = [template("x", executable=True)]
        generation = render(
            packet("P", files={"x": "$gone"}, declared=declared, attributes=attributes[:1]),
            packet("Q", attributes=attributes[1:]),
            environment(instance("i", "P"), instance("j", "Q")),
        )
        assert [problem.attribute for problem in generation.problems] == ["", "also", "wrong"]

    def test_defaults_for_missing_and_empty_values(self) -> None:
        text = '$i.getAttribute("no", "d") $i.getAttribute("empty", "d") [$i.getAttribute("no", false)]'
        generation = render(
            packet("P", files={"x": text}, attributes=[attribute("empty")]), environment(instance("i", "P"))
        )
        assert texts(generation)["x"] == "d d []"

    def test_a_missing_one_is_an_error_with_place_and_wording(self) -> None:
        generation = render(packet("P", files={"x": "one\n  $missing"}), environment(instance("i", "P")))
        problem = generation.problems[0]
        assert (problem.file, problem.line, problem.column) == ("packets/P/files/x", 2, 3)
        assert "Variable $missing has not been set" in problem.message
        assert problem.where == "container 'web', instance 'P'"

    def test_an_error_in_an_attribute_is_reported_there(self) -> None:
        generation = render(
            packet("P", files={"x": "$a"}, attributes=[attribute("a")]), environment(instance("i", "P", a="ok $nope"))
        )
        problem = generation.problems[0]
        assert problem.file == "environments/prod/web/container.json"
        assert problem.where.endswith("attribute 'a'")
        assert "attribute value[line 1, column 4]" in problem.message

    def test_every_problem_is_reported_not_only_the_first(self) -> None:
        generation = render(packet("P", files={"x": "$one", "y": "$two"}), environment(instance("i", "P")))
        assert len(generation.problems) == 2


class TestTargets:
    def test_save_with_says_where(self) -> None:
        kinds = ["CURRENT INSTANCE", "EVERY INSTANCE", "EVERY CONTAINER", "CURRENT CONTAINER", "CURRENT ENVIRONMENT"]
        files = {kind.lower().replace(" ", "-"): "$container.name" for kind in kinds}
        declared = [template(name, saveWith=kind) for name, kind in zip(files, kinds, strict=True)]
        generation = render(
            packet("P", files=files, declared=declared),
            packet("Q"),
            environment(instance("i", "P", [instance("j", "Q")])),
            {"environments/prod/db/container.json": {"id": "c-db", "roles": [], "instances": [instance("k", "Q")]}},
        )
        assert generation.is_complete
        found = {"/".join(file.path.split("/")[1:]): file.content.decode() for file in generation.rendered.files}
        places = sorted((path.rpartition("/")[0], path.rpartition("/")[2]) for path in found)
        of = lambda name: sorted(place for place, file in places if file == name)  # noqa: E731 - shorter
        assert [place.split("/")[0] for place in of("every-instance")] == ["db", "web", "web"]
        assert of("every-container") == ["db/container.auto", "web/container.auto"]
        assert of("current-container") == ["web/container.auto"]
        assert of("current-environment") == ["environment.auto"]
        assert len(of("current-instance")) == 1
        assert found["db/container.auto/every-container"] == "db"

    def test_roles_are_evaluated_in_the_container_that_uses_them(self) -> None:
        generation = render(
            packet("P", files={"x": "$container.name"}),
            {"roles/R/role.json": {"id": "r", "instances": [instance("i", "P")]}},
            environment(roles=[{"name": "R", "id": "r", "path": str(MAIN)}]),
        )
        assert texts(generation)["x"] == "web"

    def test_templates_can_leave_out_files_and_actions_and_name_them(self) -> None:
        files = {
            "no-action.sh": "#set($skip_action_creation = true)a",
            "no-file.sh": "#set($skip_file_creation = true)b",
            "named.sh": '#set($menu_caption = "Do it")#set($action_instance_label = "It")c',
        }
        declared = [template(name, executable=True) for name in files]
        generation = render(packet("P", files=files, declared=declared), environment(instance("i", "P")))
        assert set(texts(generation)) == {"no-action.sh", "named.sh"}
        assert [(a.filename, a.caption, a.instance_label) for a in generation.actions.values()] == [
            ("named.sh", "Do it", "It")
        ]

    def test_include_lines_are_replaced_before_rendering(self) -> None:
        declared = [template("x"), template("shared", includeName="the shared one")]
        files = {"x": "<INCLUDE the shared one>\nend", "shared": "hello $container.name\n"}
        generation = render(packet("P", files=files, declared=declared), environment(instance("i", "P")))
        assert texts(generation)["x"] == "hello web\nend"

    def test_an_unknown_include_and_a_circle_are_problems(self) -> None:
        for text in ("<INCLUDE nothing>", "<INCLUDE x>"):
            generation = render(packet("P", files={"x": text}), environment(instance("i", "P")))
            assert [problem.code for problem in generation.problems] == ["unknown_include"]

    def test_files_that_are_no_templates_are_copied(self) -> None:
        declared = [{"id": "f", "filename": "x"}]
        generation = render(
            packet("P", files={"x": "$not #if a template"}, declared=declared), environment(instance("i", "P"))
        )
        assert texts(generation)["x"] == "$not #if a template"


class TestAgain:
    def make(self, value: str, other: str) -> World:
        files = {
            **packet("P", files={"x": "$a $net.getAttribute('a')"}, attributes=[attribute("a")]),
            **environment(instance("one", "P", a=value), instance("two", "P", a="2"), instance("net", "P", a=other)),
        }
        return world(snapshot(files))

    def test_the_same_content_has_the_same_digest(self) -> None:
        first, second = (generate(self.make("1", "n"), "e-prod") for _ in range(2))
        assert first.rendered.digest == second.rendered.digest

    def test_only_what_read_a_changed_attribute_is_rendered_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cache = RenderCache()
        generate(self.make("1", "n"), "e-prod", cache)
        rendered: list[str] = []
        from infraxys.engine import render as module  # noqa: PLC0415 - patched below

        real = module._Generator._render_now

        def counting(self: Any, job: Any, source: str) -> Any:
            rendered.append(job.instance.id)
            return real(self, job, source)

        monkeypatch.setattr(module._Generator, "_render_now", counting)
        generate(self.make("1", "n"), "e-prod", cache)
        assert rendered == []
        changed = generate(self.make("9", "n"), "e-prod", cache)
        assert rendered == ["one"]
        assert any(file.content == b"9 n" for file in changed.rendered.files)
        rendered.clear()
        generate(self.make("9", "m"), "e-prod", cache)
        assert sorted(rendered) == ["net", "one", "two"]


class TestPlan:
    def plan_world(self) -> World:
        library = snapshot(packet("Lib"), ModuleId("host", "org", "lib"))
        own = snapshot(
            {
                **packet(
                    "P",
                    files={"go.sh": "go", "data": "d"},
                    declared=[template("go.sh", executable=True, timeoutSeconds=5), template("data")],
                    attributes=[attribute("a", "$container.name"), attribute("LD_PRELOAD", "x")],
                ),
                **environment(instance("i", "P")),
            },
            dependencies=(Dependency("host/org/lib", "main"),),
        )
        return world(own, library)

    def test_resolves_everything_that_a_run_needs(self) -> None:
        made = self.plan_world()
        generation = generate(made, "e-prod")
        plan = make_plan(
            made, made.environment("e-prod"), generation, [StepTarget("c-web", "i", "go.sh")], kind="action"
        )
        step = plan.steps[0]
        assert step.timeout_seconds == 5
        assert step.attributes == {"a": "web"}
        assert step.variables["INSTANCE_GUID"] == "i"
        assert step.is_sourced
        assert {str(path) for path in plan.commits} == {"host\\org\\repo\\main", "host\\org\\lib\\main"}
        assert [str(module.path) for module in step.modules] == ["host\\org\\repo\\main", "host\\org\\lib\\main"]

    @pytest.mark.parametrize(("filename", "code"), [("nothing", "unknown_file"), ("data", "not_executable")])
    def test_refuses_what_is_no_action(self, filename: str, code: str) -> None:
        made = self.plan_world()
        generation = generate(made, "e-prod")
        with pytest.raises(CannotPlan) as refused:
            make_plan(made, made.environment("e-prod"), generation, [StepTarget("c-web", "i", filename)], kind="action")
        assert refused.value.code == code

    def test_modules_of_marked_descendants_are_enabled_too(self) -> None:
        marked = snapshot(
            packet("Marked", attributes=[attribute("enable_module_in_parents", "1")]), ModuleId("host", "org", "marked")
        )
        child = {**instance("k", "Marked"), "packetPath": "host\\org\\marked\\main"}
        own = snapshot({**packet("P"), **environment(instance("i", "P", [child]))})
        made = world(own, marked)
        top = next(made.environment("e-prod").instances())
        assert {str(module.path.module) for module in enabled_modules(made, top)} == {
            "host/org/repo",
            "host/org/marked",
        }

    def test_modules_of_instances_that_ask_for_it_are_enabled_everywhere_also_if_they_are_included(self) -> None:
        core = snapshot(
            {
                **packet("Core", attributes=[attribute("always_enable_module", "1")]),
                **environment(
                    {**instance("c", "Core"), "packetPath": "host\\org\\core\\main"}, name="core", container="all"
                ),
            },
            ModuleId("host", "org", "core"),
        )
        snapshots = core, snapshot({**packet("P"), **environment(instance("i", "P"))})
        [container] = world(*snapshots, root=BranchPath(core.module, "main")).environment("e-core").containers
        made = world(*snapshots)
        made.include("e-prod", [container])
        [view] = made.environment("e-prod").instances()
        assert [str(module.path.module) for module in enabled_modules(made, view)] == ["host/org/repo", "host/org/core"]

    def test_a_reference_to_the_own_module_means_the_own_branch(self) -> None:
        files = {
            **packet("P", files={"x": "here"}),
            **environment({**instance("i", "P"), "packetPath": "host\\org\\repo\\master"}),
        }
        made = world(snapshot(files))
        assert texts(generate(made, "e-prod"))["x"] == "here"
        assert made.root == BranchPath(ModuleId("host", "org", "repo"), "main")


class TestIncludedContainers:
    FILES: ClassVar[dict[str, Any]] = {
        **packet(
            "Shared",
            files={"wide": "$container.name"},
            attributes=[attribute("region", "eu", scope="Environment")],
            declared=[template("wide", saveWith="EVERY CONTAINER")],
        ),
        **packet("P", files={"x": "$vpc.getAttribute('region') $region $other.name"}),
        **environment(instance("vpc", "Shared"), instance("other", "Shared"), name="shared", container="base"),
        **environment(instance("i", "P"), instance("other", "P"), name="prod"),
    }  # fmt: skip

    def test_are_seen_by_velocity_name_and_scope_and_write_their_wide_files(self) -> None:
        made = world(snapshot(self.FILES))
        made.include("e-prod", made.environment("e-shared").containers)
        generation = generate(made, "e-prod")
        paths = {file.path: file.content.decode() for file in generation.rendered.files}
        assert [text for path, text in paths.items() if path.endswith("/x")] == ["eu eu P", "eu eu P"]
        assert [path.split("/", 1)[1] for path in paths if path.endswith("/wide")] == ["web/container.auto/wide"]
        assert [(item.code, item.severity) for item in generation.problems] == [("duplicate_velocity_name", "warning")]

    def test_count_before_the_environment_s_own_where_they_cannot_be_overridden(self) -> None:
        files = {
            **self.FILES,
            **packet(
                "Own",
                files={"wide": "own"},
                attributes=[attribute("region", "us", scope="Environment")],
                declared=[template("wide", saveWith="EVERY CONTAINER")],
            ),
            **environment(instance("vpc2", "Own"), instance("i", "P"), instance("other", "P"), name="prod"),
        }
        for imposed, region, wide in ((False, "us", "own"), (True, "eu", "web")):
            made = world(snapshot(files))
            containers = made.environment("e-shared").containers
            made.include("e-prod", containers, {item.id for item in containers} if imposed else frozenset())
            made_files = texts(generate(made, "e-prod"))
            assert made_files["x"].startswith(f"eu {region} ")
            assert made_files["wide"] == wide

    def test_are_gone_when_they_are_not_included_any_more(self) -> None:
        made = world(snapshot(self.FILES))
        made.include("e-prod", made.environment("e-shared").containers)
        assert made.includes("e-prod")
        made.include("e-prod", [])
        assert not made.includes("e-prod")
        assert "vpc" not in made.environment("e-prod").by_velocity_name

    def test_are_not_seen_without_being_included(self) -> None:
        assert not render(self.FILES).is_complete


def test_the_velocity_context_gives_variables_by_name() -> None:
    text = "#set($a = 'set')$velocityContext.get('a') $velocityContext.get('port') [$!velocityContext.get('no')]"
    text += "$velocityContext.containsKey('a')#set($x = $velocityContext.put('b', 'put')) $b"
    generation = render(
        packet("P", files={"x": text}, attributes=[attribute("port", "80")]), environment(instance("i", "P"))
    )
    assert texts(generation)["x"] == "set 80 []true put"


class TestReuse:
    FILES: ClassVar[dict[str, Any]] = {
        **packet("P", files={"x": "$port"}, attributes=[attribute("port", "80")]),
        **packet("Unused", files={"y": "1"}),
        **environment(instance("i", "P")),
    }

    def test_a_commit_that_touches_nothing_of_the_environment_costs_nothing(self) -> None:
        cache, before = RenderCache(), snapshot(self.FILES)
        first = generate(world(before), "e-prod", cache)
        assert generate(world(replace(before, commit="later")), "e-prod", cache) is first

    def test_a_packet_that_changed_is_rendered_again(self) -> None:
        cache, before = RenderCache(), snapshot(self.FILES)
        generate(world(before), "e-prod", cache)
        changed = snapshot({**self.FILES, "packets/P/files/x": "port $port"})
        mixed = replace(before, packets=changed.packets, packets_by_name=changed.packets_by_name, read=changed.read)
        assert texts(generate(world(mixed), "e-prod", cache))["x"] == "port 80"

    def test_what_failed_is_tried_again(self) -> None:
        cache, before = RenderCache(), snapshot({**self.FILES, "packets/P/files/x": "$nothing"})
        first = generate(world(before), "e-prod", cache)
        assert not first.is_complete
        assert generate(world(before), "e-prod", cache) is not first

    def test_what_takes_too_long_ends_with_what_was_rendered_and_says_so(self) -> None:
        generation = generate(world(snapshot(self.FILES)), "e-prod", rules=Rules(seconds=-1))
        assert [(item.code, item.file) for item in generation.problems] == [
            ("generation_too_slow", "environments/prod/environment.json")
        ]
        assert not generation.is_complete

    def test_the_installation_chooses_where_the_module_does_not(self) -> None:
        made = snapshot({**self.FILES, "packets/P/files/x": "is $nothing"})
        lenient = Rules(strict=False)
        assert not generate(world(made), "e-prod").is_complete
        assert texts(generate(world(made), "e-prod", rules=lenient))["x"] == "is $nothing"
        strict = replace(made, settings={"velocity": {"strict": True}})
        assert not generate(world(strict), "e-prod", rules=lenient).is_complete

    def test_the_installation_chooses_the_limits(self) -> None:
        made = snapshot({**self.FILES, "packets/P/files/x": "#foreach($i in [1..99])$i#end"})
        assert generate(world(made), "e-prod").is_complete
        small = Rules(limits=Limits(steps=99))
        [problem] = generate(world(made), "e-prod", rules=small).problems
        assert "more than 99 steps" in problem.message

    def test_other_strictness_is_another_generation(self) -> None:
        cache, before = RenderCache(), snapshot(self.FILES)
        first = generate(world(before), "e-prod", cache)
        lenient = replace(before, settings={"velocity": {"strict": False}})
        assert generate(world(lenient), "e-prod", cache) is not first
