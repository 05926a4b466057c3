"""The contract, held by Taskiq."""

from __future__ import annotations

from .queues import suite_of

TestList = suite_of("taskiq-list", __name__)
TestStream = suite_of("taskiq-stream", __name__)
