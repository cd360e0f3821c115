"""Running Git, on both kinds of event loop: the standard one of the commands, and the server's."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from infraxys.resources.errors import GitFailed
from infraxys.resources.git import run_git

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


def test_what_is_given_arrives(run: Run) -> None:
    async def main() -> None:
        said = await run_git(["stripspace"], what="it", timeout=20, given=b"a  \n\n\n\nb\n")
        assert said == b"a\n\nb\n"

    run(main())


@pytest.mark.parametrize("given", [b"", b"x", b"x" * 1_000_000])
def test_git_that_ends_without_reading_is_heard_nevertheless(run: Run, given: bytes) -> None:
    async def main() -> None:
        async def one() -> None:
            assert (await run_git(["version"], what="it", timeout=20, given=given)).startswith(b"git version")
            with pytest.raises(GitFailed):
                await run_git(["no-such-command"], what="it", timeout=20, given=given)

        await asyncio.gather(*(one() for _ in range(8)))

    run(main())


def test_git_that_never_ends_is_given_up(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(GitFailed) as failed:
            await run_git(["-c", "alias.wait=!sleep 1000", "wait"], what="it", timeout=0.3)
        assert failed.value.code == "timeout"

    run(main())
