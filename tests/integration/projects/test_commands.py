"""The command line about projects, teams and grants."""

import json
import subprocess
import uuid

from factories.access import MODULE
from factories.modules import CONTAINER, ENVIRONMENT
from plugins.access import AccessServer


def run(server: AccessServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an administrator."""
    return server.command(*arguments, "--server", server.url, "--token", server.everything)


def good(server: AccessServer, *arguments: str) -> str:
    """Run a command that has to work; gives what it prints."""
    done = run(server, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_project_is_set_up_by_commands_alone(access_server: AccessServer) -> None:
    name = uuid.uuid4().hex
    upper = good(access_server, "project", "create", name)
    good(access_server, "project", "create", "Test", "--parent", name)
    good(access_server, "project", "rename", f"{name}/Test", "Production")
    listed = json.loads(good(access_server, "project", "list", "--json"))
    assert {f"{name}/Production", name} <= {item["path"] for item in listed}
    assert "Root" in good(access_server, "project", "list")
    attach = ("project", "attach", f"{name}/Production", f"env-{name}", "--module", MODULE, "--branch", "main")
    good(access_server, *attach)
    listed = json.loads(good(access_server, "project", "environments", f"{name}/Production", "--json"))
    assert [(item["environmentId"], item["branch"]) for item in listed] == [(f"env-{name}", "main")]

    team = good(access_server, "team", "create", "Operators", "--project", upper)
    user = access_server.make.user()
    good(access_server, "team", "add", team, user)
    grant = good(access_server, "grant", "create", f"Deploy {name}", "--project", name)
    place = ("--project", f"{name}/Production")
    good(access_server, "team", "grant", team, *place, "--bundle", "viewer", "--grant", grant)
    good(access_server, "grant", "protect", grant, f"env-{name}", "con-1", "--module", MODULE)
    assert grant in good(access_server, "team", "grants", team, "--json")
    assert len(json.loads(good(access_server, "team", "members", team, "--json"))) == 1
    token = access_server.make.token(user)
    items = access_server.ask("GET", "/projects", token).json()["items"]
    assert [item["name"] for item in items] == ["Production"]

    good(access_server, "project", "set", name, "--description", "what pays", "--limits", '{"processes": 64}')
    shown = json.loads(good(access_server, "project", "show", name))
    assert (shown["description"], shown["limits"], shown["grants"]) == ("what pays", {"processes": 64}, ["*"])
    good(access_server, "team", "set", team, "--group", f"group-{name}")
    assert json.loads(good(access_server, "team", "show", team))["externalGroup"] == f"group-{name}"
    good(access_server, "grant", "set", grant, "--description", "to production")
    protected = json.loads(good(access_server, "grant", "containers", grant, "--json"))
    assert [item["containerId"] for item in protected] == ["con-1"]
    good(access_server, "grant", "unprotect", grant, protected[0]["id"])
    place_of = ("--module", MODULE, "--branch", "main")
    included = good(access_server, "project", "include", name, ENVIRONMENT, CONTAINER, *place_of)
    listed_there = json.loads(good(access_server, "project", "containers", f"{name}/Production", "--json"))
    assert [(item["id"], item["isInherited"]) for item in listed_there] == [(included, True)]
    good(access_server, "project", "exclude", name, included)
    assert json.loads(good(access_server, "project", "containers", name, "--json")) == []
    good(access_server, "grant", "delete", grant)

    good(access_server, "team", "revoke", team, "run.list", *place)
    good(access_server, "team", "remove", team, user)
    assert access_server.ask("GET", "/projects", token).status_code == 403
    good(access_server, "team", "delete", team)
    assert {item["name"] for item in json.loads(good(access_server, "team", "list", "--project", upper, "--json"))} == {
        "administrators"
    }
    good(access_server, "project", "detach", f"{name}/Production", listed[0]["id"])
    good(access_server, "project", "delete", f"{name}/Production")


def test_what_is_wrong_is_one_clear_line(access_server: AccessServer) -> None:
    done = run(access_server, "project", "delete", "no/such/one")
    assert done.returncode == 1
    assert done.stderr.startswith("infraxys: there is no project 'no/such/one'")
    assert run(access_server, "team", "grant", "x", "--project", "root").returncode == 2
    for name in ("root", "Root", "/"):  # as it is listed, too
        assert "(not_possible)" in run(access_server, "project", "delete", name).stderr
    assert run(access_server, "team", "set", "x").returncode == 2
    assert run(access_server, "project", "set", "root", "--limits", "{").returncode == 2
