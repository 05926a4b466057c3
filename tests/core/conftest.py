from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from progresskit import Kit, Progress
from progresskit.testing import FakeClock

from .doubles import FlakyBackend


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> FlakyBackend:
    return FlakyBackend(clock)


@pytest.fixture
def kit(backend: FlakyBackend, clock: FakeClock) -> Kit:
    """Make a kit without threads: nothing is written or read but by `kit.publisher.step()` and `kit.hub.step()`."""
    return Kit(backend=backend, clock=clock, threaded=False, heartbeat=10, lease=30)


@pytest.fixture
def step(kit: Kit, clock: FakeClock) -> Callable[..., float | None]:
    """Give a function that lets time pass and then does one round of the publisher."""

    def step(seconds: float = 0) -> float | None:
        clock.advance(seconds)
        return kit.publisher.step()

    return step


@pytest.fixture
def stored(backend: FlakyBackend) -> Callable[[str], Progress]:
    """Give a function that returns what the store holds of a job."""
    return lambda id: backend.store.read([id])[id]


@pytest.fixture
def make_kit() -> Iterator[Callable[..., Kit]]:
    """Give a function that makes a kit with threads and the real clock; it is closed in the end."""
    kits: list[Kit] = []

    def make(**settings: Any) -> Kit:
        kits.append(Kit(**{"flush_seconds": 30} | settings))  # for a busy machine
        return kits[-1]

    yield make
    for kit in kits:
        kit.close()
