"""Lists of values, as far as they need nothing that executes."""

import json

import pytest

from factories.snapshots import attribute, environment, instance, snapshot, world
from infraxys.engine.lists import value_list
from infraxys.engine.planner import StepTarget
from infraxys.engine.render import generate


@pytest.mark.parametrize("files", [[], [{"filename": "x"}]])
def test_an_image_is_asked_also_for_packets_without_files(files: list[dict[str, str]]) -> None:
    asks = attribute("region", source="DOCKER RUN", referenceFilter="regions:1", referenceValueAttributeName="a b\nc")
    packet = {"packets/P/packet.json": {"id": "p", "label": "P", "attributes": [asks], "files": files}}
    texts = {"packets/P/files/x": "1"} if files else {}
    here = world(snapshot({**packet, **texts, **environment(instance("i", "P"))}))
    target = StepTarget("c-web", "i", "")
    found = value_list(here, here.environment("e-prod"), generate(here, "e-prod"), target, "region")
    assert found.plan is not None
    [step] = found.plan.steps
    assert (step.image, json.loads(step.custom_command)) == ("regions:1", ["", "a b", "c"])
