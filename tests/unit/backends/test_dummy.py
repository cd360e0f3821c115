import asyncio

import pytest

from infraxys.engine.backends.base import ActionSpec, Backend, Exit, StartFailed
from infraxys.engine.backends.dummy import DummyBackend, DummyExecution


def action(**environment: str) -> ActionSpec:
    return ActionSpec("run", "step", ("anything",), environment, "/")


async def read(execution: DummyExecution) -> list[tuple[str, bytes]]:
    return [(chunk.stream, chunk.data) async for chunk in execution.output()]


async def finished(**environment: str) -> tuple[list[tuple[str, bytes]], Exit]:
    backend: Backend = DummyBackend()
    await backend.probe()
    execution = await DummyBackend().start(action(**environment))
    return await read(execution), await execution.wait()


def test_without_instructions_it_succeeds_silently() -> None:
    assert asyncio.run(finished()) == ([], Exit(0))


def test_it_says_what_it_is_told_and_ends_as_told() -> None:
    chunks, end = asyncio.run(finished(DUMMY_OUTPUT="a" * 70_000, DUMMY_ERROR="b", DUMMY_EXIT_CODE="7"))
    assert [(stream, len(data)) for stream, data in chunks] == [("stdout", 65_536), ("stdout", 4_464), ("stderr", 1)]
    assert end == Exit(7)


def test_it_can_be_the_victim_of_the_kernel() -> None:
    assert asyncio.run(finished(DUMMY_OUT_OF_MEMORY="1"))[1] == Exit(137, out_of_memory=True)


def test_it_can_refuse_to_start() -> None:
    with pytest.raises(StartFailed, match="no room"):
        asyncio.run(finished(DUMMY_START_FAILS="no room"))


def test_it_blocks_until_it_is_released() -> None:
    async def main() -> None:
        backend = DummyBackend()
        execution = await backend.start(action(DUMMY_BLOCK="1", DUMMY_OUTPUT="x"))
        waiting = asyncio.create_task(execution.wait())
        assert (await anext(execution.output())).data == b"x"
        assert not waiting.done()
        backend.release()
        assert await waiting == Exit(0)

    asyncio.run(main())


def test_it_ends_when_terminated_and_what_comes_later_changes_nothing() -> None:
    async def main() -> None:
        backend = DummyBackend()
        execution = await backend.start(action(DUMMY_BLOCK="1"))
        await execution.terminate(10)
        await execution.terminate(10)
        backend.release()
        await execution.write(b"late")
        assert await execution.wait() == Exit(143, signal=15)
        assert execution.written == b""
        assert await read(execution) == await read(execution) == []

    asyncio.run(main())


def test_one_that_ignores_signals_is_killed_after_the_grace() -> None:
    async def main() -> None:
        execution = await DummyBackend().start(action(DUMMY_BLOCK="1", DUMMY_IGNORES_TERM="1"))
        await execution.terminate(0)
        assert await execution.wait() == Exit(137, signal=9)

    asyncio.run(main())


def test_it_echoes_its_input() -> None:
    async def main() -> None:
        backend = DummyBackend()
        execution = await backend.start(action(DUMMY_BLOCK="1", DUMMY_ECHO="1"))
        await execution.write(b"hello")
        assert (await anext(execution.output())).data == b"hello"
        await backend.close()
        assert execution.written == b"hello"

    asyncio.run(main())
