"""
A process's part in what all say to each other: a thread that listens, and the calls of the others, who wait for it.

Whatever is said comes back to whoever said it, and takes effect there at that moment as everywhere else, so a call
returns what came of it. That is also how a call knows that the broker has passed it on.
"""

from __future__ import annotations

from contextlib import suppress
from random import uniform
from threading import Condition, current_thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from progresskit import background
from progresskit.errors import BackendUnavailable

from .address import CALL_SECONDS
from .barrier import Barrier
from .calls import Calls
from .hearing import Hearing
from .road import Ear, Mouth, Road
from .sync import Say, Silence
from .wire import Act, chunks, decode, pack_write

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from logging import Logger
    from threading import Thread

    from kombu.entity import Queue

    from progresskit.progress import Write
    from progresskit.record_store import Tombstone

    from .address import Address
    from .calls import Call
    from .mirror import Mirror

RETRY_SECONDS = (0.1, 2.0)
"""The wait after a first failure, and the longest; it doubles from one to the other, and half of it is chance."""

DRAIN_SECONDS = 0.5
"""The longest that the thread listens without looking around."""

CLOSE_SECONDS = 3.0


class Station:
    """Speaks, listens, and keeps the mirror; `lost` is called whenever something was missed and is known again."""

    def __init__(self, address: Address, prefix: str, mirror: Mirror, lost: Callable[[], None]) -> None:
        self._address, self._mirror, self._lost = address, mirror, lost
        self._road = Road(address, prefix)
        self._ear, self._mouth = Ear(self._road, self._heard), Mouth(self._road)
        self._state = Condition()
        self._thread: Thread | None = None
        self._stopping = False
        self._failure: BackendUnavailable | None = None
        self._tries = self._failures = 0  # how often it was connected, and which of those is the last that failed
        self._came_at = 0  # which connection was the last that was of use
        self._broken: str | None = None  # why the thread has to connect anew, although it has not noticed
        self._calls = Calls(self._mouth)
        self._barrier = Barrier(lambda: self._call(Act.PING))
        self._hearing = Hearing(mirror)
        self._inherited: list[Queue] = []  # of the process that this one was forked from; they would be filled here

    # What other threads call.

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Say the batch to all; return the runs that are stored now."""
        link = self.ready()
        packed = [pack_write(write, self._mirror.owned(write)) for write in batch]
        calls = [self._say(Act.WRITE, chunk, link) for chunk in chunks(packed)]
        runs: dict[str, int] = {}
        for call in calls:
            runs |= self._await(call)
        return runs

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Ask all for the end of jobs; return those that can still end."""
        asked: set[str] = self._call(Act.CANCEL, sorted(set(ids)))
        return asked

    def forget(self, tombstones: Sequence[Tombstone]) -> set[str]:
        """Have all forget jobs; return those that are gone here by that."""
        gone: set[str] = self._call(Act.FORGET, tombstones) if tombstones else set()
        return gone

    def catch_up(self) -> None:
        """Return when all that was said until now, by anybody, is in the mirror."""
        self._barrier.wait()

    def ready(self) -> int:
        """
        Return when this process takes part and knows what the others knew, as far as they have told in time.

        What is returned stands for the connection. BackendUnavailable is raised when one fails that was tried after
        this call, which is reason enough to try at once.
        """
        with self._state:
            if not self._is_current():
                self._start()
                tried = self._tries
                self._ear.news.set()
                self._state.wait_for(lambda: self._is_current() or self._failures > tried, CALL_SECONDS)
            if not self._is_current():
                raise self._failure or BackendUnavailable(f"{self._address}: no connection in {CALL_SECONDS:g} s")
            return self._tries

    def inherit(self, other: Station) -> None:
        """Take the place of the one that a fork has left here without its thread."""
        if self._address.driver == "memory":
            self._inherited = [*other._inherited, other._road.queue]

    def close(self) -> None:
        """End the thread and both connections."""
        with self._state:
            current, thread, self._stopping = self._is_current(), self._thread, True
            self._ear.news.set()
            self._state.notify_all()
        if thread is not None and thread is not current_thread():
            if current:
                with suppress(BackendUnavailable):
                    self._say(Act.PING)  # so that the thread looks up
            thread.join(CLOSE_SECONDS)
        self._mouth.close()
        self._calls.fail(BackendUnavailable(f"{self._address}: closed"))

    def _start(self) -> None:
        if self._stopping:
            raise BackendUnavailable(f"{self._address}: closed")
        if self._thread is None:
            try:
                self._thread = background.start(self._run, "progresskit-kombu", self.close)
            except RuntimeError as error:
                raise BackendUnavailable(f"{self._address}: {error}") from error

    def _is_current(self) -> bool:
        return self._hearing.current and self._broken is None and not self._stopping

    def _call(self, act: Act, content: Any = None) -> Any:
        link = self.ready()
        return self._await(self._say(act, content, link))

    def _say(self, act: Act, content: Any = None, link: int | None = None) -> Call:
        """Say something, which comes back to the call that is returned, by that connection or not at all."""
        call = self._calls.say(act, content, lambda: self._check(link))
        self._ear.news.set()
        return call

    def _check(self, link: int | None) -> None:
        if link is not None and self._failures >= link:
            raise self._failure or BackendUnavailable(f"{self._address}: no connection")

    def _await(self, call: Call) -> Any:
        if not call.back.wait(CALL_SECONDS):
            self._broken = "what was said does not come back"
            self._ear.news.set()
            raise BackendUnavailable(f"{self._address}: {self._broken}")
        if call.error is not None:
            raise call.error
        return call.answer

    # The thread.

    def _run(self) -> None:
        while not self._stopping:
            try:
                with self._state:
                    self._tries += 1
                    self._broken = None
                self._hearing.begin(monotonic())
                self._ear.open()
                while self._inherited:
                    self._ear.leave(self._inherited.pop())
                self._listen()
            except Exception as error:
                self._failed(error)
        self._ear.close()

    def _listen(self) -> None:
        self._ear.drain(0)  # some transports listen only from here on
        while not self._stopping:
            if self._broken is not None:
                raise BackendUnavailable(f"{self._address}: {self._broken}")
            now = monotonic()
            self._speak(now)
            self._ear.drain(min(max(self._hearing.due - monotonic(), 0), DRAIN_SECONDS))

    def _speak(self, now: float) -> None:
        """Say what is due."""
        before = self._hearing.current
        say = self._hearing.next(now)
        if say is not None:
            self._say(Act.PING if say is Say.PING else Act.HELLO)
        if self._hearing.current and not before:
            self._came()
        for content in self._hearing.owed(now):
            self._say(Act.TELL, content)

    def _came(self) -> None:
        with self._state:
            failed, self._failure, self._came_at = self._failure, None, self._tries
            self._state.notify_all()
        if failed is not None:
            _log().info("%s: connected again", self._address)
        self._lost()

    def _failed(self, error: Exception) -> None:
        why = "what was said does not come back" if isinstance(error, Silence) else str(error) or type(error).__name__
        failure = error if isinstance(error, BackendUnavailable) else BackendUnavailable(f"{self._address}: {why}")
        first, longest = RETRY_SECONDS
        with self._state:
            known, self._failure = self._failure, failure
            self._hearing.begin(monotonic())
            delay = min(first * 2 ** min(self._tries - self._came_at, 16), longest)
            self._failures = self._tries
            self._ear.news.clear()
            self._state.notify_all()
        if known is None and not self._stopping:
            _log().warning("No connection, it is tried again: %s", failure)
        self._ear.drop()
        self._mouth.drop()
        self._calls.fail(failure)
        if not self._stopping:
            self._ear.news.wait(uniform(delay / 2, delay))

    def _heard(self, text: str | bytes) -> None:
        message = decode(text)
        if message is None:
            _log().debug("%s: something was said that is not understood", self._address)
            return
        now, call = monotonic(), self._calls.came_back(message)
        self._hearing.heard(now)
        try:
            answer = self._hearing.take(message, call is not None, now)
        except Exception as error:
            # What one other says must not silence all the rest.
            _log().warning("%s: something was said that cannot be: %r", self._address, error)
            answer = {}
        if call is not None:
            call.end(answer)
        if self._hearing.missed(message, now):
            _log().debug("%s: something was missed", self._address)


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
