"""A connection that is kept up in a thread of its own."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from contextlib import suppress
from logging import getLogger
from threading import Condition, current_thread
from typing import TYPE_CHECKING

from progresskit import background
from progresskit.backoff import Backoff
from progresskit.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread
    from types import TracebackType
    from typing import Self

CLOSE_SECONDS = 3.0
"""How long `close` waits for the thread."""


class Waker:
    """
    Wakes a thread that waits in a selector, where `fileno` is registered.

    Once it is closed, `wake` has no effect.
    """

    def __init__(self) -> None:
        self._sender, self._receiver = socket.socketpair()
        self._sender.setblocking(False)
        self._receiver.setblocking(False)

    def wake(self) -> None:
        """Make the selector return, now or the next time."""
        with suppress(OSError):  # it is closed, or it is full and wakes anyway
            self._sender.send(b"\0")

    def clear(self) -> None:
        """Undo all calls of `wake` until now."""
        with suppress(BlockingIOError):
            self._receiver.recv(4_096)

    def fileno(self) -> int:
        """Return the descriptor that is readable once the thread was woken."""
        return self._receiver.fileno()

    def close(self) -> None:
        """Close both sockets."""
        self._sender.close()
        self._receiver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ReconnectingThread(ABC):
    """
    Serves one connection at a time in a daemon thread, and connects again, after a pause, when that has failed.

    `changed` guards the state, that of a subclass included, and is notified of each change. A pause ends early when
    `hurry` is called. In a forked child the object is of no use: make another, and give this one to `keep_inherited`.
    """

    def __init__(self, name: str, server: str = "the server") -> None:
        self.server = server
        """The server, as messages name it."""
        self.changed = Condition()
        self.closed = False
        self.failures = 0
        """How many connections have failed until now; a caller compares it to wait for the outcome of a later one."""
        self.error: Exception | None = None
        """Why the last connection failed; None once one has worked since."""
        self._name = name
        self._backoff = Backoff()
        self.waker: Waker | None = None
        """Wakes `serve`, beside its connection; exists from the start of the thread to its end."""
        self._hurried = False
        self._thread: Thread | None = None

    @abstractmethod
    def serve(self) -> None:
        """
        Connect, call `connected` once that has worked, and serve the connection until it ends.

        Called in the thread. Returning means to connect again at once; raising, to do so after a pause.
        """

    def interrupt(self) -> None:
        """Make `serve` look at `closed` soon: wakes a selector that waits for `waker`. Called with `changed` held."""
        if self.waker is not None:
            self.waker.wake()

    def disconnected(self) -> None:
        """
        Reset the state that a subclass keeps of the connection.

        Called in the thread, after `serve` has ended and with `changed` held, before a failure is counted.
        """
        return

    def failed(self, error: Exception) -> None:
        """Deal with a connection that failed, before the pause; called in the thread."""
        getLogger("progresskit").debug("The connection of %s failed, it is tried again: %s", self._name, error)

    # Called by other threads.

    def start(self) -> None:
        """Start the thread if it has not been; raises RuntimeError where the interpreter allows none."""
        with self.changed:
            if self._thread is None and not self.closed:
                self.waker = Waker()
                try:
                    self._thread = background.start(self._run, self._name, self.close)
                except RuntimeError:
                    self.waker.close()
                    raise

    def hurry(self) -> None:
        """Connect now if the thread is in a pause."""
        with self.changed:
            self._hurried = True
            self.changed.notify_all()

    def wait(self, condition: Callable[[], object], failures: int, seconds: float) -> bool:
        """
        Wait for the condition; return whether it holds.

        Returns early when the thread is closed, or when more connections have failed than `failures`.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self.failures > failures or condition(), seconds)
            return bool(condition())

    def require(self, condition: Callable[[], object], seconds: float) -> None:
        """
        Start the thread and wait for the condition; raises BackendUnavailable if it does not hold in time.

        A connection that fails meanwhile raises its error: at the time of this call it was tried, or later.
        """
        with self.changed:
            if condition():
                return
            failures = self.failures
            try:
                self.start()
            except RuntimeError as error:
                raise self.unavailable(str(error)) from error
            self.hurry()
            if not self.wait(condition, failures, seconds):
                raise self.error or self.unavailable("closed" if self.closed else "no connection in time")

    def unavailable(self, why: str) -> BackendUnavailable:
        """Return an error that names the server."""
        return BackendUnavailable(f"{self.server}: {why}")

    def close(self) -> None:
        """End the thread; waits for it at most CLOSE_SECONDS, and not at all when called in it."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
            self.interrupt()
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join(CLOSE_SECONDS)

    # The thread.

    def connected(self) -> None:
        """Note that the connection works."""
        with self.changed:
            self.error = None
            self._backoff.reset()
            self.changed.notify_all()

    def _run(self) -> None:
        assert self.waker is not None
        with self.waker:
            while not self.closed:
                try:
                    self.serve()
                except Exception as error:
                    self._note_failure(error)
                    self._pause()
                else:
                    with self.changed:
                        self.disconnected()
                        self.changed.notify_all()

    def _note_failure(self, error: Exception) -> None:
        with self.changed:
            self.disconnected()
            self.failures += 1
            self.error = error
            self._hurried = False  # this attempt answers all calls made during it, the next one later calls
            self.changed.notify_all()
        try:
            self.failed(error)
        except Exception:
            getLogger("progresskit").exception("Unexpected error in the thread %s; it continues", self._name)

    def _pause(self) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self._hurried, self._backoff.next())
