"""Publishes the jobs of this process: the calls for all threads, and the thread that does the work."""

from __future__ import annotations

import atexit
import sys
from enum import Enum
from threading import Event, Lock, current_thread
from typing import TYPE_CHECKING
from weakref import ref

from . import background, exits, forks
from .abc import SupportsAsyncWrite, SupportsTimedWrite
from .backoff import LONGEST_SECONDS
from .errors import BackendError, BackendUnavailable, FlushTimeout
from .job import do_nothing
from .outbox import Flush, key_of
from .progress import prepare_template
from .rounds import Rounds

if TYPE_CHECKING:
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


LEAST_SECONDS = 0.5
"""The shortest `flush_seconds` with which a thread stores the end of its job itself: that is no outage yet."""


class Phase(Enum):
    """The life of the publisher's thread."""

    IDLE = "idle"
    """No thread was started."""

    EXPECTED = "expected"
    """A timer will start one in a moment: the job may have ended by then, and the process with it."""

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

    @property
    def is_to_come(self) -> bool:
        """True until the first thread is started, or the kit is closed."""
        return self._phase in (Phase.IDLE, Phase.EXPECTED)

    def start(self) -> None:
        """Start the thread unless it runs; without effect where no thread can be started."""
        if self._phase is Phase.RUNNING:
            return
        if sys.is_finalizing():
            return  # no record is published any more, and a thread that has been stopped may hold the lock
        with self._lock:
            if not self.is_running:
                self._start()

    def start_later(self, seconds: float) -> None:
        """Start the thread once that time has passed, with a round, unless it runs already: then do a round soon."""
        if sys.is_finalizing():
            return
        with self._lock:
            if self._phase is Phase.IDLE:
                self._expect(seconds)
            elif self._phase is not Phase.EXPECTED:
                self._rounds.wake()

    def _expect(self, seconds: float) -> None:
        self._register_exit()
        try:
            background.call_later(self._begin_expected, seconds)
        except RuntimeError as error:
            _log().debug("No timer: records are stored at the end of each job (%s)", error)
        else:
            self._phase = Phase.EXPECTED

    def _begin_expected(self) -> None:
        if self._phase is not Phase.CLOSED:
            self._rounds.wake()  # a thread that was started meanwhile relies on this round
            self.start()

    def _start(self) -> None:
        self._register_exit()
        self._stop = Event()
        arguments = (self._stop, self._thread)
        try:
            self._thread = background.start(self._run, "progresskit-publisher", self._exit_and_close, arguments)
        except RuntimeError as error:
            _log().debug("No publisher thread: records are stored at the end of each job (%s)", error)
        else:
            self._phase = Phase.RUNNING if self.is_to_come else Phase.FINISHING

    def _register_exit(self) -> None:
        atexit.unregister(self._exit)
        atexit.register(self._exit)
        exits.at_exit_of_child(self._exit, priority=0)

    def cancel_start(self) -> None:
        """Start no thread after all, until something else asks for one."""
        with self._lock:
            if self._phase is Phase.EXPECTED:
                self._phase = Phase.CLOSED

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
        self._rounds.inbox.put(lambda: self._rounds.stop(stop))
        if thread is not None:
            thread.join(seconds)
        self._phase = Phase.CLOSED
        self._rounds.drop_jobs()
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
        self._spare: tuple[Rounds, PublisherThread] | None = None
        self._backend, self._settings, self._threaded = backend, settings, threaded
        can_write = isinstance(backend, SupportsTimedWrite) and settings.flush_seconds >= LEAST_SECONDS
        self._writes_here = threaded and can_write
        self._awaits_here = self._writes_here and isinstance(backend, SupportsAsyncWrite)
        self._reset()

    def _reset(self) -> None:
        (self._rounds, self._thread), self._spare = self._spare or self._new_rounds(), None
        self._inbox = self._rounds.inbox

    def _new_rounds(self) -> tuple[Rounds, PublisherThread]:
        rounds = Rounds(self._backend, self._settings, self.clock)
        return rounds, PublisherThread(rounds, self._exit, self._exit_and_close)

    def prepare_to_fork(self) -> None:
        """Make the needs of each forked child now, once: no other thread has touched it at the fork."""
        prepare_template(self.lease)
        if self._spare is None:
            self._spare = self._new_rounds()

    def after_fork_in_child(self) -> None:
        """Start again; the jobs there were belong to the process that this one was forked from."""
        self._generation += 1
        for job in self._rounds.jobs():
            job.detach()
        self._reset()

    @property
    def generation(self) -> int:
        """How many forks there were: a job of another generation is the parent's."""
        forks.notice()
        return self._generation

    @property
    def has_jobs(self) -> bool:
        """True while a job is live in this process."""
        return self._rounds.has_jobs

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

    def register(self, job: Job, *, deferred: bool = False) -> None:
        """
        Publish the job from now on; if it is `deferred`, from one interval after it began, or only its end.

        In a forked child a deferred job needs `start_timer` too.
        """
        if deferred:
            self._defer(job.began, lambda: self._rounds.deferred.add_job(job))
        else:
            ids, token, weak = job.cancel_ids, job.token, ref(job)
            self._post(lambda: self._rounds.register(ids, token, weak))

    def start_timer(self) -> None:
        """
        Have deferred jobs published in a forked child too, one interval from now.

        It takes a thread, beside which all that the child does with the memory of its parent takes longer: to be called
        when a task's own code begins.
        """
        if self._starts_late:
            self._thread.start_later(self._settings.interval)

    def wake(self) -> None:
        """Sample the jobs soon."""
        self._rounds.wake()

    def call_later(self, act: Callable[[], None]) -> None:
        """Call `act` in the publisher's thread; safe in a finalizer."""
        self._inbox.put(act)

    def end(self, job: Job, write: Write, *, here: bool) -> Callable[[], None]:
        """
        Publish the last record of a job; if it may be done `here`, in the calling thread, where the backend can.

        Returns a function that waits until it is stored, or until waiting is no use because the backend is down.
        """
        may_write = here and self._writes_here and not sys.is_finalizing()
        if may_write and self._rounds.end_here(write, job.began, self._settings.flush_seconds):
            if self.down:
                self._start()  # the thread that sends the record again may have ended with the kit
            return do_nothing
        return self._deliver(write, job.began)

    async def aend(self, job: Job, write: Write) -> bool:
        """Do so in the running event loop, which is not blocked; return False where `end` has to do it."""
        if not self._awaits_here or sys.is_finalizing():
            return False
        try:
            return await self._rounds.aend_here(write, job.began, self._settings.flush_seconds)
        finally:
            self._start()  # the thread stores the record if that failed, or was cancelled

    def _deliver(self, write: Write, since: float) -> Callable[[], None]:
        stored = Event()
        self._inbox.put(lambda: self._rounds.end(write, since, stored))

        def wait() -> None:
            self._start()
            if not self.down:
                self._wait_for(stored)

        return wait

    # External updates.

    def submit(self, build: Callable[[], Write], *, at_once: bool) -> None:
        """Publish the external update that `build` returns in the publisher's thread, within an interval."""
        now = self.clock()
        self._defer(now, lambda: self._rounds.deferred.add_update(build, now, at_once=at_once), at_once=at_once)
        if not at_once:
            self.start_timer()

    def declare(self, write: Write) -> None:
        """Publish how many parts a job has, and wait as for the end of a job."""
        self._deliver(write, self.clock())()

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
        self._post(lambda: self._rounds.override(write, since, stored))
        self._wait_for(stored)
        if refusal := self._rounds.outbox.refusal(key_of(write)):
            raise BackendError(refusal)
        return stored.is_set()

    def forget(self, id: str) -> None:
        """Discard the records of ended runs of a job that was forgotten."""
        self._inbox.put(lambda: self._rounds.outbox.forget(id))

    def _defer(self, now: float, add: Callable[[], None], *, at_once: bool = False) -> None:
        """
        Have the added job or update taken up within an interval.

        A forked child starts no thread here, unless `at_once`: many are for one short task.
        """
        if self._starts_late and not at_once:
            self._rounds.deferred.expect_round(now + self._settings.interval)
            add()
        else:
            add()
            self._start()

    @property
    def _starts_late(self) -> bool:
        """True in a forked child that has started no thread yet."""
        return self._threaded and self._thread.is_to_come and forks.is_child()

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
            self._inbox.put(lambda: self._rounds.outbox.mark_reported(flush.refused))
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
        self._post(lambda: self._rounds.flush(flush))
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
        if self._thread.is_to_come and self._rounds.has_messages:
            self._start()
        if self._thread.is_running:
            self._try_flush()
            self._thread.close(self._settings.flush_seconds)
        else:
            if not self._rounds.is_idle:
                self._step_here()
            self._thread.cancel_start()
            self._rounds.close()

    def _exit(self) -> None:
        forks.notice()
        if not (self._thread.is_running or self._rounds.has_messages or self.has_jobs):
            return  # such as in a forked child that made no report: no thread is started to find that out
        # A job that is live at the end of the process has no worker any more.
        self._inbox.put(self._rounds.cancel_all)
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

    def _post(self, message: Callable[[], None]) -> None:
        self._inbox.put(message)  # first, so that a thread that is about to finish sees it
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


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
