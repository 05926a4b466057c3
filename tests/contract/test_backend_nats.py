"""The contract, held by NATS JetStream."""

from __future__ import annotations

from .suites import contract_of

TestNATS = contract_of("nats", __name__)
