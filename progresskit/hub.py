"""
Watches the backend once for all viewers of the process.

A viewer has a mailbox with one place per job: the newest record waits there, however slow the viewer is. Records that
the backend pushes go to the mailboxes in the thread that brings them, for each switch to another thread may cost 5 ms
beside a busy one. All other work is done by the hub's own thread, in rounds (`step`), and handed over through an inbox.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, RLock
from typing import TYPE_CHECKING

from . import background, forks
from .abc import SupportsPush
from .backoff import LONGEST_SECONDS, Backoff
from .errors import Unsupported
from .observer_list import AttachedObserver
from .progress import State

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Collection, Iterable
    from logging import Logger
    from threading import Thread
    from types import TracebackType

    from .abc import Backend, Subscription
    from .config import Settings
    from .observer_list import Notify
    from .progress import Progress

    Waiting = dict[AbstractEventLoop, list[Future[None]]]

LEASE_CHECK_SECONDS = 0.5
"""Where it is not known when a lease runs out by the backend's clock, the backend is asked this often."""

DONE_SECONDS = 1.0
"""A job that is done may begin again: where it is polled, it is read this often."""


class Mailbox:
    """
    Holds the newest record of each job until the viewer takes it.

    A reader waits at a queue of its own, and not at a Condition: where the handler of a signal raises, as Ctrl-C does,
    the lock of a Condition may stay taken for ever, or be free where it is released next.
    """

    def __init__(self) -> None:
        self.ids: set[str] = set()  # changed in the hub's turn only
        self.closed = False
        self._lock = RLock()  # a finalizer, or a signal's handler, may report in the thread that has it
        self._records: dict[str, Progress] = {}
        self._readers: list[SimpleQueue[None]] = []
        self._waiter: tuple[AbstractEventLoop, Future[None]] | None = None

    def put(self, records: Iterable[Progress], waiting: Waiting) -> None:
        """Put records in place of older ones; add a reader of an event loop that waits for them to `waiting`."""
        with self._lock:
            for progress in records:
                self._records[progress.id] = progress
            self._wake(waiting)

    def close(self, waiting: Waiting) -> None:
        """End the wait of every reader: no more records will come."""
        with self._lock:
            self.closed = True
            self._wake(waiting)

    def _wake(self, waiting: Waiting) -> None:
        while self._readers:
            self._readers.pop().put(None)
        if self._waiter is not None:
            loop, future = self._waiter
            waiting.setdefault(loop, []).append(future)
            self._waiter = None

    def take(self, timeout: float | None) -> dict[str, Progress]:
        """Return the records, by id; wait for one, `timeout` seconds at most."""
        with self._lock:
            if self._records or self.closed or (timeout is not None and timeout <= 0):
                return self._take()
            woken = SimpleQueue[None]()
            self._readers.append(woken)
        with suppress(Empty):
            woken.get(timeout=timeout)
        with self._lock:
            if woken in self._readers:
                self._readers.remove(woken)
            return self._take()

    def _take(self) -> dict[str, Progress]:
        taken, self._records = self._records, {}
        return taken

    async def atake(self, timeout: float | None) -> dict[str, Progress]:
        """Return the records without blocking the event loop."""
        from asyncio import get_running_loop, wait

        loop = get_running_loop()
        with self._lock:
            future: Future[None] | None = None
            if not (self._records or self.closed):
                future = loop.create_future()
                self._waiter = loop, future
        if future is not None:
            await wait((future,), timeout=timeout)
        return self.take(0)


class CallbackMailbox(Mailbox):
    """Calls an observer with the records, in the hub's thread: a slow observer must not delay a backend's thread."""

    def __init__(self, observer: Notify, schedule: Callable[[Callable[[], None]], None]) -> None:
        super().__init__()
        self._observer, self._schedule = AttachedObserver(observer), schedule

    def put(self, records: Iterable[Progress], waiting: Waiting) -> None:
        """Put records in place of older ones, and have the observer called with them."""
        super().put(records, waiting)
        self._schedule(self._notify)

    def _notify(self) -> None:
        for progress in self.take(0).values():
            self._observer.notify(progress)


