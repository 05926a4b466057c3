"""The contract, held by RQ."""

from __future__ import annotations

from .queues import suite_of

TestRQ = suite_of("rq", __name__)
