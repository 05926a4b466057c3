"""
Writes for all jobs of the process together, in a thread of its own.

The thread owns everything here but what is handed to it through `_inbox`, so there is no lock; the inbox is a
SimpleQueue because a finalizer may put into it at any moment, even while the thread itself is taking something out.
`step` is one round of the thread and decides by the injected clock only.
"""

from __future__ import annotations

import atexit
import sys
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import TYPE_CHECKING, NamedTuple
from weakref import ref

from . import background, forks
from .cancels import Cancels
from .errors import BackendError, BackendUnavailable, FlushTimeout
from .progress import FINAL_STATES, Role, State
from .takeovers import Takeovers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from logging import Logger
    from threading import Thread

    from .abc import Backend
    from .config import Settings
    from .observer import ProgressObserver
    from .progress import Write

    Key = tuple[str, str | None]

WAKE_SECONDS = 0.01
"""The shortest time between two rounds that news, and not the end of a job, asked for."""

GRACE_SECONDS = 0.75
"""A worker counts as silent after its lease and so much of a heartbeat."""

BATCH = 500
RETRY_SECONDS = (0.1, 2.0)
"""The wait after a first failure, and the longest; it doubles from one to the other, and half of it is chance."""

UNSENT = 10_000
"""How many records of jobs that have ended are kept for a backend that is down."""

RECENT_SECONDS = 30.0
RECENT = 1_000
"""The final records of this many seconds, at most so many, are sent again to a backend that came back."""

REFUSED = 1_000
"""Of so many jobs at most is kept, for the next flush to tell, that their last record is not stored."""


class _Waiting(NamedTuple):
    """A record to be written, and when its run began, or it was made if it is a word, by the publisher's clock."""

    write: Write
    since: float


class _Live:
    """A job that is published, and when what was last done for it."""

    __slots__ = ("allowed", "failed", "job", "sent")

    def __init__(self, job: ref[ProgressObserver], now: float) -> None:
        self.job = job
        self.allowed = now  # not sampled before, so that a wake-up makes no extra record of a busy job
        self.sent = now
        self.failed = False


class _Flush:
    """Somebody who waits until some records are stored."""

    __slots__ = ("keys", "over", "refused")

    def __init__(self) -> None:
        self.over = Event()
        self.keys: set[Key] = set()
        self.refused: dict[Key, str] = {}


