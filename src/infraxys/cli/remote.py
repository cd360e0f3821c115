"""Commands that talk to a server: modules and runs."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infraxys.cli.api import Api, segment
from infraxys.cli.output import Failed, print_json, print_table

Server = Annotated[str | None, typer.Option("--server", help="URL of the server; or INFRAXYS_URL.")]
Token = Annotated[str | None, typer.Option("--token", help="A personal access token; or INFRAXYS_TOKEN.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Argument = Annotated[str | None, typer.Option("--argument", help="JSON, @file, or - for stdin.")]
IsAsync = Annotated[bool, typer.Option("--async", help="Do not wait for the end.")]
Timeout = Annotated[float | None, typer.Option("--timeout", help="Seconds for each action.")]
Module = Annotated[str | None, typer.Option("--module", help="host/org/repo, where an id is in several modules.")]
module_app = typer.Typer(help="Modules: the Git repositories that the server knows.", no_args_is_help=True)
run_app = typer.Typer(help="Execute actions and workflows, and look at runs.", no_args_is_help=True)
EXIT_CODES = {"SUCCESS": 0, "TIMEOUT": 124, "CANCELLED": 130}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(module_app, name="module")
    app.add_typer(run_app, name="run")


# -- modules --


@module_app.command("add")
def add_module(
    url: Annotated[str, typer.Argument(help="https://…, git@host:org/repo.git, or a folder in developer mode.")],
    branch: Annotated[list[str] | None, typer.Option("--branch", help="Only this branch; may be repeated.")] = None,
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Register a repository with what it depends on. Example: infraxys module add https://host/org/repo."""
    if url.startswith((".", "~")) or (not url.startswith("/") and "://" not in url and Path(url).is_dir()):
        url = str(Path(url).expanduser().resolve())
    show_fetched(Api(server, token).call("POST", "/modules", {"url": url, "branches": branch or []}), as_json)


