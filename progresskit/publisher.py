"""Publishes the jobs of this process: the calls for all threads, and the thread that does the work."""

from __future__ import annotations

import atexit
import sys
from contextlib import suppress
from enum import Enum
from threading import Event, Lock, current_thread
from typing import TYPE_CHECKING

from . import background, exits, forks
from .backoff import LONGEST_SECONDS
from .errors import BackendError, BackendUnavailable, FlushTimeout
from .job import do_nothing
from .outbox import Flush, key_of
from .rounds import Rounds

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable
    from logging import Logger
    from threading import Thread

    from .abc import Backend
    from .config import Settings
    from .job import Job
    from .observer_list import AttachedObserver
    from .progress import State, Write

GRACE_SECONDS = 0.75
"""The most that is added to a lease: the last heartbeat may be a moment old when a worker dies."""


class Phase(Enum):
    """The life of the publisher's thread."""

    IDLE = "idle"
    """No thread was started."""

    RUNNING = "running"

    CLOSED = "closed"
    """The kit was closed, and the thread with it."""

    FINISHING = "finishing"
    """A thread was started after that, for the end of a job that lived on. It ends when all work is done."""


class PublisherThread:
    """Runs the rounds, from the first job until the kit is closed. `exit` ends the publisher at the process' exit."""

    def __init__(self, rounds: Rounds, exit: Callable[[], None], exit_and_close: Callable[[], None]) -> None:
        self._rounds, self._exit, self._exit_and_close = rounds, exit, exit_and_close
        self._phase = Phase.IDLE
        self._thread: Thread | None = None  # the last one that was started: the backend may hold it still
        self._stop = Event()
        self._lock = Lock()

    @property
    def is_running(self) -> bool:
        """True while there is a thread that does the rounds."""
        return self._phase in (Phase.RUNNING, Phase.FINISHING)

    @property
    def is_current(self) -> bool:
        """True in the thread itself."""
        return current_thread() is self._thread

    def start(self) -> None:
        """Start the thread unless it runs; without effect where no thread can be started."""
        if self._phase is Phase.RUNNING:
            return
        if sys.is_finalizing():
            return  # no record is published any more, and a thread that has been stopped may hold the lock
        with self._lock:
            if not self.is_running:
                self._start()

    def _start(self) -> None:
        self._register_exit()
        self._stop = Event()
        arguments = (self._stop, self._thread)
        try:
            self._thread = background.start(self._run, "progresskit-publisher", self._exit_and_close, arguments)
        except RuntimeError as error:
            _log().debug("No publisher thread: records are stored at the end of each job (%s)", error)
        else:
            self._phase = Phase.RUNNING if self._phase is Phase.IDLE else Phase.FINISHING

    def _register_exit(self) -> None:
        atexit.unregister(self._exit)
        atexit.register(self._exit)
        exits.at_exit_of_child(self._exit, priority=0)

    def step_here(self, seconds: float) -> None:
        """Do one round in the calling thread if none runs; wait `seconds` at most for another caller's round."""
        if self._lock.acquire(timeout=seconds):
            try:
                if not self.is_running:
                    self._rounds.step()
            finally:
                self._lock.release()

    def close(self, seconds: float) -> None:
        """Stop the thread; wait at most `seconds` for its end."""
        thread, stop = self._thread, self._stop
        self._rounds.post(stop.set, urgent=True)
        if thread is not None:
            thread.join(seconds)
        self._phase = Phase.CLOSED
        self._rounds.sampler.clear()
        if (thread is None or not thread.is_alive()) and self._rounds.has_messages:
            self.start()  # a job that ended after the last round has started no thread: one was running

    def _run(self, stop: Event, before: Thread | None) -> None:
        if before is not None:
            before.join()  # the backend may have held it for longer than `close` waited
        wait: float | None = None
        while not stop.is_set() and not self._is_finished(wait):
            try:
                self._rounds.wait(wait)
                wait = self._rounds.step()
            except BaseException:
                # No known error arrives here. In any case, the jobs must not lose their publisher.
                _log().exception("Unexpected error in the publisher thread; it continues")
                wait = LONGEST_SECONDS
        self._rounds.close()

    def _is_finished(self, wait: float | None) -> bool:
        if self._phase is not Phase.FINISHING or wait is not None:
            return False
        with self._lock:
            finished = self._rounds.is_idle
            if finished:
                self._phase = Phase.CLOSED
        return finished


