"""Parts in RabbitMQ, under faults."""

from __future__ import annotations

from .parts import PartsUnderFaults


class TestRabbitMQ(PartsUnderFaults):
    name = "rabbitmq"
