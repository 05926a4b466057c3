"""The contract, held by Dramatiq."""

from __future__ import annotations

from .queues import suite_of

TestRedis = suite_of("dramatiq-redis", __name__)
TestRabbitMQ = suite_of("dramatiq-rabbitmq", __name__)
