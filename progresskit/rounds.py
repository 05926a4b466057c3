"""
What the publisher's thread does: rounds, one after another, and the messages that come in between.

The thread owns everything here. Other threads hand functions to it: a finalizer may do so at any moment, even while the
thread itself takes one out. To wake the thread costs a task that does nothing, or the call that sends one, more than
all else the kit does for it. So what may wait for an interval wakes it after a quiet time only: a round in which there
was something is followed by another one an interval later. A round decides by the injected clock only.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from math import inf
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from .cancels import Cancels
from .outbox import Outbox
from .sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from .abc import Backend
    from .config import Settings
    from .job import Job
    from .outbox import Flush
    from .progress import Write

    Message = Callable[[], None]

WAKE_SECONDS = 0.01
"""The shortest time between two rounds that a change, and not the end of a job, asked for."""


class Rounds:
    """Samples the live jobs, writes changed ones, and asks for requests to cancel."""

    def __init__(self, backend: Backend, settings: Settings, clock: Callable[[], float]) -> None:
        self._clock, self._interval = clock, settings.interval
        self._messages: deque[Message] = deque()
        self._wakeups: SimpleQueue[bool] = SimpleQueue()  # True where a caller waits for the round
        self._next_round = inf  # when the thread does a round by itself; minus infinity while it is awake
        self._lingers = False
        self.sampler = Sampler(settings.interval, settings.heartbeat_seconds)
        self.outbox = Outbox(backend, clock, self.sampler)
        self._cancels = Cancels(backend, clock, self.post, settings.heartbeat_seconds)
        self._flushes: list[Flush] = []  # these begin once all changes have been sampled
        self._began = clock()

    # In any thread, and in finalizers.

    def post(self, message: Message, *, urgent: bool = False) -> None:
        """Call the message in a round that is done soon; at once if it is `urgent`, for a caller who waits."""
        self._messages.append(message)
        self._wakeups.put(urgent)

    def post_lazily(self, message: Message) -> None:
        """Call the message in a round that is done within an interval."""
        self._messages.append(message)
        self._linger()

    def _linger(self) -> None:
        self._lingers = True
        # `_until_next` looks again after it has set the time of the next round, so that one of the two sees the other.
        if self._next_round > self._clock() + self._interval:
            self._next_round = -inf  # others need not wake the thread too
            self.wake()

    def wake(self) -> None:
        """Have the thread do a round soon."""
        self._wakeups.put(False)

    @property
    def is_idle(self) -> bool:
        """True while there is neither a message nor a record."""
        return not (self._messages or len(self.outbox))

    @property
    def has_messages(self) -> bool:
        """True while something waits for a round."""
        return bool(self._messages)

    def register(self, job: Job, *, lazily: bool) -> None:
        """Sample a job from the next round on, or `lazily` from one interval after it began."""
        if lazily:
            self.sampler.register(job, job.began + self._interval)
            self._linger()
        else:
            self.sampler.register(job, job.began)
            self.wake()

    # In the thread.

    def wait(self, timeout: float | None) -> None:
        """Wait to be woken, and a moment longer so that many share a round, unless a caller waits for the round."""
        earliest = self._clock() + WAKE_SECONDS if timeout is None else self._began + WAKE_SECONDS
        with suppress(Empty):
            is_urgent = self._wakeups.get(timeout=timeout)
            while not is_urgent and (left := earliest - self._clock()) > 0:
                is_urgent = self._wakeups.get(timeout=left)

    def step(self) -> float | None:
        """Do one round; return the seconds until the next one, None if only a message can make it necessary."""
        self._next_round = -inf
        lingers, self._lingers = self._lingers, False
        now = self._began = self._clock()
        self._take_messages()
        self._sample(now)
        self.outbox.write(now)
        self._look_for_cancels()
        return self._until_next(lingers)

    def _take_messages(self) -> None:
        with suppress(Empty):
            while True:
                self._wakeups.get_nowait()  # first, so that the thread is woken by messages that come behind
        while self._messages:
            self._messages.popleft()()

    def _sample(self, now: float) -> None:
        if self.sampler.remove_dropped():
            self._cancels.ended()
        is_flush = bool(self._flushes)
        for job, has_waited in self.sampler.take_new(now, all_jobs=is_flush):
            self._cancels.opened(job.cancel_ids, first=len(self.sampler) == 1, at_once=has_waited)
        for write, since in self.sampler.sample(now, all_changes=is_flush):
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

    def _until_next(self, lingers: bool) -> float | None:
        now = self._clock()
        self._next_round = self._due(now, lingers)  # from now on the thread is woken
        self._next_round = due = self._due(now, lingers)  # a job that came in before has not woken it
        return None if due == inf else max(due - now, 0)

    def _due(self, now: float, lingers: bool) -> float:
        times = [due for due in (self.sampler.due, self._cancels.due, self.outbox.due) if due is not None]
        if lingers or self._lingers:
            times.append(now + self._interval)
        return min(times, default=inf)

    def close(self) -> None:
        """Stop listening for requests to cancel; another thread may go on."""
        self._next_round = inf
        self._cancels.close()

    # Messages.

    def end(self, write: Write, since: float, finish: Callable[[], None]) -> None:
        """Store the last record of a job, and call `finish` then; at once while the backend is down."""
        if write.token is not None and write.token in self.sampler:
            self.sampler.remove(write.token)
            self._cancels.ended()
        if self.outbox.down:
            self.outbox.put(write, since)
            finish()
        else:
            self.outbox.put(write, since, finish)

    def override(self, write: Write, made: float, finish: Callable[[], None]) -> None:
        """Store an external update for which a caller waits."""
        self.outbox.put(write, made, finish)
        self.outbox.retry_now()  # also where the last attempt has failed

    def flush(self, flush: Flush) -> None:
        """Begin a flush in this round."""
        self._flushes.append(flush)
        self.outbox.retry_now()

    def cancel_all(self) -> None:
        """End all live jobs as cancelled: the process ends."""
        for job in self.sampler.jobs():
            job.abandon()
