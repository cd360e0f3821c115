"""What templates may ask, one line for each object and member that the original's templates use."""

from typing import Any

import pytest

from factories.snapshots import MAIN, attribute, environment, instance, snapshot, template, world
from infraxys.engine.render import Generation, generate
from infraxys.spec.problem import Problem

# top (Top) -> mid (Runner) -> leaf (Leaf); beside them `other`, and `vars` with the scoped attributes
PACKETS: dict[str, Any] = {
    "packets/Base/packet.json": {"id": "p-Base", "type": "BASE", "label": "base", "attributes": [], "files": []},
    "packets/Top/packet.json": {
        "id": "p-Top", "type": "TOP", "label": "Top %region%", "extends": [{"name": "Base"}], "files": [],
        "attributes": [attribute("region", "eu"), attribute("enabled", "1"), attribute("target", "other")],
    },
    "packets/Runner/packet.json": {
        "id": "p-Runner", "type": "RUNNER", "key": "k1", "label": "runner", "files": [template("main.tf")],
        "attributes": [attribute("state", "s3"), attribute("empty")],
    },
    "packets/Runner/files/main.tf": "terraform",
    "packets/Scoped/packet.json": {
        "id": "p-Scoped", "label": "vars", "files": [],
        "attributes": [attribute("cvar", "in $container.name", scope="Container"),
                       attribute("evar", "in $environment.name", scope="Environment")],
    },
}  # fmt: skip


PACKET_ATTRIBUTES = (
    "#foreach($p in $environment.allPackets)#if($p.name == 'Runner')#foreach($a in $p.coreClassAttributes)"
    "$a.name|$a.captionKey|$a.tooltip|$a.typeClassName|$a.uiFieldClassName|$a.required|$a.isKey|$a.defaultValue|"
    "$a.newItemsAllowed|$a.maxLength|$a.listOfValues;#end#end#end"
)


def generated(text: str) -> Generation:
    """Render a text in the innermost of three nested instances."""
    leaf = {"id": "p-Leaf", "type": "LEAF", "label": "leaf", "files": [template("x")]}
    leaf["attributes"] = [attribute("own", "mine"), attribute("targets", "other, top"), attribute("target", "other")]
    files = {
        **PACKETS,
        "packets/Leaf/packet.json": leaf,
        "packets/Leaf/files/x": text,
        **environment(
            instance("top", "Top", [instance("mid", "Runner", [instance("leaf", "Leaf")])]),
            instance("other", "Top", region="us", enabled="0"),
            instance("vars", "Scoped"),
        ),
    }
    return generate(world(snapshot(files)), "e-prod")


def shown(text: str) -> str:
    """Give what a text renders to."""
    generation = generated(text)
    assert generation.is_complete, generation.problems
    return next(file.content.decode() for file in generation.rendered.files if file.path.endswith("/x"))


