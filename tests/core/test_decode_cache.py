"""What was decoded is kept, within bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from progresskit.backends import DecodeCache, cache
from progresskit.progress import Progress, State, Version

RECORD = Progress("a", State.RUNNING, Version(1, 1, 1))


@pytest.mark.parametrize("stored", [lambda text: text, str.encode, lambda text: (text, None, False)])
def test_it_has_a_bound_in_bytes(stored: Callable[[str], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BYTES", 10_000)
    decoded = DecodeCache()
    sizes = []
    for number in range(100):
        decoded.get(f"job-{number}", stored("x" * 999), lambda: RECORD)
        sizes.append(len(decoded))
    assert max(sizes) == 11
    assert min(sizes[11:]) >= 1


def test_a_job_that_changes_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BYTES", 10_000)
    decoded = DecodeCache()
    for number in range(100):
        decoded.get("a", f"{number:999}", lambda: RECORD)
        decoded.get("b", "the same", lambda: RECORD)
        assert len(decoded) == 2
