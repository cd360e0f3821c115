"""The OpenAPI document, and the same for people: one static page with no script and nothing from elsewhere."""

from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from infraxys.server.auth.permissions import SIGNED_IN, Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.errors import responses
from infraxys.server.paths import API

router = APIRouter(include_in_schema=False)
Known = Annotated[Subject, Depends(Requires(SIGNED_IN))]


@router.get(f"{API}/openapi.json", operation_id="get_openapi", responses=responses(401, 500))
async def document(request: Request, subject: Known) -> Response:
    """Give the OpenAPI document."""
    del subject
    return JSONResponse(request.app.openapi())


@router.get("/api/docs", operation_id="get_reference", responses=responses(401, 500))
async def reference(request: Request, subject: Known) -> Response:
    """Give the reference for people."""
    del subject
    return HTMLResponse(page(request.app.openapi()))


def page(openapi: dict[str, Any]) -> str:
    """Write the document as HTML."""
    title = f"{openapi['info']['title']} API {openapi['info']['version']}"
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head><body>',
        f'<h1>{escape(title)}</h1><p>For programs: <a href="{API}/openapi.json">{API}/openapi.json</a>. ',
        "Credentials: <code>Authorization: token &lt;personal access token&gt;</code>.</p>",
    ]
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            parts += _operation(method, path, operation)
    return "".join([*parts, "</body></html>"])


def _operation(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    name = escape(operation["operationId"])
    parameters = "".join(
        f"<li><code>{escape(item['name'])}</code> ({escape(item['in'])}) {escape(item.get('description', ''))}</li>"
        for item in operation.get("parameters", [])
    )
    answers = "".join(
        f"<li><code>{escape(status)}</code> {escape(answer['description'])}</li>"
        for status, answer in sorted(operation["responses"].items())
    )
    return [
        f'<section id="{name}"><h2><code>{escape(method.upper())} {escape(path)}</code></h2>',
        f"<p>{escape(operation.get('description', ''))}</p>",
        f"<h3>Parameters</h3><ul>{parameters}</ul>" if parameters else "",
        f"<h3>Answers</h3><ul>{answers}</ul></section>",
    ]