def problem(text: str) -> Problem:
    """Give why a text does not render."""
    [found] = generated(text).problems
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$D ${D}HOME", "$ $HOME"),
        ("$instance $container $environment", "leaf web prod"),
        ("$own ${state} $region $cvar $evar", "mine s3 eu in web in prod"),
        ("$instance_label", "leaf"),
        ("$other.getAttribute('region')", "us"),
        ("#foreach($i in [1..$Integer.parseInt('3')])$i#if($foreach.hasNext),#end#end", "1,2,3"),
        ("$String.join('-', ['a', 'b'])", "a-b"),
        ("#set($l = $velocityUtils.getNewList())#set($x = $l.add('a'))$l", "[a]"),
        ("#set($l = $velocityService.getNewList())$l.size()", "0"),
        ("$velocityUtils.nextAlphabeticCharacter('a')", "b"),
        ("$velocityUtils.doubleQuoteCsvList('a, b,c')", '"a","b","c"'),
        ("#set($a = 7)$velocityContext.get('a') $velocityContext.get('own')", "7 mine"),
    ],
)
def test_the_objects_of_the_context(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$instance.getAttribute('own') $mid.getAttribute('state') $instance.getAttribute('region')", "mine s3 eu"),
        ("$instance.getAttribute('cvar') $instance.getAttribute('evar')", "in web in prod"),
        ("$instance.getAttribute('no', 'd') $instance.getAttribute('empty', 'd') [$instance.getAttribute('no', false)]",
         "d d []"),
        ("$instance.parent.getAttribute('state') $instance.parent.parent", "s3 Top eu"),
        ("#if($instance.parent.parent.parent)x#{else}root#end", "root"),
        ("$instance.getParentInstanceByAttributeValue('region', 'eu')", "Top eu"),
        ("$!instance.getParentInstanceByAttributeValue('own', 'mine', false)", ""),
        ("$instance.getParentInstanceByPacketType('BASE') $!instance.getParentInstanceByPacketType('LEAF')", "Top eu "),
        ("$container.getInstanceByAttributeValue('region', 'us')", "Top us"),
        ("$top.getInstanceByAttributeValue('state', 's3') $!top.getInstanceByAttributeValue('state', 'x')", "runner "),
        ("$instance.byVelocity('target') $instance.byVelocity('top')", "Top us Top eu"),
        ("$!instance.byVelocity('nobody', false, false)$!instance.byVelocity('nobody', true, false)", ""),
        ("$instance.getInstanceByAttributeVelocityName('target', true, false)", "Top us"),
        ("$!instance.getInstanceByAttributeVelocityName('own', true, false)", ""),
        ("$instance.getInstancesByAttributeVelocityNames('targets', false, true)", "[Top us, Top eu]"),
        ("$instance.getInstancesByAttributeVelocityNames('own', false, false)", "[]"),
        ("$top.getInstancesByPacketType('LEAF') $top.getInstancesByPacketType(false, 'RUNNER')", "[leaf] [runner]"),
        ("$top.getInstanceByPacketType('RUNNER') $!top.getInstanceByPacketType('TOP')", "runner "),
        ("$top.getInstanceByPacketTypeAndAttributeValue('RUNNER', 'state', 's3')", "runner"),
        ("$!top.getInstanceByPacketTypeAndAttributeValue('LEAF', 'state', 's3')", ""),
        ("$mid.getInstancesByFileExtensions('.tf') $mid.getInstancesByFileExtensions(false, '.tf', '.x')", "[] []"),
        ("$mid.getInstancesByFileExtensions(true, '.tf')", "[runner]"),
        ("$instance.getAttribute('OWN') $instance.getAttribute('Region') $top.getBoolean('Enabled')", "mine eu true"),
        ("$top.getInstancesByFileExtension('.tf')", "[runner]"),
        ("$instance.getRelativePath()", "prod_e-prod/web/leaf_leaf"),
        ("$top.getBoolean('enabled') $other.getAttributeAsBoolean('enabled')", "true false"),
        ("$top.getBoolean('no')", "false"),
        ("$top.hasPacketType('TOP') $top.hasPacketType('BASE') $top.hasPacketType('LEAF')", "true true false"),
        ("$instance.packetType $instance.getPacketType()", "LEAF LEAF"),
        ("$instance.parent.packetKey [$instance.getPacketKey()]", "k1 []"),
        ("$instance.hasAttributeDefined('own') $instance.hasAttributeDefined('region')", "true false"),
        ("#foreach($a in $mid.attributes)$a.name=$a.value,$a.autoExportToScript;#end", "state=s3,true;empty=,true;"),
        ("$top.getChildren() $instance.children.size()", "[runner] 0"),
        ("$instance.guid $instance.getGuid() $instance.id", "leaf leaf leaf"),
        ("$instance.getPacketGuid() $instance.getPacketModuleBranchPath()", f"p-Leaf {MAIN}"),
        ("$instance.toString() $instance.velocityName", "leaf leaf"),
    ],
)  # fmt: skip
def test_the_members_of_an_instance(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$container.name $container.getName() $container.guid [$container.description]", "web web c-web []"),
        ("$container.getAttribute('cvar') $container.getAttribute('evar')", "in web in prod"),
        ("$container.getAttribute('CVar') $container.getAttribute('eVar')", "in web in prod"),
        ("$container.getAttribute('no', 'd') [$container.getAttribute('no', false)]", "d []"),
        ("#foreach($v in $container.getContainerVars())$v.attributeName=$v.attributeValue#end", "cvar=in web"),
        ("$environment.name $environment.getGuid() $environment.id", "prod e-prod e-prod"),
        ("$environment.getAttribute('evar') $environment.getAttribute('EVAR')", "in prod in prod"),
        ("#foreach($v in $environment.getEnvironmentVars())$v.attributeName=$v.attributeValue#end", "evar=in prod"),
        ("$environment.getModuleBranchPath()", str(MAIN)),
        ("$environment.runtimeModulePath", "/tmp/infraxys/modules/host/org/repo/main"),
        ("#foreach($p in $environment.getAllPackets())$p.name $p.guid $p.packetType;#end",
         "Base p-Base BASE;Leaf p-Leaf LEAF;Runner p-Runner RUNNER;Scoped p-Scoped ;Top p-Top TOP;"),
        (PACKET_ATTRIBUTES,
         "state|||java.lang.String||false|false|s3|false|0|;empty|||java.lang.String||false|false||false|0|;"),
    ],
)  # fmt: skip
def test_the_members_of_containers_and_environments(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$nothing", "Variable $nothing has not been set at x[line 1, column 1]"),
        ("$instance.getAttribute('no')", "Attribute 'no' is not defined for instance 'leaf'"),
        ("$container.getAttribute('no')", "Attribute 'no' is not defined for container 'web'"),
        ("$environment.getAttribute('cvar')", "Attribute 'cvar' is not defined for environment 'prod'"),
        ("$instance.getParentInstanceByAttributeValue('own', 'mine')", "No parent of instance 'leaf' has 'mine'"),
        ("$instance.byVelocity('nobody')", "No instance has the velocity name 'nobody' (known: leaf, mid, other"),
        ("$instance.byVelocity('nobody', false, true)", "No instance has the velocity name 'nobody'"),
        ("$instance.getInstancesByAttributeVelocityNames('own', false, true)", "No instance has the velocity name"),
        ("$environment.throwException('set a region')", "set a region"),
    ],
)  # fmt: skip
def test_what_is_missing_is_an_error_at_its_place(text: str, message: str) -> None:
    found = problem(f"one\n{text}" if "line 1" not in message else text)
    assert message in found.message
    assert found.line == (1 if "line 1" in message else 2)
    assert (found.container_id, found.instance_id, found.attribute) == ("c-web", "leaf", "")


