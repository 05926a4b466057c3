"""The contract, held by the reference backend."""

from __future__ import annotations

from .suites import contract_of

TestMemory = contract_of("memory", __name__)
