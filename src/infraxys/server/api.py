"""The table of contents of the API."""

from infraxys.server import health, reference
from infraxys.server.accounts import endpoints as accounts
from infraxys.server.accounts import openid_endpoints as openid
from infraxys.server.accounts import token_endpoints as tokens
from infraxys.server.accounts import user_endpoints as users
from infraxys.server.audit import endpoints as audit
from infraxys.server.caches import endpoints as caches
from infraxys.server.caches import project_endpoints as project_caches
from infraxys.server.catalog import endpoints as catalog
from infraxys.server.catalog import instance_endpoints as instances
from infraxys.server.live import endpoints as live
from infraxys.server.modules import endpoints as modules
from infraxys.server.pages import endpoints as pages
from infraxys.server.projects import endpoints as projects
from infraxys.server.projects import grant_endpoints as grants
from infraxys.server.projects import team_endpoints as teams
from infraxys.server.runs import artefact_endpoints as artefacts
from infraxys.server.runs import changing as run_changes
from infraxys.server.runs import endpoints as execution
from infraxys.server.runs import list_endpoints as lists
from infraxys.server.runs import reading as runs
from infraxys.server.variables import endpoints as variables

routers = (
    execution.router,
    runs.router,
    run_changes.router,
    artefacts.router,
    caches.router,
    project_caches.router,
    live.router,
    modules.router,
    catalog.router,
    instances.router,
    lists.router,
    accounts.router,
    tokens.router,
    users.router,
    openid.router,
    projects.router,
    teams.router,
    grants.router,
    variables.router,
    audit.router,
    health.router,
    reference.router,
    pages.router,
)
