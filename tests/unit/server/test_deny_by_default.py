"""What declares no permission is not served: the server does not start with it."""

from typing import Any

import pytest
from fastapi import APIRouter, Depends

from infraxys.server import app as application
from infraxys.server.api import routers
from infraxys.server.app import api_routes, build_app
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.rate_limits import RateLimits
from infraxys.server.settings import Settings


class TestDenyByDefault:
    def application_with(self, monkeypatch: pytest.MonkeyPatch, router: APIRouter) -> None:
        class Services:
            settings = Settings()
            rate_limits = RateLimits(settings)
            refusals = None

            def lifespan(self, app: object) -> Any: ...

        monkeypatch.setattr(application, "routers", (*routers, router))
        build_app(Services())

    def test_a_route_without_a_declaration_is_not_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        router = APIRouter()
        router.add_api_route("/api/v1/new", lambda: None, operation_id="get_new")
        with pytest.raises(ValueError, match="exactly one permission"):
            self.application_with(monkeypatch, router)

    def test_a_route_that_loses_its_declaration_is_not_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def handler(subject: Any = Depends(Requires("server.read"))) -> None: ...  # noqa: B008 - as FastAPI has it

        router = APIRouter()
        router.add_api_route("/api/v1/new", handler, operation_id="get_new")
        self.application_with(monkeypatch, router)
        (route,) = api_routes(router)
        route.dependant.dependencies.clear()
        with pytest.raises(ValueError, match="exactly one permission"):
            self.application_with(monkeypatch, router)

    def test_a_route_that_cannot_declare_anything_is_not_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        router = APIRouter()
        router.add_route("/api/v1/new", lambda _: None)  # type: ignore[arg-type, return-value]
        with pytest.raises(ValueError, match="cannot declare a permission"):
            self.application_with(monkeypatch, router)

    def test_a_grant_that_nobody_can_have_cannot_be_asked_for(self) -> None:
        with pytest.raises(ValueError, match="unknown grant"):
            Requires("run.exectue", somewhere=True)
