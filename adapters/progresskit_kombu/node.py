"""
A process among those that share an exchange: a thread that receives, and callers that send and wait for it.

A message comes back to the process that sent it, and takes effect there at that moment as in all others. So a call
returns the changes that the message made, which also show that the broker has passed it on.
"""

from __future__ import annotations

from contextlib import suppress
from logging import getLogger
from time import monotonic
from typing import TYPE_CHECKING, Any

from progresskit.backends import ReconnectingThread
from progresskit.backends.barrier import Barrier
from progresskit.backends.changes import Changes, portions
from progresskit.backends.log import LogNode
from progresskit.backends.replica import Outcome, Outcomes
from progresskit.errors import BackendUnavailable
from progresskit.subscriptions import SubscriptionList

from .handler import MessageHandler
from .joining import LoopbackTimeout
from .messages import PORTION, Act, unpack
from .replica import MergingReplica
from .transport import Consumer, Key, Producer, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from progresskit.progress import Write
    from progresskit.record_store import RecordStore

    from .address import Address

DRAIN_SECONDS = 0.5
"""The longest time between two looks at the state of the thread."""

NO_LOOPBACK = "the messages of this process do not come back"


class Node(ReconnectingThread, LogNode):
    """
    Sends, receives and keeps the replica.

    A connection is identified by how many have failed before it: a call sends by the connection that it found ready,
    or not at all.
    """

    def __init__(self, address: Address, prefix: str, clock: Callable[[], float]) -> None:
        super().__init__("progresskit-kombu", str(address))
        self._clock = clock
        self._topology = Topology(address, prefix)
        self._consumer, self._producer = Consumer(self._topology, self._receive), Producer(self._topology)
        self.subscriptions = SubscriptionList(self.changed)
        self.replica = MergingReplica()
        self._handler = MessageHandler(self.replica)
        self._barrier = Barrier(self._ping)
        self._outcomes = Outcomes()

    # Called by other threads.

    def now(self) -> float:
        """Return the time by the clock of this process."""
        return self._clock()

    def ready(self, deadline: float, viewing: bool = False) -> RecordStore:
        """Return when this process has joined the others, and has the records that they have sent in time."""
        self._connected(deadline)
        return self.replica.entries

    def catch_up(self, deadline: float) -> RecordStore:
        """Return when all messages that any process has sent until now are in the replica."""
        self._barrier.wait(deadline)
        return self.replica.entries

    def write(self, batch: Sequence[Write], deadline: float) -> dict[str, int]:
        """Send the batch to all; return the runs that are stored now."""
        connection = self._connected(deadline)
        keys = list[Key]()
        for part in portions(batch, lambda write: len(write.body), PORTION):
            with self.changed:
                runs = {write.id: run for write in part if (run := self.replica.run_of(write)) != write.run}
            keys.append(self._send(Act.CHANGES, [*Changes(part).pack(), runs], connection, awaited=True))
        return self._await(keys, connection, deadline).runs

    def send(self, changes: Changes, deadline: float) -> Outcome:
        """Send requests and removals to all."""
        connection = self._connected(deadline)
        return self._await(
            [self._send(Act.CHANGES, [*changes.pack(), {}], connection, awaited=True)], connection, deadline
        )

    def _ping(self, deadline: float) -> None:
        connection = self._connected(deadline)
        self._await([self._send(Act.PING, None, connection, awaited=True)], connection, deadline)

    def _connected(self, deadline: float) -> int:
        """Return the connection by which this process has joined the others."""
        with self.changed:
            self.require(self._is_current, deadline - monotonic())
            return self.failures

    def _is_current(self) -> bool:
        return self._handler.current and not self.closed

    def _send(self, act: Act, content: Any = None, connection: int | None = None, awaited: bool = False) -> Key:
        """Send a message by the connection; `_await` returns the outcome of one that is `awaited`."""
        keys = list[Key]()

        def prepare(key: Key) -> None:
            with self.changed:
                if connection is not None and self.failures > connection:
                    raise self.error or self.unavailable("the connection is lost")
                if awaited:
                    keys.append(key)
                    self._outcomes.expect(keys)

        try:
            return self._producer.send(act, content, prepare)
        except BaseException:
            with self.changed:
                self._outcomes.take(keys)
            raise
        finally:
            self._consumer.wake()

    def _await(self, keys: list[Key], connection: int, deadline: float) -> Outcome:
        with self.changed:
            try:
                returned = self.wait(lambda: self._outcomes.have(keys), connection, deadline - monotonic())
            finally:
                outcome = self._outcomes.take(keys)
            if returned:
                return outcome
            if self.failures > connection or self.closed:
                raise self.error or self.unavailable("the connection is lost")
            self._handler.joining.lose(monotonic())
        self._consumer.wake()
        raise self.unavailable(NO_LOOPBACK)

    def close(self) -> None:
        """End the thread and both connections."""
        with self.changed:
            current, self.closed = self._is_current(), True
        if current:
            with suppress(BackendUnavailable):
                self._send(Act.PING)  # so that the thread does not go on waiting for a message
        self._consumer.wake()
        super().close()
        self._producer.close()

    # The thread.

    def serve(self) -> None:
        """Receive by one connection, and send the messages that callers wait for."""
        try:
            with self.changed:
                self._handler.begin(monotonic())
            self._consumer.open()
            self._consumer.drain(0)  # some transports listen only from here on
            while not self.closed:
                self._send_due()
                self._consumer.drain(min(max(self._handler.due - monotonic(), 0), DRAIN_SECONDS))
            self._consumer.close()
        except LoopbackTimeout:
            raise self.unavailable(NO_LOOPBACK) from None
        except BackendUnavailable:
            raise
        except Exception as error:
            raise self.unavailable(str(error) or type(error).__name__) from error

    def disconnected(self) -> None:
        """Have calls wait until this process has joined by another connection."""
        self._handler.begin(monotonic())

    def failed(self, error: Exception) -> None:
        """Drop both connections."""
        if self._backoff.failures == 0 and not self.closed:
            getLogger("progresskit").warning("No connection, it is tried again: %s", error)
        self._consumer.drop()
        self._producer.drop()

    def _send_due(self) -> None:
        """Send the messages that are due."""
        with self.changed:
            before, now = self._handler.current, monotonic()
            act = self._handler.joining.next(now)
            joined = self._handler.current and not before
        if act is not None:
            self._send(act)
        if joined:
            self._note_joined()
        with self.changed:
            snapshots = list(self._handler.snapshots(now, self.now()))
        for content in snapshots:
            self._send(Act.SNAPSHOT, content)

    def _note_joined(self) -> None:
        with self.changed:
            had_failed = self.error is not None
            self.connected()
            self.subscriptions.report_gap()
        if had_failed:
            getLogger("progresskit").info("%s: connected again", self.server)

    def _receive(self, text: str | bytes) -> None:
        message = unpack(text)
        if message is None:
            getLogger("progresskit").debug("%s: a message is not understood, it is ignored", self.server)
            return
        key = message.sender, message.number
        with self.changed:
            own, now = message.sender == self._producer.name, monotonic()
            try:
                outcome = self._handler.handle(message, own, now, self.now())
            except Exception as error:  # other messages are received all the same
                getLogger("progresskit").warning("%s: discarded a malformed message: %r", self.server, error)
                outcome = Outcome({})
            self.subscriptions.deliver(outcome.updated, self.replica.entries, self.now())
            self.subscriptions.deliver_cancels(outcome.cancelled)
            self._outcomes.resolve(key, outcome)
            gap = self._handler.has_gap(message, now)
            self.changed.notify_all()
        if gap:
            getLogger("progresskit").debug("%s: a message is missing", self.server)
