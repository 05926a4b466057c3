"""What may be asked of a backend on SQL, for tests of what goes wrong whichever it is."""

from __future__ import annotations

from collections.abc import Callable

from progresskit.testing.writes import start, update
from progresskit_sql import SQLBackend

CALLS: list[Callable[[SQLBackend], object]] = [
    lambda backend: backend.write([start("job"), start("other")]),
    lambda backend: backend.write([update("job", 2)]),
    lambda backend: backend.read(["job"]),
    lambda backend: backend.request_cancel(["job"]),
    lambda backend: backend.cancel_requested(["job"]),
    lambda backend: backend.list(kind=None, states=None, limit=9),
]
