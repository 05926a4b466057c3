"""
Watches the backend once for all viewers of the process, in a thread of its own.

As in the publisher, the thread owns the state and is told through an inbox; `step` is one round. A viewer has a box
with one place per job: the newest record waits there, however slow the viewer is.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from enum import Enum
from queue import Empty, SimpleQueue
from threading import Condition, Lock
from typing import TYPE_CHECKING

from . import background, forks
from .abc import SupportsPush
from .backoff import LONGEST_SECONDS, Backoff
from .errors import Unsupported
from .observer_list import notify
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


class _Box:
    """Where records wait for one viewer."""

    def __init__(self) -> None:
        self.ids: set[str] = set()  # the hub's thread changes it, and nobody else
        self.closed = False
        self._ready = Condition()
        self._records: dict[str, Progress] = {}
        self._waiter: tuple[AbstractEventLoop, Future[None]] | None = None

    def put(self, progress: Progress, waiting: Waiting) -> None:
        """Put a record in place of an older one; note whom of an event loop to wake."""
        with self._ready:
            self._records[progress.id] = progress
            self._wake(waiting)

    def close(self, waiting: Waiting) -> None:
        """Let nobody wait for what will not come."""
        with self._ready:
            self.closed = True
            self._wake(waiting)

    def _wake(self, waiting: Waiting) -> None:
        self._ready.notify_all()
        if self._waiter is not None:
            loop, future = self._waiter
            waiting.setdefault(loop, []).append(future)
            self._waiter = None

    def take(self, timeout: float | None) -> dict[str, Progress]:
        with self._ready:
            self._ready.wait_for(lambda: self._records or self.closed, timeout)
            taken, self._records = self._records, {}
        return taken

    async def atake(self, timeout: float | None) -> dict[str, Progress]:
        from asyncio import get_running_loop, wait

        loop = get_running_loop()
        with self._ready:
            future: Future[None] | None = None
            if not (self._records or self.closed):
                future = loop.create_future()
                self._waiter = loop, future
        if future is not None:
            await wait((future,), timeout=timeout)
        return self.take(0)


class _CallbackBox(_Box):
    """Calls an observer, in the hub's thread."""

    def __init__(self, observer: Notify) -> None:
        super().__init__()
        self._observer = observer

    def put(self, progress: Progress, waiting: Waiting) -> None:
        notify(self._observer, progress)


class Viewer:
    """Sees some jobs: first as they are, then each change, the newest state only."""

    def __init__(self, hub: Hub, box: _Box) -> None:
        self._hub, self._box = hub, box

    def get(self, timeout: float | None = None) -> dict[str, Progress]:
        """
        Return the newest records of the jobs that have changed, by id; wait for one, `timeout` seconds at most.

        An empty dict means that the time is over, or that the kit was closed.
        """
        return self._box.take(timeout)

    async def aget(self, timeout: float | None = None) -> dict[str, Progress]:
        """Do the same without blocking the event loop."""
        return await self._box.atake(timeout)

    def add(self, ids: Collection[str]) -> None:
        """See these jobs as well, each as it is first."""
        self._hub.join(self._box, ids)

    def drop(self, ids: Collection[str]) -> None:
        """See these jobs no longer; what was on its way may still come."""
        self._hub.part(self._box, ids)

    @property
    def closed(self) -> bool:
        """True once the kit was closed: nothing more will come."""
        return self._box.closed

    def close(self) -> None:
        """Watch no longer."""
        self._hub.leave(self._box)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Knowledge(Enum):
    """How the newest record of a job that viewers have seen relates to the backend's."""

    IN_DOUBT = "in doubt"
    """The backend is to be read: nothing is known yet, or an update may have been missed."""

    CURRENT = "current"
    """It was the backend's when that was last read, or was pushed since."""

    BEHIND = "behind"
    """The backend, when it was last read, knew less of the job than viewers have seen."""


