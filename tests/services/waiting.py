"""Wait for a condition: every test that depends on another thread, process or server does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 180.0
"""Seconds after which an expected event counts as missing: far longer than a busy machine takes, so no promise."""

LONGEST_STEP = 0.02
"""Seconds to which a step grows by and by, so that those who wait leave the processor to what they wait for."""

Found = TypeVar("Found")


def wait_until(
    condition: Callable[[], Found | None],
    what: str = "the condition holds",
    seconds: float = PATIENCE,
    step: float = 0.005,
) -> Found:
    """Return what the condition gives once that is true; raises TimeoutError when it does not become true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(step)
        step = max(step, min(1.1 * step, LONGEST_STEP))
    return found
