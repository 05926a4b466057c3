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


class _Worker:
    """A thread and its present call."""

    def __init__(self, thread: Thread) -> None:
        self.thread = thread
        self.call: Future[Any] | None = None
        self.given_up = False


class BoundedExecutor:
    """The threads of one store; `leave` is called in each of them at its end, to close its connections."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Begin without threads in a forked child."""
        self._lock = Lock()
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._workers: list[_Worker] = []
        self._waiting = self._overdue = 0

    def call(self, label: str, function: Callable[[], Answer]) -> Answer:
        """Return the function's result or raise its error; BackendUnavailable if the call takes too long."""
        future: Future[Answer] = Future()
        with self._lock:
            self._waiting += 1
            if self._waiting > len(self._workers) and len(self._workers) < THREADS:
                self._begin()
            self._calls.put((future, function))
        try:
            return future.result(CALL_SECONDS)
        except FutureTimeout:
            if future.done():  # just now; or the error is the function's own
                return future.result()
            self._give_up(future)
            raise BackendUnavailable(f"{label} has not answered within {CALL_SECONDS:g} seconds") from None
        except CancelledError:
            raise BackendUnavailable(f"{label}: closed meanwhile") from None
        finally:
            with self._lock:
                self._waiting -= 1

    def _begin(self) -> None:
        thread = Thread(name="progresskit-celery-results", daemon=True, target=lambda: self._run(worker, self._calls))
        worker = _Worker(thread)
        self._workers.append(worker)
        thread.start()

    def _give_up(self, call: Future[Any]) -> None:
        if call.cancel():
            return
        with self._lock:
            for worker in self._workers:
                if worker.call is call and self._overdue < OVERDUE:
                    self._workers.remove(worker)
                    self._overdue += 1
                    worker.given_up = True

    def _run(self, worker: _Worker, calls: SimpleQueue[Any]) -> None:
        while not worker.given_up and (task := calls.get()) is not None:
            worker.call, function = task
            if worker.call.set_running_or_notify_cancel():
                try:
                    worker.call.set_result(function())
                except BaseException as error:
                    worker.call.set_exception(error)
            worker.call = task = function = None
        self._leave()
        if worker.given_up:
            with self._lock:
                self._overdue -= 1

    def close(self) -> None:
        """End the threads, but for those that wait for an answer longer than that."""
        with self._lock:
            workers, self._workers = self._workers, []
            calls, self._calls = self._calls, SimpleQueue()
        for _ in workers:
            calls.put(None)
        for worker in workers:
            worker.thread.join(CLOSE_SECONDS)
