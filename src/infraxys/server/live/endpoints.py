"""The live connection over a WebSocket."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, WebSocket

from infraxys.server.auth.permissions import Requires, hold
from infraxys.server.auth.subject import Subject
from infraxys.server.errors import TooManyRequests
from infraxys.server.live.connection import Connection
from infraxys.server.paths import API

router = APIRouter(prefix=API, tags=["live"])
MAX_CONNECTIONS = 20  # of one account
RETRY_SECONDS = 10.0
MayRead = Annotated[Subject, Depends(Requires("run.read", somewhere=True))]


class LiveConnections:
    """Counts the connections of each account."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def counted(self, caller: str) -> Iterator[None]:
        """Count one more while it is open. Raises TooManyRequests."""
        if self._open[caller] >= MAX_CONNECTIONS:
            raise TooManyRequests(RETRY_SECONDS)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


@router.websocket("/live")
async def follow_live(socket: WebSocket, subject: MayRead) -> None:
    """Follow runs and type into them; docs/reference/live.md says how."""
    services = socket.app.state.services
    connection = Connection(socket, subject, services.runs, services.database)
    with services.live.counted(subject.caller_key):
        hold(socket, subject, connection.use)
        await socket.accept()
        await connection.serve()
