"""The broker of the contract's workers, `dramatiq tests.contract.dramatiq_worker:broker`, and of their sender."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import dramatiq
from dramatiq.middleware import AsyncIO
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

import progresskit_dramatiq
from progresskit.testing.queue_tasks import TASKS

if TYPE_CHECKING:
    from progresskit.kit import Kit

REDELIVERY = {"heartbeat_timeout": 1_000, "maintenance_chance": 1_000_000}
"""On Redis, the messages of a worker that was not heard of for a second are looked for by each command."""


def make_broker(url: str, results: str, *, kit: Kit | None = None) -> dramatiq.Broker:
    """Return a broker that has an actor for each task, and keeps results in a Redis."""
    broker: dramatiq.Broker
    if url.startswith("redis:"):
        from dramatiq.brokers.redis import RedisBroker

        broker = RedisBroker(url=url, **REDELIVERY)
    else:
        from dramatiq.brokers.rabbitmq import RabbitmqBroker

        broker = RabbitmqBroker(url=url)
    broker.add_middleware(progresskit_dramatiq.ProgressMiddleware(kit=kit))
    broker.add_middleware(Results(backend=RedisBackend(url=results), store_results=True))
    broker.add_middleware(AsyncIO())
    for function in TASKS.values():
        dramatiq.actor(broker=broker, max_retries=0)(function)
    return broker


if "DRAMATIQ_URL" in os.environ:
    broker = make_broker(os.environ["DRAMATIQ_URL"], os.environ["DRAMATIQ_RESULTS"])
