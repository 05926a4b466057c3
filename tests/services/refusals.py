"""Expect a backend to refuse a call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from progresskit.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable


def refused(call: Callable[[], object], within: float | None = None) -> str:
    """
    Assert that a call raises BackendUnavailable; return its message.

    `within` bounds how many seconds it takes: only for tests that are marked `timing`.
    """
    began = time.monotonic()
    with pytest.raises(BackendUnavailable) as raised:
        call()
    assert within is None or time.monotonic() - began < within
    return str(raised.value)


def succeeds(call: Callable[[], object]) -> Callable[[], bool]:
    """Return a function that makes the call, and returns whether the backend was available."""

    def is_accepted() -> bool:
        try:
            call()
        except BackendUnavailable:
            return False
        return True

    return is_accepted
