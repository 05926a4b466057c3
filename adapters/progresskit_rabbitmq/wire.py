"""
One connection to the broker, while it lasts; everything in it is called in one thread.

What is done on it is written as a script: a generator that yields steps, each a function that is given what to call
when it is through. So a script reads like a list of calls, and nothing in the thread ever waits for an answer.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first thread that connects imports it, maybe while another one forks
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


class Outgoing(NamedTuple):
    """A message to publish; `needed` says that it must reach somebody."""

    exchange: str
    key: str
    kind: str
    body: bytes
    needed: bool


class Receipt:
    """What somebody holds who waits until the broker has all of some messages, which go by that wire or not at all."""

    __slots__ = ("error", "left", "wire")

    def __init__(self, left: int, wire: Wire) -> None:
        self.left, self.wire = left, wire
        self.error: BaseException | None = None

    @property
    def over(self) -> bool:
        """True when waiting for it is no use any more."""
        return self.left == 0 or self.error is not None


class Wire(SelectConnection):  # type: ignore[misc]
    """A connection that runs a script when it is open, and calls `up` when the script is through."""

    def __init__(
        self, parameters: Parameters, changed: Condition, script: Callable[[Wire], Script], up: Callable[[], None]
    ) -> None:
        self.error: BaseException | None = None
        self.blocked = False
        self._changed, self._make, self._up = changed, script, up
        self._script: Script | None = None
        self._confirming: Channel | None = None
        self._tag = 0
        self._receipts: dict[int, Receipt] = {}
        super().__init__(
            parameters,
            on_open_callback=lambda wire: self._begin_script(),
            on_open_error_callback=lambda wire, error: self._finish(error),
            on_close_callback=lambda wire, error: self._finish(error),
        )
        self.add_on_connection_blocked_callback(lambda wire, frame: self._set_blocked(True))
        self.add_on_connection_unblocked_callback(lambda wire, frame: self._set_blocked(False))

    def _set_blocked(self, blocked: bool) -> None:
        with self._changed:
            self.blocked = blocked
            self._changed.notify_all()

    # The script.

    def _begin_script(self) -> None:
        self._script = self._make(self)
        self._go_on(None)

    def _go_on(self, answer: Any) -> None:
        self._advance(lambda script: script.send(answer))

    def _advance(self, act: Callable[[Script], Step]) -> None:
        if self._script is None or self.error is not None:
            return
        try:
            act(self._script)(self._go_on)
        except StopIteration:
            self._script = None
            self._up()
        except Exception as error:
            self.drop(error)

    def open_channel(self, prefetch: int | None = None) -> Generator[Step, Any, Channel]:
        """Open a channel, with at most so many messages on their way to each of its consumers."""
        channel = yield lambda done: self.channel(on_open_callback=done)
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_cancel_callback(lambda frame: self.drop(Failed("the broker ended a subscription")))
        if prefetch is not None:
            yield lambda done: channel.basic_qos(prefetch_count=prefetch, callback=done)
        return channel

    def _channel_closed(self, channel: Channel, reason: Exception) -> None:
        if not self.is_open or isinstance(reason, ChannelClosedByClient):
            return
        # The script may know what to do about it; else the whole connection is made anew.
        if self._script is not None:
            self._advance(lambda script: script.throw(reason))
        else:
            self.drop(reason)

    # Publishing.

    def open_publishing(self) -> Generator[Step, Any, None]:
        """Open the channel that publishes."""
        channel = yield from self.open_channel()
        channel.add_on_return_callback(self._returned)
        yield lambda done: channel.confirm_delivery(self._answered, callback=done)
        self._confirming = channel

    def publish(self, outgoing: Sequence[Outgoing], receipt: Receipt | None = None) -> None:
        """Publish in this order; the receipt is over when the broker has all of them."""
        if self._confirming is None or self.error is not None:
            self._settle(receipt, Failed("the connection is lost"))
            return
        for exchange, key, kind, body, needed in outgoing:
            self._tag += 1
            properties = BasicProperties(type=kind, message_id=str(self._tag))
            if receipt is not None:
                self._receipts[self._tag] = receipt
            self._confirming.basic_publish(exchange, key, body, properties, mandatory=needed)

    def _returned(self, channel: object, method: Any, properties: Any, body: bytes) -> None:
        receipt = self._receipts.pop(int(properties.message_id), None)
        self._settle(receipt, Failed(f"the broker has no place for it now ({method.reply_text})"))

    def _answered(self, frame: Any) -> None:
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
                if receipt.over:
                    self._changed.notify_all()

    # The end.

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

    def release(self) -> None:
        """Let nobody wait any longer, and give back what the loop holds."""
        receipts, self._receipts = self._receipts, {}
        for receipt in receipts.values():
            self._settle(receipt, self.error or Failed("the connection is closed"))
        self.ioloop.close()
