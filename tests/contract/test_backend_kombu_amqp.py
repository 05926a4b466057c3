"""The contract, held by what goes over a transport of Kombu: RabbitMQ."""

from __future__ import annotations

from .suites import contract_of

TestKombuAmqp = contract_of("kombu-amqp", __name__)