class Viewer:
    """Sees some jobs: first as they are, then each change, the newest state only."""

    def __init__(self, hub: Hub, mailbox: Mailbox) -> None:
        self._hub, self._mailbox = hub, mailbox

    def get(self, timeout: float | None = None) -> dict[str, Progress]:
        """
        Return the newest records of the jobs that have changed, by id; wait for one, `timeout` seconds at most.

        An empty dict means that the time is over, that the kit was closed, or that another reader had the records.
        """
        return self._mailbox.take(timeout)

    async def aget(self, timeout: float | None = None) -> dict[str, Progress]:
        """Do the same without blocking the event loop."""
        return await self._mailbox.atake(timeout)

    def add(self, ids: Collection[str]) -> None:
        """See these jobs as well, each as it is first."""
        self._hub.subscribe(self._mailbox, ids)

    def drop(self, ids: Collection[str]) -> None:
        """See these jobs no longer; records that are on their way may still come."""
        self._hub.unsubscribe(self._mailbox, ids)

    @property
    def closed(self) -> bool:
        """True once the kit was closed: no more records will come."""
        return self._mailbox.closed

    def close(self) -> None:
        """Watch no longer."""
        self._hub.unsubscribe(self._mailbox)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class _Watched:
    """A job that has viewers."""

    __slots__ = ("behind_since", "check", "in_doubt", "last", "mailboxes", "new")

    def __init__(self) -> None:
        self.mailboxes: set[Mailbox] = set()
        self.new: set[Mailbox] = set()  # these have not received the present state
        self.last: Progress | None = None
        self.in_doubt = True  # no record is known yet, or an update may have been missed: the backend is to be read
        self.check: float | None = None  # when its lease has run out, unless a record arrives
        self.behind_since: float | None = None  # since when the backend has known less than viewers have seen

    @property
    def is_done(self) -> bool:
        return self.last is not None and self.last.done

    @property
    def is_counting_parts(self) -> bool:
        return self.last is not None and self.last.tally is not None and not self.last.done


class _Delivery:
    """Records on their way to mailboxes: each mailbox, and each event loop with readers, is woken once for all."""

    def __init__(self) -> None:
        self._news: dict[Mailbox, list[Progress]] = {}
        self._waiting: Waiting = {}

    def add(self, mailboxes: Iterable[Mailbox], progress: Progress) -> None:
        """Have `flush` put the record into these mailboxes."""
        for mailbox in mailboxes:
            self._news.setdefault(mailbox, []).append(progress)

    def close(self, mailbox: Mailbox) -> None:
        """Close the mailbox; `flush` wakes its reader."""
        mailbox.close(self._waiting)

    def flush(self) -> None:
        """Fill the mailboxes and wake the readers."""
        news, self._news = self._news, {}
        for mailbox, records in news.items():
            mailbox.put(records, self._waiting)
        waiting, self._waiting = self._waiting, {}
        for loop, futures in waiting.items():
            with suppress(RuntimeError):  # the loop has been closed, and its readers with it
                loop.call_soon_threadsafe(_resolve, futures)


class _Schedule:
    """When the hub's thread has work, in seconds of its clock."""

    def __init__(self, now: float) -> None:
        self.tick = self.done_tick = now
        """When jobs without pushed changes are read next: those that are not done, and those that are."""
        self.retry = now
        """Reading is not tried before this moment."""
        self.backoff = Backoff()
        self.next: float | None = None
        """When the thread looks at its work again by itself; None for never."""

    def fail(self, now: float) -> None:
        """Put off reading after a failure."""
        self.retry = now + self.backoff.next()

    def is_late_for(self, deadline: float) -> bool:
        """Return True where the thread would look again only after this moment."""
        return self.next is None or deadline < self.next


