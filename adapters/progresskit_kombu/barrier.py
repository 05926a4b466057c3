"""Lets callers wait until all that was said before their call is known, many of them by one message."""

from __future__ import annotations

from threading import Event, Lock
from typing import TYPE_CHECKING

from progresskit.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable


class _Gate:
    """Where callers wait for one message to come back."""

    def __init__(self) -> None:
        self.opened = Event()
        self.error: Exception | None = None
        self.waiting = 0


class Barrier:
    """
    Sends one message at a time; whoever comes while it is under way shares the next one.

    `send` sends it and returns when it is back.
    """

    def __init__(self, send: Callable[[], object]) -> None:
        self._send = send
        self._lock = Lock()
        self._under_way = Lock()
        self._next: _Gate | None = None

    @property
    def waiting(self) -> int:
        """How many will share the next message."""
        with self._lock:
            return self._next.waiting if self._next is not None else 0

    def wait(self) -> None:
        """Return when all that was said before this call is known; what `send` raises is raised to all who wait."""
        with self._lock:
            gate, leads = self._next, False
            if gate is None:
                gate = self._next = _Gate()
                leads = True
            gate.waiting += 1
        if leads:
            self._lead(gate)
        gate.opened.wait()
        if gate.error is not None:
            raise gate.error

    def _lead(self, gate: _Gate) -> None:
        try:
            with self._under_way:
                self._close(gate)
                self._send()
        except Exception as error:
            gate.error = error
        except BaseException:  # a signal's: the others do not know of it
            gate.error = BackendUnavailable("who asked for all was interrupted")
            raise
        finally:
            self._close(gate)
            gate.opened.set()

    def _close(self, gate: _Gate) -> None:
        """Let nobody join any more."""
        with self._lock:
            if self._next is gate:
                self._next = None
