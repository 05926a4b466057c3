"""The contract, held by what goes over a transport of Kombu: memory."""

from __future__ import annotations

from .suites import contract_of

TestKombuMemory = contract_of("kombu-memory", __name__)
