"""Static pages. They hold nothing secret and use the API as everybody does; no script or style stands in a page."""

from importlib.resources import files

from fastapi import APIRouter, Depends
from starlette.responses import Response

from infraxys.server.auth.permissions import Public

router = APIRouter(include_in_schema=False, dependencies=[Depends(Public())])
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
FILES = {name: (files(__package__) / name).read_bytes() for name in ("account.html", "account.js", "account.css")}


def file_response(name: str) -> Response:
    """Give a file."""
    return Response(FILES[name], media_type=TYPES[name.rpartition(".")[2]])


@router.get("/", operation_id="get_account_page")
@router.get("/login", operation_id="get_login_page")
@router.get("/setup", operation_id="get_setup_page")
async def page() -> Response:
    """Give the page; its script shows the part of it that is needed."""
    return file_response("account.html")


@router.get("/pages/account.js", operation_id="get_account_script")
async def script() -> Response:
    """Give the script."""
    return file_response("account.js")


@router.get("/pages/account.css", operation_id="get_account_style")
async def style() -> Response:
    """Give the style."""
    return file_response("account.css")
