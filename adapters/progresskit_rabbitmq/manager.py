"""The connection to the broker, in a thread of its own that serves its heartbeats and connects again."""

from __future__ import annotations

from logging import Logger, LogRecord, getLogger
from time import monotonic
from typing import TYPE_CHECKING

from progresskit.backends import ReconnectingThread

from .connection import Connection, Receipt
from .failures import Failed, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from progresskit.errors import BackendUnavailable

    from .address import Address
    from .connection import Outgoing, Script

BLOCKED_SECONDS = 0.5
"""How long a call waits for a broker that is out of memory or disk."""

BLOCKED = "the broker is out of memory or disk, and takes no messages"
LOST = "the connection is lost"

THREAD = "progresskit-rabbitmq"


class ConnectionManager(ReconnectingThread):
    """
    Keeps one connection from the first call to `close`.

    `script` prepares each new connection, `lost` is called in the thread after each one, with `changed` held.
    """

    def __init__(self, address: Address, script: Callable[[Connection], Script], lost: Callable[[], None]) -> None:
        super().__init__(THREAD, address.name)
        self._parameters, self._script, self._lost = address.parameters, script, lost
        self.connection: Connection | None = None
        self.is_up = False
        """True while the connection is prepared."""

    @property
    def started(self) -> bool:
        """True once a connection was asked for."""
        return self._thread is not None

    @property
    def blocked(self) -> bool:
        """True while the broker takes no messages, for want of memory or disk."""
        return self.connection is not None and self.connection.blocked

    def wait_up(self, deadline: float) -> None:
        """Return when the connection is prepared; raises the error of an attempt that fails meanwhile."""
        self.require(lambda: self.is_up, deadline - monotonic())

    def publish(self, outgoing: Sequence[Outgoing], deadline: float, condition: Callable[[], bool]) -> None:
        """
        Publish in the thread, and wait until the broker has confirmed all and the condition holds.

        Raises at once when the broker takes no messages; connects again if there is no answer in time.
        """
        self.wait_up(deadline)
        with self.changed:
            connection, failures, receipt = self.connection, self.failures, Receipt(len(outgoing))
            is_free = self.changed.wait_for(lambda: not self.blocked, min(BLOCKED_SECONDS, deadline - monotonic()))
        if connection is None or not is_free:
            raise self.unavailable(LOST if is_free else BLOCKED)
        connection.call(lambda: connection.publish(outgoing, receipt))
        with self.changed:
            self.changed.wait_for(
                lambda: receipt.error or self.failures > failures or self.blocked or (receipt.over and condition()),
                deadline - monotonic(),
            )
            if receipt.error is not None:
                raise failure(receipt.error, self.server)
            if receipt.over and condition():
                return
            if self.failures > failures or self.blocked:
                raise self.unavailable(BLOCKED if self.blocked else LOST)
        raise self.time_out()

    def send(self, outgoing: Outgoing) -> None:
        """Publish one message, if there is a connection, without a confirm."""
        connection = self.connection
        if connection is not None:
            connection.call(lambda: connection.publish([outgoing]))

    def time_out(self) -> BackendUnavailable:
        """Connect again, because the broker has not answered; return the error for the caller."""
        self.reset("no answer in time")
        return self.unavailable("no answer in time")

    def reset(self, why: str) -> None:
        """Make the connection again, without waiting for answers on the old one."""
        with self.changed:
            connection, self.is_up = self.connection, False
            if connection is not None:
                connection.call(lambda: connection.drop(Failed(why)))

    def interrupt(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.call(self.connection.say_goodbye)

    # The thread.

    def serve(self) -> None:
        """Connect, and serve the connection until it ends."""
        _silence_pika()
        connection: Connection | None = None
        try:
            connection = Connection(self._parameters, self.changed, self._script, self.connected)
            with self.changed:
                self.connection = connection
                if self.closed:
                    self.interrupt()
            connection.ioloop.start()
            error = connection.error or Failed("the connection is closed")
        except Exception as unexpected:
            # pika reports its own errors by callbacks, but for a connection that is lost as soon as it is made.
            if not isinstance(unexpected.__context__, OSError):
                getLogger("progresskit").exception("Unexpected error in the connection to RabbitMQ; it is made again")
            error = unexpected
            if connection is not None:
                connection.abandon(unexpected)
        finally:
            if connection is not None:
                connection.release()
        if not self.closed:
            raise failure(error, self.server)

    def connected(self) -> None:
        """Note that the connection is prepared."""
        with self.changed:
            self.is_up = True
            super().connected()

    def disconnected(self) -> None:
        """Forget the connection."""
        self.is_up, self.connection = False, None
        self._lost()


def _silence_pika() -> None:
    """Hide pika's own log messages of the thread: each failure is raised, and the kit logs it once."""
    for name in list(Logger.manager.loggerDict):
        if name.startswith("pika."):
            getLogger(name).addFilter(_is_of_another_thread)


def _is_of_another_thread(record: LogRecord) -> bool:
    return record.threadName != THREAD
