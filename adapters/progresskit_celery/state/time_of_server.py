"""The clock of a server, asked from time to time."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ASK_SECONDS = 20.0
"""How long the answer is good for: until then this process's own clock is followed from there."""


class ServerTime:
    """
    Seconds since the epoch by a clock that several processes ask.

    `lag` is how many seconds old the time that the server states may be. Where the clock of this host is within what is
    known of the server's, it is followed itself, so that processes of one host agree on what came first, however long
    the answer took and however coarse it is.
    """

    def __init__(self, lag: float = 0.0) -> None:
        self._lag = lag
        self._known: tuple[float, float] | None = None

    def __call__(self, ask: Callable[[], float]) -> float:
        """Return the time; `ask` the server for it if that has not been done for long."""
        known = self._known
        if known is None or monotonic() - known[0] > ASK_SECONDS:
            known = self._known = monotonic(), self._ask(ask)
        return monotonic() + known[1]

    def _ask(self, ask: Callable[[], float]) -> float:
        """Return by how many seconds the server's clock is ahead of the monotonic one."""
        before, host = monotonic(), time()
        stated = ask()
        after = monotonic()
        if host - self._lag <= stated <= host + after - before:
            return host - before
        return stated + self._lag / 2 - (before + after) / 2
