"""The contract, held by the backends of Django's task framework."""

from __future__ import annotations

from .queues import suite_of

TestDatabase = suite_of("django-tasks-db", __name__)
TestRQ = suite_of("django-tasks-rq", __name__)