class Publisher:
    """
    Publishes the jobs of this process and external updates of others; may be called in any thread.

    It also holds the values that a job needs of its kit: clocks, lease, strictness, the `observers` of all jobs, and
    `control_exceptions`, which map exceptions of a queue to the states of jobs that they end.
    """

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        clock: Callable[[], float],
        wall: Callable[[], float],
        control_exceptions: dict[type[BaseException], State] | None = None,
        *,
        threaded: bool = True,
        observers: tuple[AttachedObserver, ...] = (),
    ) -> None:
        self.observers = observers
        self.clock, self.wall = clock, wall
        # Without the grace, a worker whose last heartbeat is a moment old when it dies would look silent too early.
        self.lease = settings.lease + min(settings.heartbeat_seconds, GRACE_SECONDS)
        self.ttl, self.strict = settings.ttl, settings.strict
        self.control_exceptions = {} if control_exceptions is None else control_exceptions
        self._generation = 0
        self._backend, self._settings, self._threaded = backend, settings, threaded
        self._begin()

    def _begin(self) -> None:
        self._rounds = Rounds(self._backend, self._settings, self.clock)
        self._thread = PublisherThread(self._rounds, self._exit, self._exit_and_close)

    def after_fork_in_child(self) -> None:
        """Start again; the jobs there were belong to the process that this one was forked from."""
        self._generation += 1
        for job in self._rounds.sampler.jobs():
            job.detach()
        self._begin()

    @property
    def generation(self) -> int:
        """How many forks there were: a job of another generation is the parent's."""
        forks.notice()
        return self._generation

    @property
    def has_jobs(self) -> bool:
        """True while a job is live in this process."""
        return len(self._rounds.sampler) > 0

    @property
    def has_work(self) -> bool:
        """True while a job is live or a record is not stored."""
        return self._thread.is_running or self.has_jobs or not self._rounds.is_idle

    @property
    def down(self) -> bool:
        """True while no record can be stored; a backend that only refuses a record is not down."""
        return self._rounds.outbox.down

    @property
    def lost(self) -> int:
        """How many records were given up in this process."""
        return self._rounds.outbox.lost

    def step(self) -> float | None:
        """Do one round in the calling thread, for kits without threads; return the seconds until the next one."""
        return self._rounds.step()

    # Jobs.

    def register(self, job: Job, *, is_queued: bool = False) -> None:
        """Publish the job from now on; a queue's task from one interval after it began, or only its end."""
        self._rounds.register(job, lazily=is_queued)
        self._start()

    def wake(self) -> None:
        """Sample the jobs soon."""
        self._rounds.wake()

    def call_later(self, act: Callable[[], None]) -> None:
        """Call `act` in the publisher's thread; safe in a finalizer."""
        self._rounds.post(act)

    def end(self, job: Job, write: Write, *, wait: bool) -> None:
        """Publish the last record of a job, and `wait` until it is stored or waiting is no use: the backend is down."""
        if wait:
            self._deliver(write, job.began)
        else:
            self._rounds.post(lambda: self._rounds.end(write, job.began, do_nothing))

    async def aend(self, job: Job, write: Write) -> None:
        """Publish it, and wait without blocking the running event loop."""
        from asyncio import get_running_loop, wait

        loop = get_running_loop()
        stored = loop.create_future()

        def finish() -> None:
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(_set, stored)

        self._post(lambda: self._rounds.end(write, job.began, finish), urgent=True)
        if not self._thread.is_running:
            self._step_here()
        elif not self.down:
            await wait([stored], timeout=self._settings.flush_seconds)

    def _deliver(self, write: Write, since: float) -> None:
        stored = Event()
        self._post(lambda: self._rounds.end(write, since, stored.set), urgent=True)
        if not self.down:
            self._wait_for(stored)

    # External updates.

    def submit(self, build: Callable[[], Write], *, at_once: bool) -> None:
        """Publish the external update that `build` returns in the publisher's thread, within an interval."""
        now, rounds = self.clock(), self._rounds
        post = rounds.post if at_once else rounds.post_lazily
        post(lambda: rounds.outbox.put(build(), now))  # built there, where many in a row take less time
        self._start()

    def declare(self, write: Write) -> None:
        """Publish how many parts a job has, and wait as for the end of a job."""
        self._deliver(write, self.clock())

    def override(self, write: Write) -> None:
        """
        Publish the end of a job that was decided on outside of its worker, and wait until it is stored.

        Raises BackendUnavailable if that takes over `flush_seconds` or fails, though it is sent again, and BackendError
        if the backend refuses it.
        """
        key, stored = key_of(write), self.store(write, self.clock())
        if self._threaded and (key in self._rounds.outbox or not stored):
            raise BackendUnavailable(f"the end of job {write.id} is not stored yet; it is sent again")

    def store(self, write: Write, since: float) -> bool:
        """
        Publish a record that was made outside of this process, and wait for it as `override` does.

        `since` is when its run began. Returns whether waiting for it is over: it is stored, or is sent again. Raises
        BackendError if the backend refuses it.
        """
        stored = Event()
        self._post(lambda: self._rounds.override(write, since, stored.set), urgent=True)
        self._wait_for(stored)
        if refusal := self._rounds.outbox.refusal(key_of(write)):
            raise BackendError(refusal)
        return stored.is_set()

    def forget(self, id: str) -> None:
        """Discard the records of ended runs of a job that was forgotten."""
        self._rounds.post(lambda: self._rounds.outbox.forget(id))

    # Flushes, and the end.

    def flush(self, timeout: float | None) -> None:
        """
        Return when all that was reported until now is stored.

        Raises FlushTimeout if that takes over `timeout` seconds, and BackendError if a part of it is not stored because
        the backend refuses it or was down for too long; the next flush does not raise for that again.
        """
        if not (self._thread.is_running or self._rounds.has_messages or (self._threaded and self.has_jobs)):
            return
        if sys.is_finalizing():
            raise FlushTimeout("nothing is stored any more while the interpreter ends")
        flush = self._begin_flush()
        if not flush.finished.wait(timeout):
            raise FlushTimeout(f"what was reported is not stored after {timeout} seconds")
        if flush.refused:
            self._rounds.post(lambda: self._rounds.outbox.mark_reported(flush.refused))
            raise BackendError(next(iter(flush.refused.values())))

    def settle(self) -> bool:
        """
        Store all reports made until now; return False at once where there is no work.

        Waits for `flush_seconds` at most. The next flush raises for reports that are not stored.
        """
        if not (self._threaded and self.has_work) or self._thread.is_current or sys.is_finalizing():
            return False
        self._begin_flush().finished.wait(self._settings.flush_seconds)
        return True

    def _begin_flush(self) -> Flush:
        flush = Flush()
        self._post(lambda: self._rounds.flush(flush), urgent=True)
        if not self._thread.is_running:
            self._step_here()
        return flush

    def close(self) -> None:
        """
        Write all records, for at most `flush_seconds`, and end the thread.

        A job that lives on is not published any more, but its end still is.
        """
        atexit.unregister(self._exit)
        if sys.is_finalizing():
            return
        if self._thread.is_running:
            self._try_flush()
            self._thread.close(self._settings.flush_seconds)
        else:
            if not self._rounds.is_idle:
                self._step_here()
            self._rounds.close()

    def _exit(self) -> None:
        forks.notice()
        if not (self._thread.is_running or self._rounds.has_messages or self.has_jobs):
            return  # such as in a forked child that made no report: no thread is started to find that out
        # A job that is live at the end of the process has no worker any more.
        self._rounds.post(self._rounds.cancel_all)
        self._try_flush()

    def _exit_and_close(self) -> None:
        self._exit()
        self.close()

    def _try_flush(self) -> None:
        try:
            self.flush(self._settings.flush_seconds)
        except (FlushTimeout, BackendError):
            unsent = len(self._rounds.outbox)
            if unsent:
                _log().error("%d records could not be stored before the end", unsent)

    # The thread.

    def _post(self, message: Callable[[], None], *, urgent: bool) -> None:
        self._rounds.post(message, urgent=urgent)  # first, so that a thread that is about to finish sees it
        self._start()

    def _start(self) -> None:
        if self._threaded:
            self._thread.start()

    def _step_here(self) -> None:
        if self._threaded:
            self._thread.step_here(self._settings.flush_seconds)

    def _wait_for(self, stored: Event) -> None:
        if self._threaded and not sys.is_finalizing():
            if self._thread.is_running:
                stored.wait(self._settings.flush_seconds)
            else:
                self._step_here()


def _set(stored: Future[None]) -> None:
    if not stored.done():
        stored.set_result(None)


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
