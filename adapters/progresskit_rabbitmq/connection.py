"""
One connection to the broker; all of it is called in one thread.

A script says what is done on it: a generator that yields steps, each a function that takes the callback of an
asynchronous call. So a script reads like a list of calls, and the thread never waits for an answer.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first thread that connects imports it, maybe while another one forks
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from pika import BasicProperties, SelectConnection
from pika.exceptions import ChannelClosedByClient

from .failures import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from threading import Condition

    from pika.channel import Channel
    from pika.connection import Parameters

    Step = Callable[[Callable[[Any], None]], Any]
    Script = Generator[Step, Any, None]

CLOSE_SECONDS = 1.0
"""How long the broker may take to confirm that the connection is closed."""


INBOX_PREFETCH, STREAM_PREFETCH = 200, 400
"""How many messages the broker sends ahead of their acknowledgement."""


class Outgoing(NamedTuple):
    """A message to publish; it is refused if `needed` and no queue takes it."""

    exchange: str
    key: str
    kind: str
    body: bytes
    needed: bool = False


class Receipt:
    """The confirmation of some messages."""

    __slots__ = ("error", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.error: BaseException | None = None

    @property
    def over(self) -> bool:
        """True once all messages are confirmed."""
        return self.left == 0


class Connection(SelectConnection):  # type: ignore[misc]
    """A connection that runs a script when it is open, and calls `ready` when that has ended."""

    def __init__(
        self,
        parameters: Parameters,
        changed: Condition,
        script: Callable[[Connection], Script],
        ready: Callable[[], None],
    ) -> None:
        self.error: BaseException | None = None
        self.blocked = False
        self._changed = changed
        self._script: Script | None = None
        self._then: Callable[[], None] = ready
        self._publishing: Channel | None = None
        self._tag = 0
        self._receipts: dict[int, Receipt] = {}
        super().__init__(
            parameters,
            on_open_callback=lambda connection: self.run(script(self), ready),
            on_open_error_callback=lambda connection, error: self._finish(error),
            on_close_callback=lambda connection, error: self._finish(error),
        )
        self.add_on_connection_blocked_callback(lambda connection, frame: self._set_blocked(True))
        self.add_on_connection_unblocked_callback(lambda connection, frame: self._set_blocked(False))

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the thread; any thread may do this. Once the loop has ended it is not called."""
        self.ioloop.add_callback_threadsafe(function)

    def _set_blocked(self, blocked: bool) -> None:
        with self._changed:
            self.blocked = blocked
            self._changed.notify_all()

    # The script.

    def run(self, script: Script, then: Callable[[], None]) -> None:
        """Run a script, while no other runs, and call a function when it has ended."""
        self._script, self._then = script, then
        self._resume(None)

    def _resume(self, answer: Any) -> None:
        self._advance(lambda script: script.send(answer))

    def _advance(self, act: Callable[[Script], Step]) -> None:
        if self._script is None or self.error is not None:
            return
        try:
            act(self._script)(self._resume)
        except StopIteration:
            self._script = None
            self._then()
        except Exception as error:
            self.drop(error)

    def open_channel(self, prefetch: int | None = None) -> Generator[Step, Any, Channel]:
        """Open a channel; each of its consumers has at most `prefetch` unacknowledged messages."""
        channel = yield lambda done: self.channel(on_open_callback=done)
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_cancel_callback(lambda frame: self.drop(Failed("the broker ended a subscription")))
        if prefetch is not None:
            yield lambda done: channel.basic_qos(prefetch_count=prefetch, callback=done)
        return channel

    def _channel_closed(self, channel: Channel, reason: Exception) -> None:
        if not self.is_open or isinstance(reason, ChannelClosedByClient):
            return
        # The script may handle it; else the whole connection is made again.
        if self._script is not None:
            self._advance(lambda script: script.throw(reason))
        else:
            self.drop(reason)

    def consume(
        self, queue: str, prefetch: int, take: Callable[[Any, bytes], None], since: str | None = None
    ) -> Generator[Step, Any, Channel]:
        """
        Receive the messages of a queue, or of a stream from there on, until the returned channel is closed.

        `take` is called with the properties and the body of each.
        """
        channel = yield from self.open_channel(prefetch)
        taken = count(1)

        def arrived(_: Channel, method: Any, properties: Any, body: bytes) -> None:
            if channel.is_open:
                # Several at a time, but soon: the broker stops sending when the whole prefetch is unacknowledged.
                if next(taken) % (prefetch // 4) == 0:
                    channel.basic_ack(method.delivery_tag, multiple=True)
                take(properties, body)

        arguments = {"x-stream-offset": since} if since is not None else None
        yield lambda done: channel.basic_consume(queue, arrived, arguments=arguments, callback=done)
        return channel

    # Publishing.

    def open_publishing(self) -> Generator[Step, Any, None]:
        """Open the channel that publishes, with confirms."""
        channel = yield from self.open_channel()
        channel.add_on_return_callback(self._returned)
        yield lambda done: channel.confirm_delivery(self._confirmed, callback=done)
        self._publishing = channel

    def publish(self, outgoing: Sequence[Outgoing], receipt: Receipt | None = None) -> None:
        """Publish in this order; the receipt is over when the broker has confirmed all of them."""
        if self._publishing is None or self.error is not None:
            self._settle(receipt, Failed("the connection is lost"))
            return
        for exchange, key, kind, body, needed in outgoing:
            self._tag += 1
            properties = BasicProperties(type=kind, message_id=str(self._tag))
            if receipt is not None:
                self._receipts[self._tag] = receipt
            self._publishing.basic_publish(exchange, key, body, properties, mandatory=needed)

    def _returned(self, channel: object, method: Any, properties: Any, body: bytes) -> None:
        receipt = self._receipts.pop(int(properties.message_id), None)
        self._settle(receipt, Failed(f"the broker has no place for it now ({method.reply_text})"))

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        error = Failed("the broker could not take it") if method.NAME == "Basic.Nack" else None
        if method.multiple:
            tags = [tag for tag in self._receipts if tag <= method.delivery_tag]
        else:
            tags = [method.delivery_tag]
        for tag in tags:
            self._settle(self._receipts.pop(tag, None), error)

    def _settle(self, receipt: Receipt | None, error: BaseException | None) -> None:
        if receipt is not None:
            with self._changed:
                receipt.left -= 1
                receipt.error = receipt.error or error
                self._changed.notify_all()

    # The end.

    def say_goodbye(self) -> None:
        """Close the connection, and cut it off if the broker does not confirm that in time."""
        if self.is_open:
            self.ioloop.call_later(CLOSE_SECONDS, lambda: self.drop(Failed("closed")))
            self.close()
        else:
            self.drop(Failed("closed"))

    def drop(self, error: BaseException) -> None:
        """Cut the connection off."""
        if self.error is None:
            self.error = error
        if not self.is_closed:
            self._terminate_stream(error if isinstance(error, Exception) else Failed(str(error)))

    def _finish(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
        self.ioloop.stop()

    def abandon(self, error: Exception) -> None:
        """Cut the connection off after its loop was left by an error, which gets a moment to close sockets."""
        with suppress(Exception):
            self.drop(error)
            self.ioloop.call_later(CLOSE_SECONDS, self.ioloop.stop)
            self.ioloop.start()

    def release(self) -> None:
        """End all receipts, and close the loop."""
        receipts, self._receipts = self._receipts, {}
        for receipt in receipts.values():
            self._settle(receipt, self.error or Failed("the connection is closed"))
        self.ioloop.close()
