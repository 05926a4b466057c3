"""Lets callers wait until this process has received all messages sent before their call; calls share a message."""

from __future__ import annotations

from threading import Event, Lock
from typing import TYPE_CHECKING

from progresskit.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable


class _Group:
    """The callers that wait for one message to come back; `deadline` is the latest of theirs."""

    def __init__(self) -> None:
        self.ended = Event()
        self.error: Exception | None = None
        self.waiting = 0
        self.deadline = 0.0


class Barrier:
    """
    Sends one message at a time to this process itself; callers that arrive meanwhile share the next one.

    `send` sends it, and returns when it has come back; it raises an error by the deadline it is given, a time of the
    monotonic clock. The first caller of a group sends its message.
    """

    def __init__(self, send: Callable[[float], object]) -> None:
        self._send = send
        self._lock = Lock()
        self._sending = Lock()
        self._next: _Group | None = None

    @property
    def waiting(self) -> int:
        """How many callers share the next message."""
        with self._lock:
            return self._next.waiting if self._next is not None else 0

    def wait(self, deadline: float) -> None:
        """Return when all that was sent before this call has been received; raises the error of `send`."""
        with self._lock:
            group = self._next
            leads = group is None
            if group is None:
                group = self._next = _Group()
            group.waiting += 1
            group.deadline = max(group.deadline, deadline)
        if leads:
            self._lead(group)
        group.ended.wait()
        if group.error is not None:
            raise group.error

    def _lead(self, group: _Group) -> None:
        try:
            with self._sending:
                self._close(group)
                self._send(group.deadline)
        except Exception as error:
            group.error = error
        except BaseException:  # raised by a signal handler, in the thread of this caller alone
            group.error = BackendUnavailable("the caller that had sent the message was interrupted")
            raise
        finally:
            self._close(group)
            group.ended.set()

    def _close(self, group: _Group) -> None:
        """Let no further caller join the group."""
        with self._lock:
            if self._next is group:
                self._next = None
