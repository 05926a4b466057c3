"""The contract, held by Procrastinate."""

from __future__ import annotations

from .queues import suite_of

TestProcrastinate = suite_of("procrastinate", __name__)
