"""Commands that talk to a server: modules and runs."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infraxys.cli.api import Api, segment
from infraxys.cli.output import Failed, print_json, print_table, working
from infraxys.cli.terminal import LogOutput, plain

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
    with working(f"Fetching {url}"):
        answer = Api(server, token).call("POST", "/modules", {"url": url, "branches": branch or []})
    show_fetched(answer, as_json)


@module_app.command("fetch")
def fetch_module(
    name: str,
    discard: Annotated[bool, typer.Option("--discard", help="Drop commits of this server not pushed yet.")] = False,
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Bring a module to the state of its remote. Example: infraxys module fetch host/org/repo."""
    with working(f"Fetching {name}"):
        answer = Api(server, token).call("POST", f"/modules/{segment(name)}/fetch", {"discard": discard})
    show_fetched(answer, as_json)


@module_app.command("push")
def push_module(
    name: str,
    branch: Annotated[str, typer.Option(help="Branch to push.")],
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Bring what this server has committed to the remote. Example: infraxys module push host/org/repo --branch main."""
    with working(f"Pushing {name}"):
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
    as_json: AsJson = False,
) -> None:
    """Execute an action and follow its log. Example: infraxys run action main <instance id> deploy.sh."""
    path = f"/instance/{segment(branch)}/{segment(instance_id)}/files/{segment(filename)}/execute"
    api = Api(server, token)
    finish(api, start(api, path, argument, timeout, module), is_async=is_async, as_json=as_json)


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
    as_json: AsJson = False,
) -> None:
    """Execute a workflow and follow its log. Example: infraxys run workflow main <environment id> <workflow id>."""
    path = f"/environment/{segment(branch)}/{segment(environment_id)}/workflow/{segment(workflow_id)}/execute"
    api = Api(server, token)
    finish(api, start(api, path, argument, timeout, module), is_async=is_async, as_json=as_json)


@run_app.command("rerun")
def rerun(
    run_id: str,
    from_step: Annotated[str | None, typer.Option(help="Keep the steps before this one, by its id.")] = None,
    branch: Annotated[bool, typer.Option("--branch", help="At the head of the branch, not the run's commit.")] = False,
    is_async: IsAsync = False,
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Repeat a run with its argument and follow the log. Example: infraxys run rerun <run id> --from-step 2."""
    api = Api(server, token)
    body = {"asynchronous": True, "branch": branch, **({} if from_step is None else {"fromStep": from_step})}
    finish(api, api.call("POST", f"/runs/{segment(run_id)}/rerun", body), is_async=is_async, as_json=as_json)


def start(api: Api, path: str, argument: str | None, timeout: float | None, module: str | None) -> dict[str, Any]:
    """Start a run."""
    members = [f'"argument": {read_argument(argument)}', '"asynchronous": true']
    if timeout is not None:
        members.append(f'"timeoutSeconds": {timeout}')
    query = f"?module={segment(module)}" if module else ""
    run: dict[str, Any] = json.loads(api.open("POST", path + query, f"{{{', '.join(members)}}}".encode()).read())
    return run


def finish(api: Api, run: dict[str, Any], *, is_async: bool, as_json: bool) -> None:
    """Print a started run, or its id, or its log until it ends; then exit as the run did."""
    if not is_async:
        run = follow(api, run["id"], as_json=as_json)
    if as_json:
        print_json(run)
    elif is_async:
        print(run["id"])
    if not is_async:
        raise SystemExit(EXIT_CODES.get(run["status"], run["exitCode"] or 1))


def follow(api: Api, run_id: str, *, as_json: bool = False) -> dict[str, Any]:
    """Wait for the end of a run, and write its log as it grows unless JSON is wanted; gives the run."""
    offset, data, out = 0, b"", LogOutput()
    try:
        while True:
            run: dict[str, Any] = api.call("GET", f"/runs/{run_id}?wait={60 if as_json else 0.3}")
            if not as_json:
                data = api.open("GET", f"/runs/{run_id}/log?offset={offset}").read()
                out.write(data)
                offset += len(data)
            if run["finishedAt"] and not data:
                break
    except KeyboardInterrupt:
        print(f"\ninfraxys: the run goes on; 'infraxys run cancel {run_id}' ends it", file=sys.stderr)
        raise
    out.close()
    if run["status"] != "SUCCESS" and not as_json:
        print(f"{run['status']}: {plain(run['message'])}", file=sys.stderr)
    return run


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
def show_run(run_id: str, server: Server = None, token: Token = None, as_json: AsJson = False) -> None:
    """Print what a run is and how it stands. Example: infraxys run show <run id>."""
    run = Api(server, token).call("GET", f"/runs/{segment(run_id)}")
    if as_json:
        print_json(run)
        return
    print(f"{run['id']}  {run['status']}  {run['message']}".rstrip())
    what = run["workflowName"] or run["filename"] or run["kind"]
    print(f"{run['kind']} '{what}' of {run['module']}, branch {run['branch']}, commit {run['commit'][:12]}")
    print(f"started by {run['requestedBy']['name']} ({run['trigger']}), created {run['createdAt']}")
    columns = {"id": "STEP", "name": "NAME", "status": "STATUS", "exitCode": "EXIT", "startedAt": "STARTED"}
    print_table(run["steps"], columns)


@run_app.command("log")
def show_log(run_id: str, server: Server = None, token: Token = None) -> None:
    """Write the log of a run, following one that still runs. Example: infraxys run log <run id>."""
    follow(Api(server, token), segment(run_id))


@run_app.command("cancel")
def cancel_run(run_id: str, server: Server = None, token: Token = None, as_json: AsJson = False) -> None:
    """End a run. Example: infraxys run cancel <run id>."""
    run = Api(server, token).call("POST", f"/runs/{segment(run_id)}/cancel")
    if as_json:
        print_json(run)
        return
    print(
        f"Run {run_id} is being cancelled."
        if run["status"] in {"RUNNING", "WAITING"}
        else f"Run {run_id}: {run['status']}"
    )
