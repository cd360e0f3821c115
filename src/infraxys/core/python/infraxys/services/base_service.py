"""What services inherit."""

from __future__ import annotations

from ..logger import Logger


class BaseService:
    """Has a logger of its own."""

    def __init__(self) -> None:
        self.logger = Logger.get_logger(type(self).__name__)
