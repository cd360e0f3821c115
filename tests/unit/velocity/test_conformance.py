"""The language against results of Apache Velocity 1.7.

`conformance.jsonl` with `worlds.json` is the shared corpus; `recorded.jsonl` has further templates of ours with what
the original does with them (its first line is the context of all of them). Positions of parse errors are not compared:
the original itself is often one token off.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infraxys import velocity
from unit.velocity.fakes import build_context

HERE = Path(__file__).parent
WORLDS = json.loads((HERE / "worlds.json").read_text("utf-8"))
CASES = [json.loads(line) for line in (HERE / "conformance.jsonl").read_text("utf-8").splitlines()]
RECORDED = [json.loads(line) for line in (HERE / "recorded.jsonl").read_text("utf-8").splitlines()]
CONTEXT = RECORDED.pop(0)["context"]

KINDS = {
    velocity.VelocityError: "render",
    velocity.VelocityParseError: "parse",
    velocity.UndefinedReferenceError: "undefined-reference",
    velocity.MethodError: "method-threw",
    velocity.ResourceError: "resource",
}

# Optional cases that this engine answers otherwise, and why.
DIFFERENT = {
    "ref-021": "a lone $ at the end is text here, an error there",
    "ref-060": "a lone $ at the end is text here, an error there",
    "ref-039": "a wrong number of arguments is an unknown method everywhere",
    "ref-050": "classes are out of reach",
    "ref-063": "classes are out of reach",
    "ref-064": "$s.bytes is out of reach",
    "edge-073": "classes are out of reach, so nothing can throw",
    "escape-007": "$name{ keeps its text here",
    "ref-066": "$name{ keeps its text here",
    "comment-006": "a comment after a property is a comment here",
    "edge-044": "blanks before a #set that follows a reference do not break the parse here",
    "edge-081": "a host checks the types of its arguments itself",
}


def outcome(case: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """Render a case and describe the result in the terms of the corpus."""
    template_result: dict[str, Any]
    try:
        result = velocity.compile(case["template"], case.get("id", "recorded")).render(
            context, strict=case["strict"], files=case.get("files")
        )
    except velocity.VelocityError as error:
        template_result = {"error": True}
        if has_kind(case):
            template_result["error_kind"] = KINDS[type(error)]
        if "line" in case and case.get("error_kind") != "parse":
            template_result |= {"line": error.line, "column": error.column}
        return template_result
    template_result = {"expected": result.text}
    if "vars" in case:
        template_result["expected_vars"] = {
            name: result.variables[name] for name in case["vars"] if name in result.variables
        }
    return template_result


def has_kind(case: dict[str, Any]) -> bool:
    """Whether the kind of error counts: not that of accidents."""
    return "error_kind" in case and "optional" not in case


def wanted(case: dict[str, Any]) -> dict[str, Any]:
    keys = ["expected", "expected_vars", "error"] + (["line", "column"] if case.get("error_kind") != "parse" else [])
    keys += ["error_kind"] if has_kind(case) else []
    return {key: case[key] for key in keys if key in case}


@pytest.mark.parametrize("case", [case for case in CASES if case["id"] not in DIFFERENT], ids=lambda case: case["id"])
def test_the_shared_corpus_renders_as_in_the_original(case: dict[str, Any]) -> None:
    assert outcome(case, build_context(case["context"], WORLDS)) == wanted(case)


@pytest.mark.parametrize("case", [case for case in CASES if case["id"] in DIFFERENT], ids=lambda case: case["id"])
def test_only_optional_cases_are_answered_otherwise(case: dict[str, Any]) -> None:
    assert "optional" in case
    assert outcome(case, build_context(case["context"], WORLDS)) != wanted(case)


@pytest.mark.parametrize(
    "case", RECORDED, ids=lambda case: f"{'strict ' if case['strict'] else ''}{case['template']!r}"
)
def test_recorded_templates_render_as_in_the_original(case: dict[str, Any]) -> None:
    assert outcome(case, build_context(CONTEXT, {})) == wanted(case)