@module_app.command("fetch")
def fetch_module(
    name: str,
    discard: Annotated[bool, typer.Option("--discard", help="Drop commits of this server not pushed yet.")] = False,
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Bring a module to the state of its remote. Example: infraxys module fetch host/org/repo."""
    show_fetched(Api(server, token).call("POST", f"/modules/{segment(name)}/fetch", {"discard": discard}), as_json)


@module_app.command("push")
def push_module(
    name: str,
    branch: Annotated[str, typer.Option(help="Branch to push.")],
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Bring what this server has committed to the remote. Example: infraxys module push host/org/repo --branch main."""
    answer = Api(server, token).call("POST", f"/modules/{segment(name)}/branches/{segment(branch)}/push")
    if as_json:
        print_json(answer)
    else:
        print(f"Branch {answer['branch']} of {name} is at {answer['commit'][:12]}, here and at its remote.")


def show_fetched(answer: dict[str, Any], as_json: bool) -> None:
    """Print what a fetch found. Raises Failed when a branch could not be loaded at all."""
    if as_json:
        print_json(answer)
    else:
        for module in answer["modules"]:
            kind = " (dependency)" if module["isDependency"] else ""
            print(f"{module['name']}{kind}")
            for branch in module["branches"]:
                print(f"  {branch['name']}  {branch['commit'][:12]}")
            for problem in module["problems"]:
                print(f"  {problem['branch']}: {position(problem)}: {problem['message']} [{problem['code']}]")
        for failure in answer["failures"]:
            print(f"{failure['url']}: {failure['message']} [{failure['code']}]", file=sys.stderr)
    unloaded = [
        problem for module in answer["modules"] for problem in module["problems"]
        if problem["branch"] not in {branch["name"] for branch in module["branches"]}
    ]  # fmt: skip
    if unloaded or answer["failures"]:
        raise Failed("something could not be loaded; see above")


def position(problem: dict[str, Any]) -> str:
    """Write file, line and column."""
    parts = [problem["file"], problem["line"], problem["column"]]
    return ":".join(str(part) for part in parts if part is not None)


@module_app.command("list")
def list_modules(server: Server = None, token: Token = None, as_json: AsJson = False) -> None:
    """List the registered modules. Example: infraxys module list."""
    items = Api(server, token).call("GET", "/modules")["items"]
    if as_json:
        print_json(items)
        return
    rows = [
        {
            "name": item["name"],
            "branches": ", ".join(branch["name"] for branch in item["branches"]),
            "kind": "dependency" if item["isDependency"] else "",
            "ahead": sum(branch["ahead"] for branch in item["branches"]) or "",
            "problems": sum(len(branch["problems"]) for branch in item["branches"]) or "",
        }
        for item in items
    ]
    columns = {"name": "MODULE", "branches": "BRANCHES", "kind": "", "ahead": "NOT PUSHED", "problems": "PROBLEMS"}
    print_table(rows, columns)
    for item in items:
        if item["problem"]:
            print(f"{item['name']}: {item['problem']}")


@module_app.command("remove")
def remove_module(name: str, server: Server = None, token: Token = None) -> None:
    """Forget a module. Example: infraxys module remove host/org/repo."""
    Api(server, token).call("DELETE", f"/modules/{segment(name)}")
    print(f"Module {name} was removed.")


# -- runs --


def read_argument(text: str | None) -> str:
    """Give the JSON text of --argument. Raises Failed."""
    if text is None:
        return "{}"
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except OSError as error:
            raise Failed(f"--argument: {error}") from error
    try:
        json.loads(text)
    except ValueError as error:
        raise Failed(f"--argument is not JSON: {error}", 2) from error
    return text


@run_app.command("action")
def run_action(
    branch: str,
    instance_id: str,
    filename: str,
    argument: Argument = None,
    is_async: IsAsync = False,
    timeout: Timeout = None,
    module: Module = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Execute an action and follow its log. Example: infraxys run action main <instance id> deploy.sh."""
    path = f"/instance/{segment(branch)}/{segment(instance_id)}/files/{segment(filename)}/execute"
    start(Api(server, token), path, argument, timeout, module, is_async=is_async)


@run_app.command("workflow")
def run_workflow(
    branch: str,
    environment_id: str,
    workflow_id: str,
    argument: Argument = None,
    is_async: IsAsync = False,
    timeout: Timeout = None,
    module: Module = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Execute a workflow and follow its log. Example: infraxys run workflow main <environment id> <workflow id>."""
    path = f"/environment/{segment(branch)}/{segment(environment_id)}/workflow/{segment(workflow_id)}/execute"
    start(Api(server, token), path, argument, timeout, module, is_async=is_async)


def start(
    api: Api, path: str, argument: str | None, timeout: float | None, module: str | None, *, is_async: bool
) -> None:
    """Start a run; print its id, or follow it and end with its exit code."""
    members = [f'"argument": {read_argument(argument)}', '"asynchronous": true']
    if timeout is not None:
        members.append(f'"timeoutSeconds": {timeout}')
    query = f"?module={segment(module)}" if module else ""
    run = json.loads(api.open("POST", path + query, f"{{{', '.join(members)}}}".encode()).read())
    if is_async:
        print(run["id"])
        return
    raise SystemExit(follow(api, run["id"]))


def follow(api: Api, run_id: str) -> int:
    """Write the log as it grows; gives the exit code of the run."""
    offset = 0
    out = sys.stdout.buffer
    while True:
        run = api.call("GET", f"/runs/{run_id}?wait=0.3")
        response = api.open("GET", f"/runs/{run_id}/log?offset={offset}")
        data = response.read()
        out.write(data)
        out.flush()
        offset += len(data)
        if run["finishedAt"] and not data:
            break
    if run["status"] != "SUCCESS":
        print(f"{run['status']}: {run['message']}", file=sys.stderr)
    return EXIT_CODES.get(run["status"], run["exitCode"] or 1)


@run_app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    status: Annotated[list[str] | None, typer.Option(help="Only runs in this state; may be repeated.")] = None,
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first. Example: infraxys run list --status FAILED."""
    filters = "".join(f"&status={segment(item)}" for item in status or [])
    items = Api(server, token).call("GET", f"/runs?limit={limit}{filters}")["items"]
    if as_json:
        print_json(items)
        return
    rows = [{**item, "what": item["workflowName"] or item["filename"] or item["kind"]} for item in items]
    columns = {"id": "RUN", "status": "STATUS", "what": "WHAT", "createdAt": "CREATED", "durationSeconds": "SECONDS"}
    print_table(rows, columns)


@run_app.command("show")
def show_run(run_id: str, server: Server = None, token: Token = None) -> None:
    """Print a run as JSON. Example: infraxys run show <run id>."""
    print_json(Api(server, token).call("GET", f"/runs/{segment(run_id)}"))


@run_app.command("log")
def show_log(run_id: str, server: Server = None, token: Token = None) -> None:
    """Write the log of a run, following one that still runs. Example: infraxys run log <run id>."""
    follow(Api(server, token), segment(run_id))


@run_app.command("cancel")
def cancel_run(run_id: str, server: Server = None, token: Token = None) -> None:
    """End a run. Example: infraxys run cancel <run id>."""
    run = Api(server, token).call("POST", f"/runs/{segment(run_id)}/cancel")
    print(
        f"Run {run_id} is being cancelled."
        if run["status"] in {"RUNNING", "WAITING"}
        else f"Run {run_id}: {run['status']}"
    )