@pytest.mark.parametrize("text", ["#if($instance.parent.parent.parent)x#end", "#if($nothing)x#end", "#set($a = $D)"])
def test_null_is_false_in_a_condition_and_no_error(text: str) -> None:
    assert shown(text) == ""


def test_setting_null_is_no_error() -> None:
    text = "#set($a = $container.getInstanceByAttributeValue('region', 'none'))#if($a)x#{else}null#end"
    assert shown(text) == "null"


def test_an_attribute_is_rendered_only_when_it_is_read() -> None:
    packet = {"id": "p-Leaf", "label": "leaf", "files": [template("x")]}
    packet["attributes"] = [attribute("broken", "$nowhere"), attribute("good", "1")]
    files = {"packets/Leaf/packet.json": packet, "packets/Leaf/files/x": "$good", **environment(instance("i", "Leaf"))}
    assert generate(world(snapshot(files)), "e-prod").is_complete


@pytest.mark.parametrize("reference", ["$instance.getAttribute('%s')", "$%s", "${%s.trim()}"])
def test_a_circle_of_attributes_is_shown_as_the_chain(reference: str) -> None:
    names = ("a", "b", "c")
    packet = {"id": "p-Leaf", "label": "leaf", "files": [template("x")]}
    packet["attributes"] = [
        attribute(name, reference % following) for name, following in zip(names, ("b", "c", "b"), strict=True)
    ]
    files = {"packets/Leaf/packet.json": packet, "packets/Leaf/files/x": "$a", **environment(instance("i", "Leaf"))}
    [found] = generate(world(snapshot(files)), "e-prod").problems
    assert "b → c → b" in found.message
    assert found.attribute in names


def test_a_packet_whose_definition_changed_is_listed_anew() -> None:
    """The answer of getAllPackets is more than the packets' ids: a render that read it is made again."""
    from infraxys.engine.render import RenderCache  # noqa: PLC0415 - of this test alone

    text = "#foreach($p in $environment.getAllPackets())#foreach($a in $p.coreClassAttributes)$a.defaultValue#end#end"
    cache = RenderCache()
    results = []
    for default in ("old", "new"):
        packet = {"id": "p-Leaf", "label": "leaf", "files": [template("x")], "attributes": [attribute("a", default)]}
        files = {"packets/Leaf/packet.json": packet, "packets/Leaf/files/x": text}
        made = world(snapshot({**files, **environment(instance("i", "Leaf"))}))
        results.append(generate(made, "e-prod", cache).rendered.files[0].content)
    assert results == [b"old", b"new"]
