"""Processes that share a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, NoReturn

import pytest

from progresskit_rabbitmq import RabbitMQBackend, streams
from progresskit_rabbitmq.connection import Connection
from tests.services import missing, patience, server
from tests.services.patience import be_patient
from tests.services.rabbitmq import RabbitMQ

from .gates import Gate


@pytest.fixture
def broker(missing_service: Callable[..., NoReturn], monkeypatch: pytest.MonkeyPatch) -> RabbitMQ:
    if why := missing("rabbitmq"):
        missing_service("rabbitmq", why)
    be_patient(patience.RABBITMQ, monkeypatch)
    broker = server("rabbitmq")
    assert isinstance(broker, RabbitMQ)
    return broker


@pytest.fixture
def url(broker: RabbitMQ) -> str:
    return broker.fresh()


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., RabbitMQBackend]]:
    """Give a function that makes a process's backend: each has a connection and a memory of its own."""
    with ExitStack() as stack:
        yield lambda url=url, **options: stack.enter_context(closing(RabbitMQBackend(url, **options)))


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> dict[str, Gate]:
    """Give the gates, by where the reading of a stream begins; calls wait only a moment for what is behind them."""
    consume, gates = Connection.consume, dict[str, Gate]()

    def gated(self: Connection, queue: str, prefetch: int, take: Any, since: str | None = None) -> Any:
        gate = gates.get(since or "")
        return consume(self, queue, prefetch, take if gate is None else partial(gate.take, take), since)

    monkeypatch.setattr(Connection, "consume", gated)
    monkeypatch.setattr(streams, "PATIENCE_SECONDS", 0.05)
    return gates
