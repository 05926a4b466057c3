"""The contract, held by what goes over a transport of Kombu: Redis."""

from __future__ import annotations

from .suites import contract_of

TestKombuRedis = contract_of("kombu-redis", __name__)
