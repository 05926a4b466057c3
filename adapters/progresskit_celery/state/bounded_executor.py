"""
Runs calls in a thread of their own.

A call of a database driver cannot be bounded in time from another thread, connections belong to threads in Django, and
the caller may be in the middle of a transaction. So each call is handed to another thread, and waited for no longer
than a call may take.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import TYPE_CHECKING, Any, TypeVar

from progresskit.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    Calls = SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]

Answer = TypeVar("Answer")

OVERDUE = 16
"""How many threads that wait indefinitely may be given up and replaced by others."""

CALL_SECONDS, CLOSE_SECONDS = 5.0, 2.0


class BoundedExecutor:
    """The thread of one store; `leave`, if given, is called in it at its end, to close its connections."""

    def __init__(self, leave: Callable[[], object] = bool) -> None:
        self._leave = leave
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Begin without a thread in a forked child."""
        self._lock = Lock()
        self._calls: Calls | None = None
        self._thread: Thread | None = None
        self._given_up: set[Calls] = set()

    def call(self, label: str, function: Callable[[], Answer]) -> Answer:
        """Return the function's result or raise its error; BackendUnavailable if the call takes too long."""
        future: Future[Answer] = Future()
        with self._lock:
            calls = self._calls
            if calls is None:
                self._calls = calls = SimpleQueue()
                name = "progresskit-celery-results"
                self._thread = Thread(target=self._run, args=(calls,), name=name, daemon=True)
                self._thread.start()
            calls.put((future, function))
        try:
            return future.result(CALL_SECONDS)
        except FutureTimeout:
            if future.done():  # just now; or the error is the function's own
                return future.result()
            if not future.cancel():
                self._give_up(calls)
            raise BackendUnavailable(f"{label} has not answered within {CALL_SECONDS:g} seconds") from None
        except CancelledError:
            raise BackendUnavailable(f"{label}: closed meanwhile") from None

    def _give_up(self, calls: Calls) -> None:
        """Have the next call begin another thread; this one leaves after its calls."""
        with self._lock:
            if self._calls is calls and len(self._given_up) < OVERDUE:
                self._calls = None
                self._given_up.add(calls)
                calls.put(None)

    def _run(self, calls: Calls) -> None:
        while (task := calls.get()) is not None:
            future, function = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)
            task = future = function = None  # type: ignore[assignment]
        self._leave()
        with self._lock:
            self._given_up.discard(calls)

    def close(self) -> None:
        """End the thread, unless it waits for an answer longer than that."""
        with self._lock:
            calls, self._calls = self._calls, None
        if calls is not None and self._thread is not None:
            calls.put(None)
            if self._thread is not current_thread():  # where a finalizer closes
                self._thread.join(CLOSE_SECONDS)
