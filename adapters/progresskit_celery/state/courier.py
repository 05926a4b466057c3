"""
Runs calls in a few threads of their own.

A call of a database driver cannot be bounded in time from another thread, connections belong to threads in Django, and
the caller may be in the middle of a transaction. So each call is handed to a thread, and waited for no longer than a
call may take.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from progresskit.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

THREADS = 4
"""How many calls are under way at once."""

OVERDUE = 16
"""How many threads that wait indefinitely may be given up and replaced by others."""

CALL_SECONDS, CLOSE_SECONDS = 5.0, 2.0


class _Clerk:
    """A thread and its present call."""

    def __init__(self, thread: Thread) -> None:
        self.thread = thread
        self.call: Future[Any] | None = None
        self.given_up = False


class Courier:
    """The threads of one store; `leave` is called in each of them at its end, to close its connections."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Begin without threads in a forked child."""
        self._lock = Lock()
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._clerks: list[_Clerk] = []
        self._waiting = self._overdue = 0

    def call(self, what: str, function: Callable[[], Answer]) -> Answer:
        """Return the function's result or raise its error; BackendUnavailable if the call takes too long."""
        future: Future[Answer] = Future()
        with self._lock:
            self._waiting += 1
            if self._waiting > len(self._clerks) and len(self._clerks) < THREADS:
                self._begin()
            self._calls.put((future, function))
        try:
            return future.result(CALL_SECONDS)
        except FutureTimeout:
            if future.done():  # just now; or the error is the function's own
                return future.result()
            self._give_up(future)
            raise BackendUnavailable(f"{what} has not answered within {CALL_SECONDS:g} seconds") from None
        except CancelledError:
            raise BackendUnavailable(f"{what}: closed meanwhile") from None
        finally:
            with self._lock:
                self._waiting -= 1

    def _begin(self) -> None:
        thread = Thread(name="progresskit-celery-results", daemon=True, target=lambda: self._run(clerk, self._calls))
        clerk = _Clerk(thread)
        self._clerks.append(clerk)
        thread.start()

    def _give_up(self, call: Future[Any]) -> None:
        if call.cancel():
            return
        with self._lock:
            for clerk in self._clerks:
                if clerk.call is call and self._overdue < OVERDUE:
                    self._clerks.remove(clerk)
                    self._overdue += 1
                    clerk.given_up = True

    def _run(self, clerk: _Clerk, calls: SimpleQueue[Any]) -> None:
        while not clerk.given_up and (task := calls.get()) is not None:
            clerk.call, function = task
            if clerk.call.set_running_or_notify_cancel():
                try:
                    clerk.call.set_result(function())
                except BaseException as error:
                    clerk.call.set_exception(error)
            clerk.call = task = function = None
        self._leave()
        if clerk.given_up:
            with self._lock:
                self._overdue -= 1

    def close(self) -> None:
        """End the threads, but for those that wait for an answer longer than that."""
        with self._lock:
            clerks, self._clerks = self._clerks, []
            calls, self._calls = self._calls, SimpleQueue()
        for _ in clerks:
            calls.put(None)
        for clerk in clerks:
            clerk.thread.join(CLOSE_SECONDS)
