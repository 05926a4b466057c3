"""Jobs of the default kit, for the tests of its viewers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import progresskit


@contextmanager
def running(id: str, **about: Any) -> Iterator[progresskit.ProgressObserver]:
    """Run a job that is stored when the block begins."""
    given: dict[str, Any] = {"total": 4, "description": "Importing"} | about
    with progresskit.observe(id, **given) as observer:
        progresskit.flush()
        yield observer


def finish(id: str) -> progresskit.Progress:
    """Run a job to its end; return the final record."""
    with running(id):
        pass
    return stored(id)


def stored(id: str) -> progresskit.Progress:
    record = progresskit.get(id)
    assert record is not None
    return record
