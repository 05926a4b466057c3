"""What RabbitMQ may suffer."""

from __future__ import annotations

from .suite import Faults


class TestRabbitMQ(Faults):
    name = "rabbitmq"
