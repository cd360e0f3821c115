"""A real podman, and the backend that speaks to it; skipped where it cannot be."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager

import pytest

from factories.containers import Containers, Podman, Unusable, missing, podman, work_folder
from infraxys.engine.backends.container import ContainerBackend
from infraxys.engine.backends.container_api import ContainerApi
from infraxys.engine.backends.container_body import EngineFacts

Opened = Callable[..., AbstractAsyncContextManager[Containers]]


@pytest.fixture(scope="module")
def engine() -> Iterator[Podman]:
    if reason := missing():
        pytest.skip(f"no podman: {reason}")
    with ExitStack() as stack:
        try:
            service = stack.enter_context(podman())
        except Unusable as error:
            pytest.skip(f"podman runs no containers here: {error}")
        yield service


@pytest.fixture(scope="module")
def engine_facts(engine: Podman) -> EngineFacts:
    """What the engine says of itself, which takes it most of a second."""

    async def ask() -> EngineFacts:
        with work_folder() as work:
            backend = ContainerBackend(work, socket=engine.socket)
            try:
                return await backend.connect()
            finally:
                await backend.close()

    return asyncio.run(ask())


@pytest.fixture
def containers(engine: Podman, engine_facts: EngineFacts) -> Iterator[Opened]:
    """Opens a backend on the loop of the test, and insists that it leaves nothing."""
    with work_folder() as work:

        @asynccontextmanager
        async def opened(**settings: object) -> AsyncIterator[Containers]:
            backend = ContainerBackend(work, socket=engine.socket, **settings)  # type: ignore[arg-type]
            backend._facts, backend._api = engine_facts, ContainerApi(engine.socket)
            try:
                yield Containers(engine, work, backend)
            finally:
                async with asyncio.timeout(60):
                    await backend.close()

        yield opened
        assert not list((work / "containers").glob("*"))
        assert not engine.containers()
