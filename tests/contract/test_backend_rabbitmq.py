"""The contract, held by RabbitMQ."""

from __future__ import annotations

from .suites import contract_of

TestRabbitMQ = contract_of("rabbitmq", __name__)
