"""The contract, held by what goes over transports of Kombu."""

from __future__ import annotations

from .suites import contract_of

TestKombuMemory = contract_of("kombu-memory", __name__)
TestKombuRedis = contract_of("kombu-redis", __name__)
TestKombuAmqp = contract_of("kombu-amqp", __name__)
