"""
Finds out for the publisher which of its jobs are asked to stop.

A backend that pushes requests is subscribed to, and polled only for requests that may have been missed; any other is
polled once a second for all jobs together. All of it happens in the publisher's thread.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from .abc import SupportsCancelPush

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Set
    from logging import Logger

    from .abc import Backend, Subscription

ASK_SECONDS = 1.0
"""How often a backend without push is polled."""

SOON_SECONDS = ASK_SECONDS / 4
"""The age at which a job is first asked for: it may have been cancelled while it was pending, and many end sooner."""

LINGER_SECONDS = 5.0
"""How long a subscription without jobs is kept; the next job may start soon."""


class Cancels:
    """
    Knows of requests to cancel, for as long as jobs are live.

    `post` hands something over to the publisher's thread. `resync_interval` (seconds) is how often a backend
    that pushes requests is polled for all jobs all the same, in case a message was lost.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Callable[[], float],
        post: Callable[[Callable[[], None]], None],
        resync_interval: float,
    ) -> None:
        self._backend, self._clock, self._post = backend, clock, post
        self._resync_interval = resync_interval if isinstance(backend, SupportsCancelPush) else ASK_SECONDS
        self.due: float | None = None
        """When the next poll is due, apart from `ended`; None for never."""
        self._all = 0.0  # when all jobs are polled
        self._listener: Subscription | None = None
        self._subscribed: set[str] = set()  # the jobs of the subscription
        self._doubtful: set[str] = set()  # these may have a request that this process has not seen
        self._ended = False

    def opened(self, ids: Collection[str], first: bool, at_once: bool = False) -> None:
        """
        Take up a job, of which requests for these ids are; it is the first one if no other is live.

        Requests are asked for soon, or `at_once` where the job began a while ago.
        """
        now = self._clock()
        soon = now if at_once else now + SOON_SECONDS
        self._doubtful.update(ids)
        if first:
            self._all = now + self._resync_interval
        self.due = soon if first or self.due is None else min(self.due, soon)

    def ended(self) -> None:
        """Find out, at the next look, which jobs are live no longer."""
        self._ended = True

    def look(self, live: Callable[[], Set[str]], down: bool) -> Collection[str]:
        """Return those of the live jobs that were found to be asked to stop; a backend that is down is left alone."""
        now = self._clock()
        if self._ended and not down:
            self._unsubscribe_ended(live(), now)
        if self.due is None or now < self.due:
            return ()
        ids = live()
        if not ids:
            self.close()
            self.due = None
            return ()
        self.due = now + ASK_SECONDS
        return () if down else self._ask(ids, now)

    def _ask(self, live: Set[str], now: float) -> Collection[str]:
        listens = self._listen(live)
        asks_all = not listens or now >= self._all
        wanted = live if asks_all else live & self._doubtful
        try:
            asked = self._backend.cancel_requested(wanted) if wanted else ()
        except Exception as error:
            _log().debug("It is not known which jobs are to stop: %s", error)
            return ()
        self._doubtful.clear()
        if asks_all:
            self._all = now + self._resync_interval
        self.due = self._all if listens else now + ASK_SECONDS
        return asked

    def _listen(self, live: Set[str]) -> bool:
        """Return whether the backend pushes requests to any of these from now on."""
        if not isinstance(self._backend, SupportsCancelPush):
            return False
        try:
            if self._listener is None:
                self._listener = self._backend.subscribe_cancels(self._on_cancel, self._lost)
            fresh = live - self._subscribed
            if fresh:
                self._listener.add(fresh)
                self._subscribed |= fresh
                self._doubtful |= fresh
        except Exception as error:
            _log().debug("Requests to cancel are asked for, since they cannot be listened to: %s", error)
            self.close()
            return False
        return True

    def _unsubscribe_ended(self, live: Set[str], now: float) -> None:
        """Listen no longer for jobs that have ended."""
        self._ended = False
        self._doubtful &= live
        gone = self._subscribed - live
        if self._listener is not None and gone:
            self._subscribed -= gone
            try:
                self._listener.remove(gone)
            except Exception:
                self.close()
                self.due = now + SOON_SECONDS
        if not live:
            self.due = None if self._listener is None else now + LINGER_SECONDS

    def _on_cancel(self, ids: Collection[str]) -> None:
        requested = frozenset(ids)
        self._post(lambda: self._doubt(requested))

    def _lost(self) -> None:
        self._post(lambda: self._doubt(self._subscribed))

    def _doubt(self, ids: Set[str]) -> None:
        # A request that is pushed is read before it counts: it may have been made to an earlier run of the job.
        doubtful = ids & self._subscribed
        if doubtful:
            self._doubtful |= doubtful
            self.due = self._clock()

    def close(self) -> None:
        """Listen no longer."""
        listener, self._listener = self._listener, None
        self._subscribed = set()
        if listener is not None:
            with suppress(Exception):
                listener.close()


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
