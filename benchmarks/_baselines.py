"""
What each backend's client library takes for the same: bytes made beforehand, and nothing of ours around it.

Those of the stores are in `_store_baselines`. Over a broker the baseline publishes each record as it comes; a second
baseline publishes the same few messages as ours.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import time
from typing import Any

from _store_baselines import (
    Baseline,
    ClusterBaseline,
    RedisBaseline,
)

from progresskit.progress import Write


class PikaBaseline(Baseline):
    name = "pika, each record published to a fanout exchange as it comes, without confirms"
    confirms = False

    def __init__(self, url: str) -> None:
        import pika

        self.connection: Any = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.exchange_declare("baseline", "fanout")
        if self.confirms:
            self.channel.confirm_delivery()
        self.properties = pika.BasicProperties(type="live", message_id="1")

    def messages(self, batch: Sequence[Write]) -> list[Sequence[Write]]:
        return [[write] for write in batch]

    def prepare(self, batch: Sequence[Write]) -> Any:
        from progresskit.backends.changes import Changes
        from progresskit.backends.replica import Stamp
        from progresskit_rabbitmq.messages import Message

        stamp = Stamp(time(), time())
        messages = [
            Message("baseline", number, stamp, Changes(each)) for number, each in enumerate(self.messages(batch))
        ]
        return [message.pack() for message in messages]

    def write(self, prepared: Any) -> None:
        for body in prepared:
            self.channel.basic_publish("baseline", "", body, self.properties)

    def close(self) -> None:
        self.connection.close()


class PikaMessagesBaseline(PikaBaseline):
    name = "pika, the same few messages as ours, each confirmed"
    confirms = True

    def messages(self, batch: Sequence[Write]) -> list[Sequence[Write]]:
        from progresskit.backends.changes import portions
        from progresskit_rabbitmq.node import PORTION

        return [*portions(batch, lambda write: len(write.body), PORTION)]


class KombuBaseline(Baseline):
    name = "Kombu, each record published to a fanout exchange as it comes, and taken out again"

    def __init__(self, url: str) -> None:
        from kombu.connection import Connection
        from kombu.entity import Exchange, Queue
        from kombu.messaging import Consumer, Producer

        self.connection: Any = Connection(url.removeprefix("kombu+"))
        exchange = Exchange(type(self).__name__, type="fanout", durable=False)
        self.queue = Queue(exchange.name, exchange, durable=False, auto_delete=True)
        self.taken = 0
        channel = self.connection.channel()
        Consumer(channel, [self.queue], on_message=self._take, no_ack=True).consume()
        self.producer: Any = Producer(self.connection.channel(), exchange)
        with suppress(TimeoutError):
            self.connection.drain_events(timeout=0.5)  # by Redis, it subscribes only now

    def _take(self, message: Any) -> None:
        self.taken += 1

    def messages(self, batch: Sequence[Write]) -> list[Sequence[Write]]:
        return [[write] for write in batch]

    def prepare(self, batch: Sequence[Write]) -> Any:
        from progresskit.backends.changes import Changes
        from progresskit_kombu.messages import Act, Message

        parts = ([*Changes(writes).pack(), {}] for writes in self.messages(batch))
        return [Message("baseline", number, Act.CHANGES, part).pack() for number, part in enumerate(parts)]

    def write(self, prepared: Any) -> None:
        until = self.taken + len(prepared)
        for text in prepared:
            self.producer.publish(
                text, content_type="application/json", content_encoding="utf-8", delivery_mode="transient"
            )
        while self.taken < until:
            self.connection.drain_events(timeout=5)

    def close(self) -> None:
        self.connection.release()


class KombuMessagesBaseline(KombuBaseline):
    name = "Kombu, the same few messages as ours, published and taken out again"

    def messages(self, batch: Sequence[Write]) -> list[Sequence[Write]]:
        from progresskit.backends.changes import portions
        from progresskit_kombu.messages import PORTION

        return [*portions(batch, lambda write: len(write.body), PORTION)]


class ResultBaseline(Baseline):
    name = "Celery, app.backend.store_result of current and total for each record"

    def __init__(self, url: str) -> None:
        from progresskit_celery.state.address import app_of

        self.app: Any = app_of(url)

    def prepare(self, batch: Sequence[Write]) -> Any:
        bodies = [json.loads(write.body) for write in batch]
        return [
            (f"baseline-{write.id}", {"current": body["current"], "total": body["total"]})
            for write, body in zip(batch, bodies, strict=True)
        ]

    def write(self, prepared: Any) -> None:
        for id, result in prepared:
            self.app.backend.store_result(id, result, "PROGRESS")

    def close(self) -> None:
        """Leave the app's connections to the app."""


FLOORS: Mapping[str, Sequence[type[Any]]] = {
    "redis": [RedisBaseline],
    "redis-cluster": [ClusterBaseline],
    "rabbitmq": [PikaBaseline, PikaMessagesBaseline],
    "kombu": [KombuBaseline, KombuMessagesBaseline],
    "celery": [ResultBaseline],
}
"""The first of each is the one that a batch is held to, but for Celery's, which are only reported."""


def baselines(name: str) -> Sequence[type[Any]]:
    """Return the baselines of a backend, by its name in the table of backends."""
    return FLOORS.get(name) or FLOORS.get(name.partition("-")[0], ())
