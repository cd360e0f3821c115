"""The Git command line, for the network only: killable, hardened, with the host's own Git configuration.

Everything local is read with pygit2. The host's configuration counts so that `url.*.insteadOf`, proxies, SSH agents and
credential helpers work; what a repository brings along never does.
"""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence

from infraxys.resources.errors import GitFailed

TIMEOUT_SECONDS = 300.0
OUTPUT_LIMIT = 16 * 1024 * 1024
ERRORS_KEPT = 64 * 1024
MAX_FILE = 4 * 1024**3  # bytes of one file that Git writes, so of one fetched pack
# What Git may know of the server's environment; nothing else is inherited.
PASSED = ("HOME", "PATH", "USER", "LOGNAME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK",
          "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_SSH", "GIT_SSH_COMMAND",
          "GIT_SSH_VARIANT", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy", "no_proxy",
          "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")  # fmt: skip
# Nothing of a tree is ever checked out, so odd names in old commits (fsckObjects) are no reason to refuse a module:
# whoever reads a tree checks names. Redirects would lead around the check of addresses.
HARDENED = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "submodule.recurse=false", "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false", "fetch.fsckObjects=false", "gc.auto=0", "maintenance.auto=false",
    "core.bigFileThreshold=32m", "http.followRedirects=false", "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
)  # fmt: skip
_REASONS = (
    (re.compile(r"cannot run ssh|cannot exec 'ssh'|\bssh: (?:command )?not found"), "no_ssh",
     "ssh is not installed on this server: apt-get install openssh-client"),
    (re.compile(r"Host key verification failed"), "unknown_host_key",
     "the SSH key of its host is not known; add it to the known_hosts file of the server's account"),
    (re.compile(r"could not read (?:Username|Password)|Authentication failed|terminal prompts disabled|"
                r"Permission denied \(|error: 40[13]\b"),
     "authentication_required", "it asks for credentials; give the server's account an SSH key or a credential helper"),
    (re.compile(r"certificate|SSL_ERROR|SSL routines"), "untrusted_certificate",
     "its TLS certificate is not trusted; add its authority to the host's certificates"),
    (re.compile(r"error: 30[12378]\b|unable to update url base from redirection"), "redirected",
     "it redirects elsewhere; register the address that it redirects to"),
    (re.compile(r"dubious ownership"), "foreign_owner",
     "it belongs to another account of this machine; add it to safe.directory in Git's configuration"),
    (re.compile(r"non-fast-forward|fetch first|cannot lock ref|failed to update ref"), "push_rejected",
     "the remote has commits that are not here; fetch the module first"),
    (re.compile(r"hook declined|protected branch|branch is currently checked out|remote rejected|deny"),
     "push_refused", "the remote does not take commits on this branch"),
    (re.compile(r"couldn't find remote ref|Remote branch .* not found"), "unknown_branch", "the branch does not exist"),
    (re.compile(r"repository '[^']*' not found|not appear to be a git repository|gitfile|does not exist|"
                r"[Nn]ot valid: is this|"
                r"error: 404\b"),
     "unknown_repository", "there is no such repository, or it needs credentials"),
    (re.compile(r"signal 25|File size limit|exceeds maximum"), "too_large", "it is larger than this server accepts"),
    (re.compile(r"No space left on device|Disk quota"), "disk_full", "the disk of this server is full"),
    (re.compile(r"Could not resolve|unable to access|Failed to connect|unable to connect|Connection|Network is unreach|"
                r"Could not read from remote|early EOF|RPC failed|reset by peer|hung up|disconnect|error: 5\d\d\b"),
     "unreachable", "it cannot be reached"),
)  # fmt: skip


