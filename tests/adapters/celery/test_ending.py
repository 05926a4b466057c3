"""A process of the prefork pool ends without harm to the others, whatever threads it has and whatever is refused."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import pytest
from billiard import get_context
from billiard.pool import ACK, DEATH, TASK, Worker
from celery import Celery
from celery.app.trace import build_tracer
from celery.concurrency.prefork import process_destructor
from celery.signals import worker_shutdown

import progresskit_celery
from progresskit.errors import BackendError
from progresskit.kit import Kit
from progresskit.progress import State
from progresskit.scope import current_job
from progresskit_celery.run import Run
from progresskit_celery.signals import connect
from tests.core.doubles import FlakyBackend
from tests.services.waiting import wait_until

from .site import Site

SECONDS = 60


class Member:
    """A real process of a pool, with a thread of the site's, and the queue by which all of a pool tell their parent."""

    def __init__(self) -> None:
        context = get_context("fork")
        self._tasks, self._words = context.SimpleQueue(), context.SimpleQueue()
        worker = Worker(self._tasks, self._words, initializer=_start_thread, on_exit=process_destructor)
        self.process: Any = context.Process(target=worker)
        self.process.start()

    def run(self, function: Callable[..., object], *args: object) -> None:
        """Give it a task, and return once it works on that."""
        self._tasks._writer.send((TASK, (1, None, function, args, {})))
        assert self.word() == ACK

    def word(self) -> int:
        """Return what kind of word it has told its parent."""
        assert self._words._reader.poll(SECONDS), "it tells nothing"
        kind: int = self._words._reader.recv()[0]
        return kind

    def fill_queue(self) -> int:
        """Leave no room for a further word; return how many bytes were put."""
        pipe = self._words._writer.fileno()
        os.set_blocking(pipe, False)
        filled = 0
        try:
            while True:
                filled += os.write(pipe, b"x")
        except BlockingIOError:
            os.set_blocking(pipe, True)
        return filled

    def empty_queue(self, filled: int) -> None:
        """Make room again."""
        while filled:
            filled -= len(os.read(self._words._reader.fileno(), filled))

    def unlocks(self, seconds: float = 0) -> bool:
        """Return whether nobody holds the queue's lock, by then."""
        free: bool = self._words._wlock.acquire(True, seconds)
        if free:
            self._words._wlock.release()
        return free

    def close(self) -> None:
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        self._tasks.close()
        self._words.close()


def _start_thread() -> None:
    Thread(target=Event().wait, daemon=True).start()


@pytest.fixture
def member() -> Iterator[Member]:
    """Give a process of a pool."""
    connect()
    member = Member()
    try:
        yield member
    finally:
        member.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_process_that_is_ended_while_it_holds_the_lock_of_all_lets_go_of_it_first(member: Member) -> None:
    member.run(time.sleep, 600)
    filled = member.fill_queue()
    os.kill(member.process.pid, signal.SIGTERM)
    wait_until(lambda: not member.unlocks(), "it holds the lock until there is room for its last word")
    os.kill(member.process.pid, signal.SIGTERM)
    member.empty_queue(filled)

    assert member.word() == DEATH
    assert member.unlocks(SECONDS)
    member.process.join(SECONDS)
    assert member.process.exitcode == -signal.SIGTERM, "it ends by the signal as soon as that may"


def test_a_pool_lives_on_when_many_of_its_processes_have_been_ended(sites: Callable[..., Site]) -> None:
    site = sites("prefork", name="ended", concurrency=4)
    for _ in range(4):
        results = [site.send("steps", 2, str(site.gate())) for _ in range(4)]
        for result in results:
            site.until(result.id, State.RUNNING)
        site.app.control.revoke([result.id for result in results], terminate=True)

        assert [site.done(result.id).state for result in results] == [State.CANCELLED] * 4


def test_a_task_that_exits_leaves_its_job_though_the_backend_refuses_what_it_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = FlakyBackend(time.monotonic)
    backend.refused = {"refused"}
    kit = Kit(backend=backend)
    app = Celery("exiting", set_as_current=False, broker="memory://", backend="cache+memory://")
    progresskit_celery.install(app, kit=kit)
    monkeypatch.setattr(Run, "in_pool_process", True)

    @app.task(shared=False)
    def exits() -> None:
        with pytest.raises(BackendError, match="job refused"):
            kit.flush(SECONDS)
        raise SystemExit

    with pytest.raises(SystemExit):
        build_tracer(exits.name, exits, app=app)("refused", (), {}, {"id": "refused"})
    assert current_job() is None
    problems = [answer for _, answer in worker_shutdown.send(sender=None) if isinstance(answer, Exception)]
    assert problems == [], "which the kits flushed after this one would be left out by"
    backend.refused = set()
    kit.close()
