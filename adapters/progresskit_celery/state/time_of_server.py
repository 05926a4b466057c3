"""The clock of a server, asked from time to time."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ASK_SECONDS = 20.0
"""How long the answer is good for: until then this process's own clock is followed from there."""


class ServerTime:
    """Seconds since the epoch by a clock that several processes ask."""

    def __init__(self) -> None:
        self._ahead: tuple[float, float] | None = None

    def __call__(self, ask: Callable[[], float]) -> float:
        """Return the time; `ask` the server for it if that has not been done for long."""
        before = monotonic()
        known = self._ahead
        if known is None or before - known[0] > ASK_SECONDS:
            now = ask()
            known = self._ahead = before, now - (before + monotonic()) / 2
        return monotonic() + known[1]