class Publisher:
    """Samples the live jobs, writes what has changed, and asks for cancels."""

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        clock: Callable[[], float],
        wall: Callable[[], float],
        verdicts: dict[type[BaseException], State] | None = None,
        *,
        threaded: bool = True,
    ) -> None:
        self.clock, self.wall = clock, wall
        # The last heartbeat may be a moment old when a worker dies: without the grace, it would look silent too early.
        self.lease = settings.lease + min(settings.heartbeat_seconds, GRACE_SECONDS)
        self.ttl, self.strict = settings.ttl, settings.strict
        self.verdicts = {} if verdicts is None else verdicts
        self.down = False
        """True while nothing can be written; a backend that only refuses a record is not down."""
        self.lost = 0
        """How many records were given up."""
        self._complained = False
        self._generation = 0
        self._backend, self._settings, self._threaded = backend, settings, threaded
        self._begin()

    def _begin(self) -> None:
        self._thread: Thread | None = None
        self._last: Thread | None = None  # that was begun, and may be held by the backend still
        self._thread_lock = Lock()
        self._stop = Event()
        self._closed = False
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._live: dict[str, _Live] = {}
        self._outbox: dict[Key, _Waiting] = {}
        self._delayed: set[Key] = set()  # who has records there that an outage held back, or may have let through
        self._stored: dict[Key, list[Event]] = {}
        self._flushes: list[_Flush] = []
        self._refused: dict[Key, str] = {}
        self._recent: list[tuple[float, _Waiting]] = []
        self._failures = 0
        self._urgent = self._everything = False
        self._rounded = self._tick = self._retry = self.clock()
        self._takeovers = Takeovers(self._backend, self.clock, self._settings.heartbeat_seconds)
        self._cancels = Cancels(self._backend, self.clock, self._inbox.put, self._settings.heartbeat_seconds)
        self.down = False

    @property
    def has_jobs(self) -> bool:
        """True while a job is live in this process."""
        return bool(self._live)

    def _jobs(self) -> list[ProgressObserver]:
        """Return the live jobs that have not been dropped."""
        return [job for live in list(self._live.values()) if (job := live.job()) is not None]

    def forked(self) -> None:
        """Begin anew; the jobs there were belong to the process that this one was forked from."""
        self._generation += 1
        for job in self._jobs():
            job.forsake()
        self._begin()

    @property
    def generation(self) -> int:
        """How many forks there were: a job of another generation is the parent's."""
        forks.notice()
        return self._generation

    # What other threads call.

    def opened(self, job: ProgressObserver, unless: Callable[[], bool] | None = None) -> None:
        """Publish the job from now on; or its end only, if `unless`, called in the publisher's thread, tells so."""
        self._start()
        id, token, weak = job.id, job.token, ref(job)
        self._inbox.put(lambda: self._add(id, token, weak, unless))

    def word(self, write: Write) -> None:
        """Publish what somebody else than the worker says of a job."""
        self._start()
        made = self.clock()
        self._inbox.put(lambda: self._enqueue(write, made))

    def forget(self, id: str) -> None:
        """Send nothing more of the runs of a job that have ended: it was forgotten."""
        self._inbox.put(lambda: self._forget(id))

    def wake(self) -> None:
        """Look at the jobs soon."""
        self._inbox.put(_nothing)

    def later(self, act: Callable[[], None]) -> None:
        """Call `act` in the thread; safe in a finalizer."""
        self._inbox.put(act)

    def ended(self, job: ProgressObserver, write: Write) -> Callable[[], None]:
        """Publish the last record of a job; call what is returned to wait until it is stored, or waiting is no use."""
        stored, began = Event(), job.began
        self._inbox.put(lambda: self._end(write, began, stored))

        def wait() -> None:
            self._start()
            if not self.down:
                self._await(stored)

        return wait

    def override(self, write: Write) -> None:
        """
        Publish the end of a job that was decided on outside of its worker, and wait until it is stored.

        Raises BackendUnavailable if that takes over `flush_seconds` or fails, though it is sent again, and BackendError
        if the backend refuses it.
        """
        self._start()
        stored, key, made = Event(), _key(write), self.clock()
        self._inbox.put(lambda: self._override(write, made, stored))
        self._await(stored)
        if refusal := self._refused.get(key):
            raise BackendError(refusal)
        if self._threaded and (key in self._outbox or not stored.is_set()):
            raise BackendUnavailable(f"the end of job {write.id} is not stored yet; it is sent again")

    def _await(self, stored: Event) -> None:
        if self._threaded and not sys.is_finalizing():
            if self._thread is None:
                self._step_here()
            else:
                stored.wait(self._settings.flush_seconds)

    def flush(self, timeout: float | None) -> None:
        """
        Return when all that was reported until now is stored.

        Raises FlushTimeout if that takes over `timeout` seconds, and BackendError if a part of it is not stored because
        the backend refuses it or was down for too long; the next flush does not raise for that again.
        """
        if self._thread is None and self._inbox.empty() and not (self._threaded and self._live):
            return
        if sys.is_finalizing():
            raise FlushTimeout("nothing is stored any more while the interpreter ends")
        self._start()
        flush = _Flush()
        self._inbox.put(lambda: self._flush(flush))
        if self._thread is None:
            self._step_here()
        if not flush.over.wait(timeout):
            raise FlushTimeout(f"what was reported is not stored after {timeout} seconds")
        if flush.refused:
            self._inbox.put(lambda: self._forgive(flush.refused))
            raise BackendError(next(iter(flush.refused.values())))

    def close(self) -> None:
        """
        Write what there is, for at most `flush_seconds`, and end the thread.

        A job that lives on is not published any more, but its end still is.
        """
        atexit.unregister(self._exit)
        if sys.is_finalizing():
            return
        if self._thread is None:
            self._step_here()
            self._cancels.close()
            return
        self._try_flush()
        thread = self._thread
        self._inbox.put(self._stop.set)
        thread.join(self._settings.flush_seconds)
        self._thread, self._closed = None, True
        self._live.clear()
        if not thread.is_alive() and not self._inbox.empty():
            self._start()  # who ended a job since the thread last looked has not begun another: there was one

    def _exit(self) -> None:
        forks.notice()
        # Whatever is still live at the end of the process will not be worked on any more.
        self._inbox.put(self._end_all)
        self._try_flush()

    def _exit_and_stop(self) -> None:
        self._exit()
        self.close()

    def _end_all(self) -> None:
        for job in self._jobs():
            job.abandon()

    def _try_flush(self) -> None:
        try:
            self.flush(self._settings.flush_seconds)
        except (FlushTimeout, BackendError):
            if self._outbox:
                _log().error("%d records could not be stored before the end", len(self._outbox))

    # The thread.

    def _start(self) -> None:
        if not self._threaded or (self._thread is not None and not self._closed):
            return
        if sys.is_finalizing():
            return  # nothing is published any more, and a thread that has been stopped may hold the lock
        with self._thread_lock:
            if self._thread is None:
                self._register_exit()
                self._stop = Event()
                try:
                    self._thread = self._last = background.start(
                        self._run, "progresskit-publisher", self._exit_and_stop, (self._stop, self._last)
                    )
                except RuntimeError as error:
                    _log().debug("No publisher thread: records are stored at the end of each job (%s)", error)

    def _step_here(self) -> None:
        """Do one round in the calling thread, where no other can be started."""
        if self._threaded and self._thread_lock.acquire(timeout=self._settings.flush_seconds):
            try:
                if self._thread is None:
                    self.step()
            finally:
                self._thread_lock.release()

    def _register_exit(self) -> None:
        atexit.unregister(self._exit)
        atexit.register(self._exit)
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            # A process that multiprocessing has forked ends without atexit.
            from multiprocessing.util import Finalize

            Finalize(None, self._exit, exitpriority=0)

    def _run(self, stop: Event, before: Thread | None) -> None:
        if before is not None:
            before.join()  # which the backend may have held for longer than closing the kit waited
        wait: float | None = None
        while not stop.is_set() and not self._is_over(wait):
            try:
                self._wait(wait)
                wait = self.step()
            except BaseException:
                # Nothing that is known of raises here; whatever it is, the jobs must not lose their publisher by it.
                _log().exception("Publishing failed in a way that it should not; it goes on")
                wait = RETRY_SECONDS[1]
        self._cancels.close()

    def _is_over(self, wait: float | None) -> bool:
        """Tell whether the thread, begun after the kit was closed for the end of a job, has nothing more to do."""
        if not self._closed or wait is not None:
            return False
        with self._thread_lock:
            over = self._inbox.empty() and not self._outbox
            if over:
                self._thread = None
        return over

    def _wait(self, timeout: float | None) -> None:
        """Wait for a message, and a little longer, so that many make one round, unless a job waits at its end."""
        earliest = self.clock() + WAKE_SECONDS if timeout is None else self._rounded + WAKE_SECONDS
        with suppress(Empty):
            self._inbox.get(timeout=timeout)()
            while not self._urgent and (left := earliest - self.clock()) > 0:
                self._inbox.get(timeout=left)()

    def step(self) -> float | None:
        """Do one round: take what was handed over, sample, write; return the seconds until the next, None for never."""
        now = self._rounded = self.clock()
        self._drain()
        self._sample(now)
        self._write(now)
        self._look_for_cancels()
        self._takeovers.look(self._jobs, self.down)
        self._urgent = self._everything = False
        return self._until_next()

    def _until_next(self) -> float | None:
        deadlines = []
        if self._live:
            deadlines.append(self._tick)
        if self._cancels.due is not None:
            deadlines.append(self._cancels.due)
        if self._outbox:
            deadlines.append(self._retry)
        return max(min(deadlines) - self.clock(), 0) if deadlines else None

    def _drain(self) -> None:
        with suppress(Empty):
            while True:
                self._inbox.get_nowait()()

    def _add(self, id: str, token: str, job: ref[ProgressObserver], unless: Callable[[], bool] | None) -> None:
        if unless is not None and unless():
            return
        if not self._live:
            self._tick = self._rounded
        self._live[token] = _Live(job, self._rounded)
        self._cancels.opened(id, first=len(self._live) == 1)

    def _end(self, write: Write, began: float, stored: Event) -> None:
        if write.token is not None:
            self._live.pop(write.token, None)
            self._cancels.ended()
        self._enqueue(write, began)
        if self.down:
            stored.set()
        else:
            self._urgent = True
            self._stored.setdefault(_key(write), []).append(stored)

    def _override(self, write: Write, made: float, stored: Event) -> None:
        self._enqueue(write, made)
        self._stored.setdefault(_key(write), []).append(stored)
        self._urgent = True
        self._retry = self._rounded  # somebody waits, so it is tried now, also where the last attempt has failed

    def _flush(self, flush: _Flush) -> None:
        self._urgent = self._everything = True
        self._retry = self._rounded
        self._flushes.append(flush)

    def _forgive(self, told: Mapping[Key, str]) -> None:
        """Keep no longer what a flush was told of."""
        for key, why in told.items():
            if self._refused.get(key) is why:
                del self._refused[key]

    def _enqueue(self, write: Write, since: float) -> None:
        key = _key(write)
        if write.token is None:
            self._outbox.pop(key, None)  # what is said from outside keeps its place behind what was said before
        self._outbox[key] = _Waiting(write, since)
        if self.down:
            self._delayed.add(key)
        else:
            self._retry = self._rounded  # a refused record that waits keeps nothing else waiting
        if len(self._outbox) > UNSENT + len(self._live):
            oldest = next(key for key in self._outbox if key[1] not in self._live)
            self._give_up(oldest, "the backend has been down for too long")

    def _sample(self, now: float) -> None:
        interval = self._settings.interval
        scheduled = now
        if now >= self._tick:
            # A round that is late by a little keeps to the beat, so that the intervals do not add up to fewer.
            scheduled = self._tick if now - self._tick < interval else now
            self._tick = scheduled + interval
        for token, live in list(self._live.items()):
            job = live.job()
            if job is None:
                del self._live[token]
                self._cancels.ended()
                continue
            if now >= live.allowed or self._everything:
                write = self._news_of(job, live, now)
                if write is not None:
                    live.allowed, live.sent = scheduled + 0.9 * interval, now
                    self._enqueue(write, job.began)
        for flush in self._flushes:
            if not flush.keys:
                flush.keys.update(self._outbox)

    def _news_of(self, job: ProgressObserver, live: _Live, now: float) -> Write | None:
        """Return what is to be written of the job: what has changed, or a heartbeat."""
        try:
            return job.sample() or (job.again() if now - live.sent >= self._settings.heartbeat_seconds else None)
        except Exception:
            # Nothing that is known of raises here; whatever it is, the other jobs are published.
            if not live.failed:
                _log().exception("Job %s cannot be published; the others are", job.id)
            live.failed = True
            return None

    def _write(self, now: float) -> None:
        while self._outbox and now >= self._retry:
            batch = self._next_batch()
            try:
                runs = self._backend.write(self._dated(batch))
            except BackendUnavailable as error:
                self._failed(error)
            except Exception as error:
                self._delayed |= batch.keys()
                if not self._isolate(batch) and not self._put_off(batch, error):
                    self._failed(error)
            else:
                self._succeeded(batch, runs)
        for flush in self._flushes:
            if not flush.keys & self._outbox.keys():
                flush.refused = dict(self._refused)
                flush.over.set()
        self._flushes = [flush for flush in self._flushes if not flush.over.is_set()]

    def _next_batch(self) -> dict[Key, _Waiting]:
        """Return the oldest records, one a job."""
        batch: dict[Key, _Waiting] = {}
        ids = set()
        for key, waiting in self._outbox.items():
            if waiting.write.id not in ids:
                ids.add(waiting.write.id)
                batch[key] = waiting
                if len(batch) == BATCH:
                    break
        return batch

    def _dated(self, batch: Mapping[Key, _Waiting]) -> list[Write]:
        """Return the records as they are to be written now."""
        now = self.clock()
        return [
            write._replace(
                age=max(now - since, 0.0), late=write.late or (write.role is Role.START and key in self._delayed)
            )
            for key, (write, since) in batch.items()
        ]

    def _isolate(self, batch: dict[Key, _Waiting]) -> bool:
        """Write one at a time what failed together; if some can be written, give up those that cannot."""
        refused = {}
        for key, waiting in batch.items():
            one = {key: waiting}
            try:
                self._succeeded(one, self._backend.write(self._dated(one)))
            except BackendUnavailable:
                return False
            except Exception as error:
                refused[key] = error
        if len(refused) == len(batch):
            return False
        for key, refusal in refused.items():
            self._give_up(key, f"the backend refuses it: {refusal}")
        return True

    def _put_off(self, batch: Mapping[Key, _Waiting], error: Exception) -> bool:
        """
        Let a refused record wait if it is the only one and the backend answers what else it is asked.

        It is kept, for it may be that none is taken: what becomes of the next one will show.
        """
        if len(batch) > 1:
            return False
        [key] = batch
        try:
            self._backend.cancels([key[0]])
        except Exception:
            return False
        self._excuse(key, f"the backend refuses it: {error}")
        if self.down:
            self._came_back()
        else:
            self._retry = self.clock() + RETRY_SECONDS[1]
        for job in self._jobs():
            job.tell()
        return True

    def _succeeded(self, batch: Mapping[Key, _Waiting], runs: Mapping[str, int]) -> None:
        for key, (write, since) in batch.items():
            del self._outbox[key]
            self._delayed.discard(key)
            self._refused.pop(key, None)
            self._takeovers.notice(write, runs.get(write.id))
            run = runs.get(write.id) or write.run
            if write.state in FINAL_STATES:
                self._recent.append((self.clock(), _Waiting(_again(write, run), since)))
            live = self._live.get(write.token or "")
            job = live.job() if live is not None else None
            if job is not None:
                job.stored(run)
                job.tell()
            self._release(key)
        self._forget_old()
        if self.down:
            self._came_back()
            _log().info("Progress is stored again")

    def _failed(self, error: Exception) -> None:
        from random import uniform

        first, longest = RETRY_SECONDS
        delay = min(first * 2**self._failures, longest)
        self._failures = min(self._failures + 1, 16)
        self._retry = self.clock() + uniform(delay / 2, delay)
        self._delayed |= self._outbox.keys()
        if not self.down:
            self.down = True
            _log().warning("Progress cannot be stored now, jobs go on and it is tried again: %s", error)
        for key in list(self._stored):
            self._release(key)
        for job in self._jobs():
            job.tell()

    def _came_back(self) -> None:
        self.down, self._failures = False, 0
        for job in self._jobs():
            write = job.again()
            if write is not None:
                self._outbox.setdefault(_key(write), _Waiting(write, job.began))
        for key, waiting in {_key(waiting.write): waiting for _, waiting in self._recent}.items():
            self._outbox.setdefault(key, waiting)
        self._recent.clear()

    def _forget_old(self) -> None:
        oldest = self.clock() - RECENT_SECONDS
        self._recent = [(time, waiting) for time, waiting in self._recent[-RECENT:] if time >= oldest]

    def _forget(self, id: str) -> None:
        self._recent = [recent for recent in self._recent if recent[1].write.id != id]
        for key in [key for key in self._outbox if key[0] == id and key[1] not in self._live]:
            del self._outbox[key]
            self._delayed.discard(key)
            self._release(key)
            for flush in self._flushes:
                flush.keys.discard(key)

    def _give_up(self, key: Key, why: str) -> None:
        del self._outbox[key]
        self._delayed.discard(key)
        self.lost += 1
        self._excuse(key, why)

    def _excuse(self, key: Key, why: str) -> None:
        """Have nobody wait for a record any longer; a flush, be it the next, is told."""
        for flush in self._flushes:
            flush.keys.discard(key)
        if len(self._refused) < REFUSED:
            self._refused[key] = f"a record of job {key[0]} is not stored: {why}"
        if not self._complained:
            self._complained = True
            _log().error("A record of job %s is not stored, as later ones may not be without a word: %s", key[0], why)
        self._release(key)

    def _release(self, key: Key) -> None:
        for stored in self._stored.pop(key, ()):
            stored.set()

    def _look_for_cancels(self) -> None:
        asked = self._cancels.look(lambda: {job.id for job in self._jobs()}, self.down)
        if asked:
            jobs = {job.id: job for job in self._jobs()}  # of two with one id, the one that began last
            for id in jobs.keys() & asked:
                jobs[id].request_cancel()


def _key(write: Write) -> Key:
    return write.id, write.token


def _again(write: Write, run: int) -> Write:
    """Return a final record that is stored as it is to be sent once more: to restore it, not to begin anything."""
    if write.role is Role.WORD:
        return write
    return write._replace(role=Role.UPDATE, run=write.run or run, late=True)


def _nothing() -> None:
    """Wake the thread, no more."""


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