class _Watched:
    """A job that has viewers."""

    __slots__ = ("behind_since", "boxes", "check", "knowledge", "last", "new")

    def __init__(self) -> None:
        self.boxes: set[_Box] = set()
        self.new: set[_Box] = set()  # these have not been told the present state
        self.last: Progress | None = None
        self.knowledge = Knowledge.IN_DOUBT
        self.check: float | None = None  # when its lease has run out, unless a record arrives
        self.behind_since: float | None = None  # kept in doubt: a read that finds the same continues the time

    @property
    def is_done(self) -> bool:
        return self.last is not None and self.last.done

    @property
    def is_in_doubt(self) -> bool:
        return self.knowledge is Knowledge.IN_DOUBT

    def doubt(self) -> None:
        """Have the backend read again."""
        self.knowledge = Knowledge.IN_DOUBT

    def confirm(self) -> None:
        """Note that the backend was read."""
        self.knowledge = Knowledge.CURRENT

    def fall_behind(self, now: float) -> float:
        """Note that the backend knows less than `last`; return for how many seconds that has been so."""
        self.knowledge = Knowledge.BEHIND
        if self.behind_since is None:
            self.behind_since = now
        return now - self.behind_since

    def catch_up(self) -> None:
        """Note that the backend knows as much as `last`, or more."""
        self.behind_since = None
        if self.knowledge is Knowledge.BEHIND:
            self.knowledge = Knowledge.CURRENT


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
        """Start again without viewers; the thread and the listener belong to the parent."""
        self._thread: Thread | None = None
        self._thread_lock = Lock()
        self._closing = False
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._watched: dict[str, _Watched] = {}
        self._listener: Subscription | None = None
        self._waiting: Waiting = {}
        self._backoff = Backoff()
        self._tick = self._done_tick = self._retry = self._clock()

    # What other threads call.

    def view(self, ids: Collection[str]) -> Viewer:
        """Return a viewer of the jobs, which need not exist yet."""
        box = _Box()
        self.join(box, ids)
        return Viewer(self, box)

    def attach(self, id: str, observer: Notify) -> Callable[[], None]:
        """Call the observer in the hub's thread; call what is returned to detach it."""
        box = _CallbackBox(observer)
        self.join(box, (id,))
        return lambda: self.leave(box)

    def join(self, box: _Box, ids: Collection[str]) -> None:
        """Put what becomes of these jobs into the box, beginning with how they are."""
        forks.notice()
        if self._thread is None and self._threaded:
            with self._thread_lock:
                if self._thread is None:
                    self._thread = self._start()
        wanted = frozenset(ids)
        self._inbox.put(lambda: self._add(box, wanted))
        if self._closing:
            box.close({})

    def _start(self) -> Thread:
        try:
            return background.start(self._run, "progresskit-hub", self.close)
        except RuntimeError as error:
            raise Unsupported(f"jobs are watched in a thread, and there can be none here: {error}") from error

    def latest(self, id: str) -> Progress | None:
        """Return the newest record of a job that is viewed, as far as the thread has come; None for any other."""
        watched = self._watched.get(id)
        return None if watched is None else watched.last

    def part(self, box: _Box, ids: Collection[str]) -> None:
        """Put nothing of these jobs into the box any more."""
        unwanted = frozenset(ids)
        self._inbox.put(lambda: self._remove(box, unwanted))

    def leave(self, box: _Box) -> None:
        """Put nothing into the box any more."""
        self._inbox.put(lambda: self._remove(box, frozenset(box.ids)))

    def reread(self, ids: Collection[str]) -> None:
        """Read these again soon: their records were removed."""
        removed = frozenset(ids)
        self._inbox.put(lambda: self._doubt(removed))

    def _doubt(self, ids: Collection[str]) -> None:
        for id in ids:
            if id in self._watched:
                self._watched[id].doubt()

    def close(self) -> None:
        """End the thread; viewers get nothing more and wait no longer."""
        self._closing = True
        self._inbox.put(_nothing)
        if self._thread is not None and not sys.is_finalizing():
            self._thread.join(self._settings.flush_seconds)

    # The thread.

    def _run(self) -> None:
        wait: float | None = None
        while not self._closing:
            try:
                with suppress(Empty):
                    self._inbox.get(timeout=wait)()
                wait = self.step()
            except BaseException as error:
                # No known error arrives here. Whatever it is, the viewers must not lose their thread by it.
                self._failed(error, exc_info=True)
                wait = LONGEST_SECONDS
        self._drain()
        self._unlisten()
        for watched in self._watched.values():
            for box in watched.boxes:
                box.close(self._waiting)
        self._wake_loops()

    def step(self) -> float | None:
        """Do one round: take what was handed over, read what is due; return the seconds to the next, None for never."""
        self._drain()
        now = self._clock()
        if now >= self._retry:
            self._read(now)
        self._wake_loops()
        return self._until_next()

    def _drain(self) -> None:
        with suppress(Empty):
            while True:
                self._inbox.get_nowait()()

    def _until_next(self) -> float | None:
        if not self._watched:
            return None
        deadlines = [watched.check for watched in self._watched.values() if watched.check is not None]
        if any(watched.is_in_doubt for watched in self._watched.values()):
            deadlines.append(self._clock())
        if self._polled(done=False):
            deadlines.append(self._tick)
        if self._polled(done=True):
            deadlines.append(self._done_tick)
        return max(max(min(deadlines), self._retry) - self._clock(), 0) if deadlines else None

    def _polled(self, done: bool) -> list[str]:
        """Return the ids, those that are done or the others, that only polling tells of: none where it is pushed."""
        if self._listener is not None or isinstance(self._backend, SupportsPush):
            return []
        return [id for id, watched in self._watched.items() if watched.is_done is done]

    def _add(self, box: _Box, ids: frozenset[str]) -> None:
        box.ids.update(ids)
        for id in ids:
            watched = self._watched.setdefault(id, _Watched())
            watched.boxes.add(box)
            watched.new.add(box)
            watched.doubt()

    def _remove(self, box: _Box, ids: frozenset[str]) -> None:
        gone = []
        box.ids -= ids
        for id in ids:
            watched = self._watched.get(id)
            if watched is not None:
                watched.boxes.discard(box)
                watched.new.discard(box)
                if not watched.boxes:
                    del self._watched[id]
                    gone.append(id)
        if self._listener is not None and gone:
            if self._watched:
                self._listener.remove(gone)
            else:
                self._unlisten()

    def _unlisten(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def _read(self, now: float) -> None:
        """Read what is due, and put what is new into the boxes."""
        due = {id for id, watched in self._watched.items() if watched.is_in_doubt or _is_over(watched.check, now)}
        interval = self._settings.interval
        if now >= self._tick:
            due.update(self._polled(done=False))
            self._tick = (self._tick if now - self._tick < interval else now) + interval
        if now >= self._done_tick:
            due.update(self._polled(done=True))
            self._done_tick = now + max(DONE_SECONDS, interval)
        if not due:
            return
        try:
            self._listen(due)
            records = self._backend.read(due)
        except Exception as error:
            self._failed(error)
            return
        self._backoff.reset()
        for id in due:
            watched = self._watched[id]
            watched.confirm()
            record = records.get(id)
            before = watched.last
            if record is not None and before is not None and _has_lost_its_end(record, before):
                record = before._replace(stalled=record.stalled, cancel_requested=record.cancel_requested)
            if record is None or self._began_again(watched, record, now):
                watched.last = None
            self._arrived(watched, record, now, LEASE_CHECK_SECONDS)
            self._greet(watched)

    def _began_again(self, watched: _Watched, record: Progress, now: float) -> bool:
        """Tell whether the backend had forgotten a job, and it began again."""
        before = watched.last
        if before is not None and record.life != before.life:
            return True
        if before is None or record.version >= before.version:
            return False
        if before.done and record.version.run < before.version.run:
            return True
        # A worker that lives would have written again by then what the backend had lost.
        return watched.fall_behind(now) >= (before.lease or self._settings.lease)

    def _listen(self, ids: Collection[str]) -> None:
        if isinstance(self._backend, SupportsPush):
            if self._listener is None:
                self._listener = self._backend.subscribe(self._pushed, self._lost)
            self._listener.add([id for id in ids if self._watched[id].is_in_doubt])

    def _failed(self, error: BaseException, exc_info: bool = False) -> None:
        if not self._backoff.failures:
            _log().warning("Progress cannot be read now; it is tried again: %s", error, exc_info=exc_info)
        self._retry = self._clock() + self._backoff.next()

    def _pushed(self, records: Iterable[Progress]) -> None:
        taken = list(records)
        self._inbox.put(lambda: self._take(taken))

    def _lost(self) -> None:
        self._inbox.put(self._doubt_all)

    def _doubt_all(self) -> None:
        for watched in self._watched.values():
            watched.doubt()

    def _take(self, records: list[Progress]) -> None:
        now = self._clock()
        for progress in records:
            watched = self._watched.get(progress.id)
            if watched is not None:
                if watched.last is not None and progress.life != watched.last.life:
                    watched.doubt()  # which of the two is over is for the backend to say
                    continue
                if watched.last is not None and progress.version < watched.last.version:
                    watched.doubt()  # late, or of a job that begins again in a backend that had forgotten it
                elif watched.last is not None and _takes_back_a_request(progress, watched.last):
                    watched.doubt()  # late, or of a backend that had forgotten it
                    continue
                self._arrived(watched, progress, now, progress.lease or self._settings.lease)

    def _arrived(self, watched: _Watched, progress: Progress | None, now: float, lease: float) -> None:
        """Take a record that was read or pushed; its lease, if it has one, is looked at again after `lease` seconds."""
        before, watched.check = watched.last, None
        if progress is None:
            return
        if before is None or progress.version >= before.version:
            watched.catch_up()
        if self._listener is not None and progress.state is State.RUNNING and not progress.stalled:
            watched.check = now + lease
        elif watched.knowledge is Knowledge.BEHIND:
            watched.check = now + LEASE_CHECK_SECONDS
        if before is None or _is_newer(progress, before):
            watched.last = progress
            for box in watched.boxes - watched.new:
                box.put(progress, self._waiting)

    def _greet(self, watched: _Watched) -> None:
        if watched.last is not None:
            for box in watched.new:
                box.put(watched.last, self._waiting)
        watched.new.clear()

    def _wake_loops(self) -> None:
        """Wake the readers of each event loop with one call."""
        waiting, self._waiting = self._waiting, {}
        for loop, futures in waiting.items():
            with suppress(RuntimeError):  # the loop has been closed, and its readers with it
                loop.call_soon_threadsafe(_resolve, futures)


def _is_newer(progress: Progress, before: Progress) -> bool:
    if progress.version == before.version:
        return progress.cursor != before.cursor
    return progress.version > before.version


def _takes_back_a_request(progress: Progress, before: Progress) -> bool:
    return progress.version == before.version and before.cancel_requested and not progress.cancel_requested


def _has_lost_its_end(record: Progress, before: Progress) -> bool:
    """
    Tell whether the backend knows less of a life than viewers do: a database that crashed may lose the last moment.

    What they have seen stays. Only what the backend decides is taken from it: whether the job stalls, and is to stop.
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


def _nothing() -> None:
    """Wake the thread, no more."""


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
