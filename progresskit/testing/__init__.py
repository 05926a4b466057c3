"""
What tests of progresskit, and of what is built on it, are made of.

`FakeClock` and `RecordingObserver` are doubles for anybody's tests. `BackendContract` is the suite that a backend has
to pass; `PushesContract`, `ListsContract`, `SharedContract` and `OutageContract` go with the powers it has. With pytest
and Hypothesis installed, this is the whole proof of a third party's backend:

    import pytest
    from progresskit.testing import BackendContract, FakeClock, ListsContract

    class TestMine(BackendContract, ListsContract):
        @pytest.fixture
        def clock(self):
            return FakeClock()

        @pytest.fixture
        def backend(self, clock):            # a fresh and empty store, judged by that clock
            backend = MyBackend(clock=clock)
            yield backend
            backend.close()

`pytest.register_assert_rewrite("progresskit.testing")` in a conftest, before the import, makes failures speak.
"""

from __future__ import annotations

from .contract import BackendContract, ListsContract, OutageContract, PushesContract, SharedContract
from .doubles import FakeClock, RecordingObserver
from .model import Model
from .writes import LEASE, TTL, record, start, update, word

__all__ = [
    "LEASE",
    "TTL",
    "BackendContract",
    "FakeClock",
    "ListsContract",
    "Model",
    "OutageContract",
    "PushesContract",
    "RecordingObserver",
    "SharedContract",
    "record",
    "start",
    "update",
    "word",
]
