"""What two hundred jobs leave behind in RabbitMQ."""

from __future__ import annotations

from .leaks import Leaks


class TestRabbitMQ(Leaks):
    name = "rabbitmq"
