"""
Test doubles, and the contract suites for backends and shims.

`FakeClock` and `RecordingObserver` are doubles for tests of applications. `BackendContract` is the suite that every
backend has to pass; `PushContract`, `CancelPushContract`, `ListingContract`, `PartsContract`,
`SharedContract`, `SharedPartsContract`, `HostsContract`, `OutageContract` and
`ReplacementContract` test its capabilities. With pytest and Hypothesis installed, this is the whole proof of a third
party's backend:

    import pytest
    from progresskit.testing import BackendContract, FakeClock, ListingContract

    class TestMine(BackendContract, ListingContract):
        @pytest.fixture
        def clock(self):
            return FakeClock()

        @pytest.fixture
        def backend(self, clock):            # a fresh and empty store, judged by that clock
            backend = MyBackend(clock=clock)
            yield backend
            backend.close()

`ShimContract` is the suite of a shim for a web framework, `QueueContract` that of an integration of a queue; see
`progresskit.testing.shims` and `progresskit.testing.queues`.

`pytest.register_assert_rewrite("progresskit.testing")` in a conftest, before the import, makes failures show the
compared values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capabilities import CancelPushContract, ListingContract, PushContract
from .contract import BackendContract
from .doubles import FakeClock, RecordingObserver
from .hosts import HostsContract
from .model import Model
from .outages import OutageContract, ReplacementContract
from .parts import PartsContract, SharedPartsContract
from .sharing import SharedContract
from .watching import WatchContract
from .writes import LEASE, LIFE, TTL, declare, external_update, record, start, update

if TYPE_CHECKING:
    from .queues import QueueContract
    from .shims import ShimContract

__all__ = [
    "LEASE",
    "LIFE",
    "TTL",
    "BackendContract",
    "CancelPushContract",
    "FakeClock",
    "HostsContract",
    "ListingContract",
    "Model",
    "OutageContract",
    "PartsContract",
    "PushContract",
    "QueueContract",
    "RecordingObserver",
    "ReplacementContract",
    "SharedContract",
    "SharedPartsContract",
    "ShimContract",
    "WatchContract",
    "declare",
    "external_update",
    "record",
    "start",
    "update",
]


def __getattr__(name: str) -> Any:
    """Import the contracts of shims and queues when they are asked for: they need pytest, and the others do not."""
    if name == "QueueContract":
        from .queues import QueueContract

        return QueueContract
    if name == "ShimContract":
        from .shims import ShimContract

        return ShimContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
