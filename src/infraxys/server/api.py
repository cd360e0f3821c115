"""The table of contents of the API."""

from infraxys.server import health, reference
from infraxys.server.modules import endpoints as modules
from infraxys.server.runs import endpoints as execution
from infraxys.server.runs import reading as runs

routers = (execution.router, runs.router, modules.router, health.router, reference.router)
