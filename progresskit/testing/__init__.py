"""
What tests of progresskit, and of what is built on it, are made of.

`FakeClock` and `RecordingObserver` are doubles for anybody's tests. `BackendContract` is the suite that a backend has
to pass; `PushesContract`, `PushesCancelsContract`, `ListsContract`, `SharedContract`, `HostsContract` and
`OutageContract` go with the powers it has. With pytest and Hypothesis installed, this is the whole proof of a third
party's backend:

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

from .contract import BackendContract
from .doubles import FakeClock, RecordingObserver
from .hosts import HostsContract
from .model import Model
from .outages import OutageContract
from .powers import ListsContract, PushesCancelsContract, PushesContract
from .sharing import SharedContract
from .watching import WatchContract
from .writes import LEASE, LIFE, TTL, record, start, update, word

__all__ = [
    "LEASE",
    "LIFE",
    "TTL",
    "BackendContract",
    "FakeClock",
    "HostsContract",
    "ListsContract",
    "Model",
    "OutageContract",
    "PushesCancelsContract",
    "PushesContract",
    "RecordingObserver",
    "SharedContract",
    "WatchContract",
    "record",
    "start",
    "update",
    "word",
]
