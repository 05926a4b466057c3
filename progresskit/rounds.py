"""
The work of the publisher's thread, one round after another.

The thread owns everything here, but while another thread holds the lock to begin or end storing the end of a job
itself. Other threads hand functions to it through the inbox, which is a SimpleQueue because a finalizer may put into it
at any moment, even while the thread itself takes something out. A round decides by the injected clock only.
"""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import TYPE_CHECKING
from weakref import ref

from .cancels import Cancels
from .deferred import Deferred
from .outbox import Outbox
from .sampler import Sampler
from .takeovers import Takeovers

if TYPE_CHECKING:
    from collections.abc import Callable

    from .abc import Backend
    from .config import Settings
    from .job import Job
    from .outbox import DirectWrite, Flush
    from .progress import Write

    Inbox = SimpleQueue[Callable[[], None]]

WAKE_SECONDS = 0.01
"""The shortest time between two rounds that a change, and not the end of a job, asked for."""


class Rounds:
    """Samples the live jobs, writes changed ones, and asks for requests to cancel."""

    def __init__(self, backend: Backend, settings: Settings, clock: Callable[[], float]) -> None:
        self.inbox: Inbox = SimpleQueue()
        self._clock = clock
        self._lock = Lock()  # held during a round, and for a moment before and after another thread stores an end
        self.deferred = Deferred(settings.interval, WAKE_SECONDS, self.wake)
        self.sampler = Sampler(settings.interval, settings.heartbeat_seconds)
        self._takeovers = Takeovers(backend, clock, settings.heartbeat_seconds)
        self.outbox = Outbox(backend, clock, self.sampler, self._takeovers.notice)
        self._cancels = Cancels(backend, clock, self.inbox.put, settings.heartbeat_seconds)
        self._flushes: list[Flush] = []  # these begin once all changes have been sampled
        self._urgent = False  # a caller waits for the next round
        self._began = clock()

    def wake(self) -> None:
        """Have the thread do a round soon."""
        self.inbox.put(_do_nothing)

    def wait(self, timeout: float | None) -> None:
        """Wait for a message, and a moment longer so that many share a round, unless a caller waits for the round."""
        earliest = self._clock() + WAKE_SECONDS if timeout is None else self._began + WAKE_SECONDS
        with suppress(Empty):
            self._act(self.inbox.get(timeout=timeout))
            while not self._urgent and (left := earliest - self._clock()) > 0:
                self._act(self.inbox.get(timeout=left))

    def _act(self, message: Callable[[], None]) -> None:
        self.deferred.begin_round()
        with self._lock:
            self._take_updates()  # those made before the message
            message()

    def step(self) -> float | None:
        """Do one round; return the seconds until the next one, None if only a message can make it necessary."""
        self.deferred.begin_round()
        with self._lock:
            now = self._began = self._clock()
            self._take_updates()
            self._drain()
            self._take_begun_jobs(now)
            self._sample(now)
            self.outbox.write(now)
            self._look_for_cancels()
            self._takeovers.look(self.sampler.jobs, self.outbox.down)
            self._urgent = False
            return self.deferred.schedule(self._clock(), self._until_next())

    @property
    def is_idle(self) -> bool:
        """True while there is neither a message nor a record."""
        return not (self.has_messages or len(self.outbox))

    @property
    def has_messages(self) -> bool:
        """True while something waits for a round; safe in any thread."""
        return self.deferred.has_updates or self.deferred.has_jobs or not self.inbox.empty()

    @property
    def has_jobs(self) -> bool:
        """True while a job is live; safe in any thread."""
        return len(self.sampler) > 0 or self.deferred.has_jobs

    def jobs(self) -> list[Job]:
        """Return the live jobs."""
        return [*self.sampler.jobs(), *self.deferred.jobs()]

    def drop_jobs(self) -> None:
        """Publish no live job any longer."""
        self.sampler.clear()
        self.deferred.drop_jobs()

    def stop(self, stopped: Event) -> None:
        """End the rounds, of which this is the last one, as the message `stopped` says."""
        stopped.set()
        self._urgent = True

    def close(self) -> None:
        """Stop listening for requests to cancel."""
        self._cancels.close()

    def _drain(self) -> None:
        if self.inbox.empty():  # as in most rounds
            return
        with suppress(Empty):
            while True:
                self.inbox.get_nowait()()

    def _take_updates(self) -> None:
        for write, made in self.deferred.take_updates():
            self.outbox.put(write, made)

    def _take_begun_jobs(self, now: float) -> None:
        for job in self.deferred.take_jobs(now, everything=bool(self._flushes)):
            self._take_up(job.cancel_ids, job.token, ref(job), is_doubtful=True)

    def _sample(self, now: float) -> None:
        if self.sampler.remove_dropped():
            self._cancels.ended()
        for write, since in self.sampler.sample(now, all_changes=bool(self._flushes)):
            self.outbox.put(write, since)
        while self._flushes:
            self.outbox.begin(self._flushes.pop())

    def _look_for_cancels(self) -> None:
        requested = {*self._cancels.look(self._cancel_ids, self.outbox.down)}
        if requested:
            jobs = {job.id: job for job in self.sampler.jobs()}  # of two with one id, the one that began last
            for job in jobs.values():
                if not requested.isdisjoint(job.cancel_ids):
                    job.request_cancel()

    def _cancel_ids(self) -> set[str]:
        return {id for job in self.sampler.jobs() for id in job.cancel_ids}

    def _until_next(self) -> float | None:
        times = [due for due in (self.sampler.due, self._cancels.due, self.outbox.due) if due is not None]
        return max(min(times) - self._clock(), 0) if times else None

    # Messages; called in the thread.

    def register(self, cancel_ids: tuple[str, ...], token: str, reference: ref[Job]) -> None:
        """Sample a job from now on, unless it has ended since."""
        job = reference()
        if job is not None and not job.has_ended:
            self._take_up(cancel_ids, token, reference, is_doubtful=False)

    def _take_up(self, cancel_ids: tuple[str, ...], token: str, job: ref[Job], *, is_doubtful: bool) -> None:
        self.sampler.register(token, job, self._began)
        self._cancels.opened(cancel_ids, first=len(self.sampler) == 1, at_once=is_doubtful)

    def end(self, write: Write, since: float, stored: Event) -> None:
        """Store the last record of a job; set `stored` at once while the backend is down."""
        self._remove(write)
        if self.outbox.down:
            self.outbox.put(write, since)
            stored.set()
        else:
            self.outbox.put(write, since, stored)
            self._urgent = True

    def _remove(self, write: Write) -> None:
        if write.token is not None and write.token in self.sampler:
            self.sampler.remove(write.token)
            self._cancels.ended()

    def end_here(self, write: Write, since: float, seconds: float) -> bool:
        """
        Store the last record of a job in the calling thread, or find out in that time that the backend is down.

        Returns False where that cannot be: the thread of the rounds is at work, or has records to store before.
        """
        direct = self._begin_direct(write, since, WAKE_SECONDS)
        if direct is None:
            return False
        try:
            direct.send(seconds)  # without the lock: neither the rounds nor the ends of other jobs wait for it
        finally:
            self._end_direct(direct, WAKE_SECONDS)
        return direct.is_over

    async def aend_here(self, write: Write, since: float, seconds: float) -> bool:
        """Do so without blocking the running event loop; if it is cancelled, the thread of the rounds stores it."""
        direct = self._begin_direct(write, since, 0)
        if direct is None:
            return False
        try:
            await direct.asend(seconds)
        finally:
            if direct.receipt is None:
                self.inbox.put(lambda: self.outbox.end_direct(direct))  # it notifies observers
            else:
                self._end_direct(direct, 0)
        return direct.is_over

    def _begin_direct(self, write: Write, since: float, seconds: float) -> DirectWrite | None:
        if not self._lock.acquire(timeout=seconds):
            return None
        try:
            self._remove(write)
            return self.outbox.begin_direct(write, since)
        finally:
            self._lock.release()

    def _end_direct(self, direct: DirectWrite, seconds: float) -> None:
        if not self._lock.acquire(timeout=seconds):
            self.inbox.put(lambda: self.outbox.end_direct(direct))
            return
        try:
            self.outbox.end_direct(direct)
        finally:
            if len(self.outbox):
                self.wake()  # it was not stored, and is tried again
            self._lock.release()

    def override(self, write: Write, made: float, stored: Event) -> None:
        """Store an external update for which a caller waits."""
        self.outbox.put(write, made, stored)
        self.outbox.retry_now()  # also where the last attempt has failed
        self._urgent = True

    def flush(self, flush: Flush) -> None:
        """Begin a flush in this round."""
        self._flushes.append(flush)
        self.outbox.retry_now()
        self._urgent = True

    def cancel_all(self) -> None:
        """End all live jobs as cancelled: the process ends."""
        for job in self.jobs():
            job.abandon()


def _do_nothing() -> None:
    """Wake the thread, no more."""