class Hub:
    """One upstream watch, any number of viewers."""

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        clock: Callable[[], float],
        *,
        threaded: bool = True,
    ) -> None:
        self._backend, self._settings, self._clock, self._threaded = backend, settings, clock, threaded
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Start again without viewers; the thread and the subscription belong to the parent."""
        self._thread: Thread | None = None
        self._thread_lock = Lock()
        self._closing = False
        # A finalizer may fill these at any moment, even in a thread that is using them: they take no lock.
        self._inbox: deque[Callable[[], None]] = deque()
        self._signal: SimpleQueue[None] = SimpleQueue()
        self._callbacks: deque[Callable[[], None]] = deque()
        self._turn = Lock()
        """Held by the thread that uses the state below; by the hub's own during a whole round, reads included."""
        self._watched: dict[str, _Watched] = {}
        self._subscription: Subscription | None = None
        self._delivery = _Delivery()
        self._schedule = _Schedule(self._clock())

    # Called by other threads.

    def view(self, ids: Collection[str]) -> Viewer:
        """Return a viewer of the jobs, which need not exist yet."""
        mailbox = Mailbox()
        self.subscribe(mailbox, ids)
        return Viewer(self, mailbox)

    def attach(self, id: str, observer: Notify) -> Callable[[], None]:
        """Call the observer in the hub's thread; call the returned function to detach it."""
        mailbox = CallbackMailbox(observer, self._call_later)
        self.subscribe(mailbox, (id,))
        return lambda: self.unsubscribe(mailbox)

    def subscribe(self, mailbox: Mailbox, ids: Collection[str]) -> None:
        """Put the present state of these jobs and every change into the mailbox."""
        forks.notice()
        if self._thread is None and self._threaded:
            with self._thread_lock:
                if self._thread is None:
                    self._thread = self._start()
        wanted = frozenset(ids)
        self._hand_over(lambda: self._add(mailbox, wanted))
        if self._closing:
            mailbox.close({})

    def _start(self) -> Thread:
        try:
            return background.start(self._run, "progresskit-hub", self.close)
        except RuntimeError as error:
            raise Unsupported(f"jobs are watched in a thread, and there can be none here: {error}") from error

    def latest(self, id: str) -> Progress | None:
        """Return the newest record of a job that is viewed, as far as it is known here; None for any other."""
        watched = self._watched.get(id)
        return None if watched is None else watched.last

    def unsubscribe(self, mailbox: Mailbox, ids: Collection[str] | None = None) -> None:
        """Put no more records of these jobs, of all unless some are given, into the mailbox."""
        unwanted = None if ids is None else frozenset(ids)
        self._hand_over(lambda: self._remove(mailbox, frozenset(mailbox.ids) if unwanted is None else unwanted))

    def reread(self, ids: Collection[str]) -> None:
        """Read these again soon: their records were removed."""
        removed = frozenset(ids)
        self._hand_over(lambda: self._doubt(removed))

    def _doubt(self, ids: Collection[str]) -> None:
        for id in ids:
            if id in self._watched:
                self._watched[id].in_doubt = True

    def close(self) -> None:
        """End the thread; viewers get no more records and wait no longer."""
        self._closing = True
        self._signal.put(None)
        if self._thread is not None and not sys.is_finalizing():
            self._thread.join(self._settings.flush_seconds)

    def _hand_over(self, call: Callable[[], None]) -> None:
        """Have the hub's thread make a call."""
        self._inbox.append(call)
        self._signal.put(None)

    def _call_later(self, callback: Callable[[], None]) -> None:
        """Have the hub's thread make a call into code that is not the kit's."""
        self._callbacks.append(callback)
        self._signal.put(None)

    # The threads of the backend.

    def _pushed(self, records: Iterable[Progress]) -> None:
        """Deliver records here and now, unless the hub's thread is in a round, or has calls to make before."""
        taken = list(records)
        if self._thread is not None and self._turn.acquire(blocking=False):
            try:
                if not self._inbox and not self._closing:
                    self._take(taken)
                    self._delivery.flush()
                    return
            finally:
                self._turn.release()
        self._hand_over(lambda: self._take(taken))

    def _lost(self) -> None:
        self._hand_over(self._doubt_all)

    def _doubt_all(self) -> None:
        for watched in self._watched.values():
            watched.in_doubt = True

    # The hub's thread.

    def _run(self) -> None:
        wait: float | None = None
        while not self._closing:
            try:
                with suppress(Empty):
                    self._signal.get(timeout=wait)
                wait = self.step()
            except BaseException as error:
                # No known error arrives here, and no error at all may cost the viewers their thread.
                self._failed(error, exc_info=True)
                wait = LONGEST_SECONDS
        with self._turn:
            self._drain()
            self._end_subscription()
            for watched in self._watched.values():
                for mailbox in watched.mailboxes:
                    self._delivery.close(mailbox)
            self._delivery.flush()

    def step(self) -> float | None:
        """
        Do one round: make the calls that were handed over, and read the jobs that are due.

        Returns the seconds to the next round; None where only a call makes one necessary.
        """
        with suppress(Empty):
            while True:
                self._signal.get_nowait()
        with self._turn:
            wait = self._round()
        while self._callbacks:
            self._callbacks.popleft()()
        return wait

    def _round(self) -> float | None:
        try:
            self._drain()
            now = self._clock()
            if now >= self._schedule.retry:
                self._read(now)
        finally:
            self._delivery.flush()
        wait = self._until_next()
        self._schedule.next = None if wait is None else self._clock() + wait
        return wait

    def _drain(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def _until_next(self) -> float | None:
        if not self._watched:
            return None
        deadlines = [watched.check for watched in self._watched.values() if watched.check is not None]
        if any(watched.in_doubt for watched in self._watched.values()):
            deadlines.append(self._clock())
        if self._polled(done=False):
            deadlines.append(self._schedule.tick)
        if self._polled(done=True):
            deadlines.append(self._schedule.done_tick)
        return max(max(min(deadlines), self._schedule.retry) - self._clock(), 0) if deadlines else None

    def _polled(self, done: bool) -> list[str]:
        """Return the ids of jobs, done ones or the others, whose changes are not pushed; counts of parts never are."""
        if self._subscription is None and not isinstance(self._backend, SupportsPush):
            return [id for id, watched in self._watched.items() if watched.is_done is done]
        return [] if done else [id for id, watched in self._watched.items() if watched.is_counting_parts]

    def _add(self, mailbox: Mailbox, ids: frozenset[str]) -> None:
        mailbox.ids.update(ids)
        for id in ids:
            watched = self._watched.setdefault(id, _Watched())
            watched.mailboxes.add(mailbox)
            watched.new.add(mailbox)
            watched.in_doubt = True

    def _remove(self, mailbox: Mailbox, ids: frozenset[str]) -> None:
        gone = []
        mailbox.ids -= ids
        for id in ids:
            watched = self._watched.get(id)
            if watched is not None:
                watched.mailboxes.discard(mailbox)
                watched.new.discard(mailbox)
                if not watched.mailboxes:
                    del self._watched[id]
                    gone.append(id)
        if self._subscription is not None and gone:
            if self._watched:
                self._subscription.remove(gone)
            else:
                self._end_subscription()

    def _end_subscription(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def _read(self, now: float) -> None:
        """Read the jobs that are due, and deliver new records."""
        due = self._due(now)
        if not due:
            return
        try:
            self._subscribe(due)
            records = self._backend.read(due)
        except Exception as error:
            self._failed(error)
            return
        self._schedule.backoff.reset()
        for id in due:
            watched = self._watched[id]
            watched.in_doubt = False
            record = records.get(id)
            before = watched.last
            if record is not None and before is not None and _has_lost_its_end(record, before):
                record = before._replace(stalled=record.stalled, cancel_requested=record.cancel_requested)
            if record is None or self._began_again(watched, record, now):
                watched.last = None
            self._arrived(watched, record, now, LEASE_CHECK_SECONDS)
            self._greet(watched)

    def _due(self, now: float) -> set[str]:
        """Return the ids to be read now."""
        due = {id for id, watched in self._watched.items() if watched.in_doubt or _is_over(watched.check, now)}
        schedule, interval = self._schedule, self._settings.interval
        if now >= schedule.tick:
            due.update(self._polled(done=False))
            schedule.tick = (schedule.tick if now - schedule.tick < interval else now) + interval
        if now >= schedule.done_tick:
            due.update(self._polled(done=True))
            schedule.done_tick = now + max(DONE_SECONDS, interval)
        return due

    def _began_again(self, watched: _Watched, record: Progress, now: float) -> bool:
        """Return whether the backend had forgotten a job, and it began again."""
        before = watched.last
        if before is not None and record.life != before.life:
            return True
        if before is None or record.version >= before.version:
            return False
        if before.done and record.version.run < before.version.run:
            return True
        # A worker that lives would have written its record again by then.
        if watched.behind_since is None:
            watched.behind_since = now
        return now - watched.behind_since >= (before.lease or self._settings.lease)

    def _subscribe(self, ids: Collection[str]) -> None:
        if isinstance(self._backend, SupportsPush):
            if self._subscription is None:
                self._subscription = self._backend.subscribe(self._pushed, self._lost)
            self._subscription.add([id for id in ids if self._watched[id].in_doubt])

    def _failed(self, error: BaseException, exc_info: bool = False) -> None:
        if not self._schedule.backoff.failures:
            _log().warning("Progress cannot be read now; it is tried again: %s", error, exc_info=exc_info)
        self._schedule.fail(self._clock())

    # Records.

    def _take(self, records: list[Progress]) -> None:
        """Take records that the backend has pushed; wake the hub's thread where one of them gives it work sooner."""
        now = self._clock()
        is_sooner = False
        for progress in records:
            watched = self._watched.get(progress.id)
            if watched is not None:
                self._take_one(watched, progress, now)
                check = watched.check
                is_sooner |= watched.in_doubt or (check is not None and self._schedule.is_late_for(check))
                is_sooner |= watched.is_counting_parts and self._schedule.is_late_for(self._schedule.tick)
        if is_sooner:
            self._signal.put(None)

    def _take_one(self, watched: _Watched, progress: Progress, now: float) -> None:
        before = watched.last
        if before is not None:
            if progress.life != before.life:
                watched.in_doubt = True  # which of the two is over is for the backend to say
                return
            if progress.version <= before.version:
                if progress.version < before.version:
                    watched.in_doubt = True  # late, or of a job that begins again in a backend that had forgotten it
                elif before.cancel_requested and not progress.cancel_requested:
                    watched.in_doubt = True  # late, or of a backend that had forgotten it
                    return
        self._arrived(watched, progress, now, progress.lease or self._settings.lease)

    def _arrived(self, watched: _Watched, progress: Progress | None, now: float, lease: float) -> None:
        """Take a record that was read or pushed; its lease, if it has one, is looked at again after `lease` seconds."""
        before, watched.check = watched.last, None
        if progress is None:
            return
        is_later = before is None or progress.version > before.version
        is_same = not is_later and before is not None and progress.version == before.version
        if is_later or is_same:
            watched.behind_since = None
        if self._subscription is not None and progress.state is State.RUNNING and not progress.stalled:
            watched.check = now + lease
        elif watched.behind_since is not None and not watched.in_doubt:
            watched.check = now + LEASE_CHECK_SECONDS
        is_changed = is_same and before is not None and progress.cursor != before.cursor
        if is_later or (is_changed and not _counts_less(progress, before)):
            watched.last = progress
            self._delivery.add(watched.mailboxes - watched.new if watched.new else watched.mailboxes, progress)

    def _greet(self, watched: _Watched) -> None:
        if watched.last is not None:
            self._delivery.add(watched.new, watched.last)
        watched.new.clear()


def _counts_less(progress: Progress, before: Progress | None) -> bool:
    """Return True for a record with parts that were counted earlier."""
    if progress.tally is None or before is None or before.tally is None:
        return False
    return progress.tally.changes < before.tally.changes


def _has_lost_its_end(record: Progress, before: Progress) -> bool:
    """
    Return whether the backend knows less of a life than viewers: a database that crashed may lose the last moment.

    The record that they have seen stays, with the backend's `stalled` and `cancel_requested`.
    """
    return (
        not before.done
        and record.life == before.life
        and record.version[:2] == before.version[:2]
        and record.version < before.version
        and record.started_at == before.started_at
    )


def _is_over(deadline: float | None, now: float) -> bool:
    return deadline is not None and now >= deadline


def _resolve(futures: list[Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