def git_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the environment of Git commands: an allow-list, and no prompt of any kind.

    SSH asks nothing because it has no terminal: its own configuration stays as the host's administrator wrote it.
    """
    return {
        **{name: environment[name] for name in PASSED if name in environment},
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }


async def run_git(
    arguments: Sequence[str],
    *,
    what: str,
    timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 - the process group is killed, not only the task
    settings: Sequence[str] = (),
    keep_open: tuple[int, ...] = (),
    max_file: int = MAX_FILE,
    given: bytes = b"",
) -> bytes:
    """Run one Git command and give its standard output. Raises GitFailed; `what` names the repository in messages.

    `settings` are further `key=value`s; descriptors of `keep_open` are inherited; `max_file` bounds written files;
    `given` is its standard input.
    """
    options = [part for setting in (*HARDENED, *settings) for part in ("-c", setting)]
    # The shell only sets the limit of file sizes (in units of 512 bytes), which all of Git's own children inherit.
    shell = ("/bin/sh", "-c", 'ulimit -f "$0" 2>/dev/null; exec git "$@"', str(max(1, max_file // 512)))
    said = bytearray()
    async with _error_pipe() as (errors, error_end):
        try:
            process = await asyncio.create_subprocess_exec(
                *shell, *options, *arguments,
                stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=error_end, pass_fds=keep_open,
                env=git_environment(), start_new_session=True, cwd="/",
            )  # fmt: skip
        finally:
            os.close(error_end)
        tail = asyncio.create_task(_keep_tail(errors, said))
        try:
            async with asyncio.timeout(timeout):
                output = await _exchange(process, given, what)
                await process.wait()
            await asyncio.wait({tail}, timeout=1)  # something that outlives Git may hold the pipe open
        except TimeoutError:
            raise GitFailed("timeout", f"{what}: no answer within {timeout:g} seconds") from None
        finally:
            tail.cancel()
            await _kill(process)
    if process.returncode != 0:
        raise explain(what, said.decode(errors="replace"))
    return output


@contextlib.asynccontextmanager
async def _error_pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """Make a pipe of our own for errors: the end of the process then does not wait for who else holds it."""
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    try:
        yield reader, write_end
    finally:
        transport.close()


async def _keep_tail(reader: asyncio.StreamReader, said: bytearray) -> None:
    while data := await reader.read(ERRORS_KEPT):
        said += data
        del said[:-ERRORS_KEPT]


async def _exchange(process: asyncio.subprocess.Process, given: bytes, what: str) -> bytes:
    """Give Git its input, which it reads before it says anything, and read its output."""
    if process.stdout is None:
        raise RuntimeError("Git was started without a pipe for its output")
    if process.stdin is not None:
        # RuntimeError: how uvloop says that Git has ended without reading.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
            process.stdin.write(given)
            await process.stdin.drain()
        process.stdin.close()
    chunks, size = [], 0
    while data := await process.stdout.read(65536):
        chunks.append(data)
        size += len(data)
        if size > OUTPUT_LIMIT:
            raise GitFailed("too_large", f"{what}: the answer is larger than {OUTPUT_LIMIT // 2**20} MiB")
    return b"".join(chunks)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the whole process group; nothing happens when it has ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.stdout is not None:  # what is left in the pipe, so that it is closed before its loop may be
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.stdout.read(), 1)


def explain(what: str, errors: str) -> GitFailed:
    """Turn what Git said into a code and one sentence, without URLs, paths or secrets of its own."""
    for pattern, code, reason in _REASONS:
        if pattern.search(errors):
            return GitFailed(code, f"{what}: {reason}")
    lines = [line for line in errors.splitlines() if line.startswith(("fatal:", "error:"))] or errors.splitlines()[-1:]
    said = re.sub(r"\S*(?:://|/|@)\S*", "…", lines[-1])[:300] if lines else "no reason given"
    said = "".join(character if character.isprintable() else "?" for character in said)
    return GitFailed("git_failed", f"{what}: Git said: {said}")


async def list_branches(
    url: str,
    *,
    what: str,
    timeout: float = 60.0,  # noqa: ASYNC109 - passed on
    settings: Sequence[str] = (),
) -> dict[str, str]:
    """Ask a remote for its branches and their commits; names that are not UTF-8 are left out."""
    arguments = ["ls-remote", "--heads", "--end-of-options", url]
    output = await run_git(arguments, what=what, timeout=timeout, settings=settings)
    branches = {}
    for line in output.split(b"\n"):
        commit, _, reference = line.partition(b"\t")
        with contextlib.suppress(UnicodeDecodeError):
            if reference:
                branches[reference.decode().removeprefix("refs/heads/")] = commit.decode()
    return branches
