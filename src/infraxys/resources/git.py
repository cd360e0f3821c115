"""The Git command line, for the network only: killable, hardened, with the host's own Git configuration.

Everything local is read with pygit2. The host's configuration counts so that `url.*.insteadOf`, proxies, SSH agents and
credential helpers work; what a repository brings along never does.
"""

import asyncio
import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from infraxys.resources.errors import GitFailed

TIMEOUT_SECONDS = 300.0
OUTPUT_LIMIT = 64 * 1024 * 1024
# What Git may know of the server's environment; nothing else is inherited.
PASSED = ("HOME", "PATH", "USER", "LOGNAME", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM",
          "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy", "no_proxy",
          "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy")  # fmt: skip
HARDENED = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "protocol.ext.allow=never", "submodule.recurse=false",
    "fetch.recurseSubmodules=false", "gc.auto=0", "maintenance.auto=false", "transfer.fsckObjects=false",
    "core.alternateRefsCommand=", "uploadpack.packObjectsHook=", "http.lowSpeedLimit=1000", "http.lowSpeedTime=60",
)  # fmt: skip
_REASONS = (
    (re.compile(r"could not read Username|Authentication failed|terminal prompts disabled|Permission denied|403"),
     "authentication_required", "it asks for credentials; give the server's account an SSH key or a credential helper"),
    (re.compile(r"couldn't find remote ref|Remote branch .* not found"), "unknown_branch", "the branch does not exist"),
    (re.compile(r"not found|does not appear to be a git repository|does not exist|404"),
     "unknown_repository", "there is no such repository, or it needs credentials"),
    (re.compile(r"Could not resolve host|unable to access|Connection refused|Connection timed out|Network is unreachable|"
                r"Could not read from remote|early EOF|RPC failed|reset by peer|hung up"),
     "unreachable", "it cannot be reached"),
)  # fmt: skip


def git_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the environment of Git commands: an allow-list, and no prompt of any kind."""
    passed = {name: environment[name] for name in PASSED if name in environment}
    ssh = passed.get("GIT_SSH_COMMAND", "ssh")
    batch = "-oBatchMode=yes -oStrictHostKeyChecking=accept-new -oConnectTimeout=20"
    return {
        **passed,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GIT_SSH_COMMAND": f"{ssh} {batch}",
        "LC_ALL": "C",
        "GIT_OPTIONAL_LOCKS": "0",
    }


async def run_git(
    arguments: Sequence[str], *, what: str, directory: Path | None = None, timeout: float = TIMEOUT_SECONDS  # noqa: ASYNC109 - kills
) -> bytes:
    """Run one Git command and give its standard output. Raises GitFailed; `what` names the repository in messages."""
    options = [part for setting in HARDENED for part in ("-c", setting)]
    where = [f"--git-dir={directory}"] if directory else []
    process = await asyncio.create_subprocess_exec(
        "git", *options, *where, *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=git_environment(), start_new_session=True, cwd="/",
    )  # fmt: skip
    try:
        output, errors = await asyncio.wait_for(process.communicate(), timeout)
    except TimeoutError:
        raise GitFailed("timeout", f"{what}: no answer within {timeout:.0f} seconds") from None
    finally:
        if process.returncode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            await process.wait()
    if process.returncode != 0:
        raise explain(what, errors.decode(errors="replace"))
    return output


def explain(what: str, errors: str) -> GitFailed:
    """Turn what Git said into a code and one sentence, without URLs, paths or secrets of its own."""
    for pattern, code, reason in _REASONS:
        if pattern.search(errors):
            return GitFailed(code, f"{what}: {reason}")
    lines = [line for line in errors.splitlines() if line.startswith(("fatal:", "error:"))] or errors.splitlines()[-1:]
    said = re.sub(r"(?:[a-z+]+://|/)\S+", "…", lines[-1])[:300] if lines else "no reason given"
    return GitFailed("git_failed", f"{what}: Git said: {said}")


async def list_branches(url: str, *, what: str, timeout: float = 60.0) -> dict[str, str]:  # noqa: ASYNC109 - passed on
    """Ask a remote for its branches and their commits."""
    output = await run_git(["ls-remote", "--heads", "--end-of-options", url], what=what, timeout=timeout)
    branches = {}
    for line in output.decode(errors="replace").splitlines():
        commit, _, reference = line.partition("\t")
        branches[reference.removeprefix("refs/heads/")] = commit
    return branches
