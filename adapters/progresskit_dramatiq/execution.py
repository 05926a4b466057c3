"""The message that a worker's thread processes, from its start to its end."""

from __future__ import annotations

from functools import wraps
from threading import local
from typing import TYPE_CHECKING, Any

from dramatiq.middleware import SkipMessage

from progresskit.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.integrations import Run

WRAPPED = "wrapped_by_progresskit"


class Execution(local):
    """The run of the message that this thread (or greenlet) processes, if any; a thread processes one at a time."""

    run: Run | None = None
    called = False
    """The actor's function was called."""
    lost = False
    """The message could not be sent again so far, although its job was handed on to it."""

    def begin(self, run: Run) -> None:
        """Begin a run: its job is the surrounding one."""
        self.run = run.enter()
        self.called = self.lost = False

    def end(self) -> Run | None:
        """Return the run, which is the surrounding one no longer; None where this thread has none."""
        run, self.run = self.run, None
        if run is not None:
            run.leave()
        return run

    def keep_cancelled_inside(self, actor: Any) -> None:
        """
        Make `Cancelled` of the actor's function a `SkipMessage`, for which Dramatiq neither retries nor rejects.

        A function that is called by another one, and not for a message, passes `Cancelled` on to its caller.
        """
        if not hasattr(actor.fn, WRAPPED):
            actor.fn = self._wrapped(actor.fn)

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.run is None or self.called:
                return function(*args, **kwargs)
            self.called = True
            try:
                return function(*args, **kwargs)
            except Cancelled:
                raise SkipMessage("cancelled") from None

        setattr(call, WRAPPED, True)
        return call
