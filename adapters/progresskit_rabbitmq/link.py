"""The connection to the broker, in a thread of its own that serves its heartbeats and makes it anew when it is lost."""

from __future__ import annotations

import logging
from contextlib import suppress
from random import uniform
from threading import Event, current_thread
from time import monotonic
from typing import TYPE_CHECKING

from progresskit import background
from progresskit.errors import BackendError, BackendUnavailable

from .failures import Failed, failure
from .wire import Receipt, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Condition, Thread

    from .address import Address
    from .wire import Outgoing, Script

RETRY_SECONDS = (0.1, 2.0)
"""The wait after a first failure, and the longest; it doubles from one to the other, and half of it is chance."""

BLOCKED_SECONDS = 0.5
"""How long a call waits for a broker that is out of memory or disk."""

CLOSE_SECONDS = 1.0
"""How long the broker may take to say goodbye."""

THREAD = "progresskit-rabbitmq"


class Link:
    """
    A connection that is kept up from `start` to `close`.

    `changed` guards what is known of it, and is notified of each change. `script` gets each new connection ready,
    `lost` is called in the thread after each one, with `changed` held.
    """

    def __init__(
        self, address: Address, changed: Condition, script: Callable[[Wire], Script], lost: Callable[[], None]
    ) -> None:
        self._address, self._changed, self._script, self._lost = address, changed, script, lost
        self._thread: Thread | None = None
        self._stop, self._hurry = Event(), Event()
        self._wire: Wire | None = None
        self._up = self._planned = False
        self.plans = 0
        """How often the connection was made anew because that was wanted."""
        self._attempts = self._failures = 0
        self._error: BackendError | None = None

    @property
    def begun(self) -> bool:
        """True between the first call and the end."""
        return self._thread is not None

    @property
    def blocked(self) -> bool:
        """True while the broker takes nothing, for want of memory or disk."""
        return self._wire is not None and self._wire.blocked

    def wait_up(self, deadline: float) -> None:
        """Return when the connection is ready; raise why it is not, when an attempt has failed or time is over."""
        with self._changed:
            self._start()
            if self._up:
                return
            begun = self._attempts
            self._hurry.set()
            self._changed.wait_for(
                lambda: self._up or (self._error is not None and self._attempts > begun), deadline - monotonic()
            )
            if not self._up:
                raise self._error or self.unavailable("no answer yet")

    def unavailable(self, why: str) -> BackendUnavailable:
        """Make the error that says so."""
        return BackendUnavailable(f"{self._address.name}: {why}")

    def publish(self, outgoing: Sequence[Outgoing], deadline: float) -> Receipt:
        """Publish in the thread; return when that is on its way. Raises when the broker takes nothing."""
        self.wait_up(deadline)
        with self._changed:
            if not self._changed.wait_for(lambda: not self.blocked, min(BLOCKED_SECONDS, deadline - monotonic())):
                raise self.unavailable("the broker is out of memory or disk, and takes nothing")
            wire = self._wire
        if wire is None:
            raise self.unavailable("the connection is lost")
        receipt = Receipt(len(outgoing), wire)
        wire.ioloop.add_callback_threadsafe(lambda: wire.publish(outgoing, receipt))
        return receipt

    def say(self, outgoing: Outgoing) -> None:
        """Publish without waiting for anything."""
        wire = self._wire
        if wire is not None:
            wire.ioloop.add_callback_threadsafe(lambda: wire.publish([outgoing]))

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Call `act` in the thread, in which this is called too, after so many seconds of this connection."""
        if self._wire is not None:
            self._wire.ioloop.call_later(seconds, act)

    def settle(self, receipt: Receipt, deadline: float, also: Callable[[], bool]) -> None:
        """Wait until the broker has it all and `also` holds; raise why not, and begin anew where nothing answers."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_lost(receipt) or self.blocked or (receipt.over and also()), deadline - monotonic()
            )
            if receipt.error is not None:
                raise failure(receipt.error, self._address.name)
            if receipt.over and also():
                return
            if self._is_lost(receipt):
                raise self.unavailable("the connection is lost")
            if self.blocked:
                raise self.unavailable("the broker is out of memory or disk, and takes nothing")
        self.reset("no answer in time")
        raise self.unavailable("no answer in time")

    def _is_lost(self, receipt: Receipt) -> bool:
        """Tell whether it will never be known; what comes to a loop that has just ended is dropped without a word."""
        return receipt.error is not None or (self._wire is not receipt.wire and not receipt.over)

    def reset(self, why: str, planned: bool = False) -> None:
        """Make the connection anew, without waiting for anything of the old one; it is no failure if it was planned."""
        with self._changed:
            wire, self._up = self._wire, False
            self._planned = planned and wire is not None
            self.plans += planned
        if wire is not None:
            wire.ioloop.add_callback_threadsafe(lambda: wire.drop(Failed(why)))

    def close(self) -> None:
        """End the connection and the thread."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._stop.set()
            self._hurry.set()
            wire = self._wire
        if wire is not None:
            wire.ioloop.add_callback_threadsafe(lambda: _say_goodbye(wire))
        if thread is not None and thread is not current_thread():
            thread.join(2 * CLOSE_SECONDS)

    # The thread.

    def _start(self) -> None:
        if self._thread is None:
            _silence_pika()
            self._stop, self._hurry = Event(), Event()
            try:
                self._thread = background.start(self._run, THREAD, self.close, (self._stop, self._hurry))
            except RuntimeError as error:
                raise self.unavailable(str(error)) from error

    def _run(self, stop: Event, hurry: Event) -> None:
        while not stop.is_set():
            error = self._serve(stop)
            with self._changed:
                was_up, self._up, self._wire = self._up, False, None
                self._attempts += not self._planned
                self._failures = 0 if was_up or self._planned else self._failures + 1
                self._error = None if self._planned else failure(error, self._address.name)
                self._planned = False
                self._lost()
                self._changed.notify_all()
                hurry.clear()  # this attempt is the answer to all who called during it; the next is of who calls next
                wait = 0.0 if stop.is_set() else self._pause()
            if wait:
                hurry.wait(wait)

    def _pause(self) -> float:
        if not self._failures:
            return 0.0
        first, longest = RETRY_SECONDS
        delay = min(first * 2.0 ** min(self._failures, 16), longest)
        return uniform(delay / 2, delay)

    def _serve(self, stop: Event) -> BaseException:
        """Connect, and return why the connection has ended."""
        wire: Wire | None = None
        try:
            wire = Wire(self._address.parameters, self._changed, self._script, self._came_up)
            with self._changed:
                self._wire = wire
                if stop.is_set():
                    wire.ioloop.add_callback_threadsafe(lambda: _say_goodbye(wire))
            wire.ioloop.start()
        except Exception as error:
            # What pika knows of comes as a callback; whatever this is, the connection must not be the last one.
            logging.getLogger("progresskit").exception("The connection to RabbitMQ broke off")
            if wire is not None:
                _abandon(wire, error)
            return error
        finally:
            if wire is not None:
                wire.release()
        return wire.error or Failed("the connection is closed")

    def _came_up(self) -> None:
        with self._changed:
            self._up, self._error = True, None
            self._changed.notify_all()


def _say_goodbye(wire: Wire) -> None:
    if wire.is_open:
        wire.ioloop.call_later(CLOSE_SECONDS, lambda: wire.drop(Failed("closed")))
        wire.close()
    else:
        wire.drop(Failed("closed"))


def _abandon(wire: Wire, error: Exception) -> None:
    """Give the loop a moment in which to close what is open."""
    with suppress(Exception):
        wire.drop(error)
        wire.ioloop.call_later(CLOSE_SECONDS, wire.ioloop.stop)
        wire.ioloop.start()


PIKA = (
    "adapters.base_connection",
    "adapters.select_connection",
    "adapters.utils.connection_workflow",
    "adapters.utils.io_services_utils",
    "adapters.utils.selector_ioloop_adapter",
    "callback",
    "channel",
    "connection",
    "heartbeat",
)


def _silence_pika() -> None:
    """Keep to ourselves what pika has to say in our thread: each failure is raised, and told once by the kit."""
    for name in PIKA:
        logging.getLogger(f"pika.{name}").addFilter(_not_ours)


def _not_ours(record: logging.LogRecord) -> bool:
    return record.threadName != THREAD
