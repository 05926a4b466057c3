"""
The exception that stops the code of a job.

`Cancelled` is no `Exception`. A few libraries run code in threads or processes of their own, and drop what is raised
there unless it is an `Exception`: the waiting code would get no result, or a false one. There it is both.
"""

from __future__ import annotations

import sys

from .errors import Cancelled

_DROP_OTHERS = frozenset({"multiprocessing.pool", "s3transfer.tasks"})
"""The modules whose workers pass on exceptions of the class `Exception` only."""


class _CancelledInWorker(Cancelled, Exception):
    """Cancelled, in a worker of such a library."""


def cancelled_error(id: str) -> Cancelled:
    """Return the exception that stops the calling code, whose job was asked to stop."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") in _DROP_OTHERS:
            return _CancelledInWorker(id)
    return Cancelled(id)
