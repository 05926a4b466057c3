"""The contract, held by Celery."""

from __future__ import annotations

from .queues import suite_of

TestCelery = suite_of("celery", __name__)
