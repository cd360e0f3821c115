"""The library that actions import, in this process, under a name of its own: `infraxys` is the server here."""

import importlib
import importlib.util
import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import infraxys.core
from infraxys.engine.feedback.requests import FeedbackRequest, read_request
from infraxys.engine.feedback.stream import Block, FeedbackStream

FOLDER = Path(infraxys.core.__file__).parent / "python"
NAME = "actions_library"


def forget() -> None:
    """Take the library away, with all that it remembers."""
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


def module(name: str = "") -> ModuleType:
    """Import a module of the library by its name below `infraxys`."""
    if NAME not in sys.modules:
        package = FOLDER / "infraxys"
        spec = importlib.util.spec_from_file_location(
            NAME, package / "__init__.py", submodule_search_locations=[str(package)]
        )
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = made
        spec.loader.exec_module(made)
    return importlib.import_module(f"{NAME}.{name}") if name else sys.modules[NAME]


class Server(io.StringIO):
    """The input of an action: what it writes is read as the server reads it, what it reads is what was put in.

    An answer may be a function of the request before it; it gives lines.
    """

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        super().__init__()
        self._capture, self._said, self._errors = capture, "", ""
        self.answers: list[str | Callable[[FeedbackRequest], Iterable[str]]] = []

    def _take(self) -> None:
        taken = self._capture.readouterr()
        self._said += taken.out
        self._errors += taken.err

    @property
    def said(self) -> str:
        """The whole standard output."""
        self._take()
        return self._said

    @property
    def errors(self) -> str:
        """The whole standard error."""
        self._take()
        return self._errors

    @property
    def pieces(self) -> list[Any]:
        stream = FeedbackStream()
        return [*stream.feed(self.said.encode()), *stream.finish()]

    @property
    def requests(self) -> list[FeedbackRequest]:
        return [read_request(piece.body.decode()) for piece in self.pieces if isinstance(piece, Block)]

    @property
    def output(self) -> str:
        """What is in the log."""
        return b"".join(piece for piece in self.pieces if isinstance(piece, bytes)).decode()

    def readline(self, size: int | None = -1, /) -> str:
        del size
        while self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, str):
                return f"{answer}\n"
            self.answers[:0] = answer(self.requests[-1])
        return ""
