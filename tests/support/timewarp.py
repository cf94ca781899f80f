"""An event loop whose time passes at once: when nothing is ready it jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")
START = datetime(2026, 1, 1, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """Answer at once; what would have been waited for has passed."""
        if timeout is None:
            raise AssertionError("everything waits, and nothing will ever happen")
        self.passed_s += max(timeout, 0)
        return super().select(0)


class WarpLoop(asyncio.SelectorEventLoop):
    """Its clock is that of its selector."""

    def __init__(self) -> None:
        self._warp = _Selector()
        super().__init__(self._warp)

    def time(self) -> float:
        """Return the seconds that have passed."""
        return self._warp.passed_s

    def now(self) -> datetime:
        """Return the time of day."""
        return START + timedelta(seconds=self.time())

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run to the end and close."""
        try:
            return self.run_until_complete(work)
        finally:
            self.close()
