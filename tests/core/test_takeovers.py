"""A start whose record was taken over by a newer one says so in the log, once, whatever the backend answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from progresskit import BackendUnavailable, Kit, Progress
from progresskit.progress import Role, Write
from progresskit.testing import FakeClock

from .doubles import FlakyBackend


class Terse(FlakyBackend):
    """Answers with the runs of starts only, as a backend may."""

    unreadable = False

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        runs = super().write(batch)
        return {write.id: runs[write.id] for write in batch if write.role is Role.START}

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        if self.unreadable:
            raise BackendUnavailable("connection refused")
        return super().read(ids)


def processes(backend: FlakyBackend, clock: FakeClock) -> tuple[Kit, Kit]:
    """Return the kits of two processes at one store."""
    older, newer = (Kit(backend=backend, clock=clock, threaded=False, heartbeat=10, lease=30) for _ in range(2))
    return older, newer


def test_the_older_start_is_reported_at_its_next_write_where_the_backend_says_the_run(
    backend: FlakyBackend, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = processes(backend, clock)
    first = older.observe("job")
    older.publisher.step()
    assert caplog.messages == []
    second = newer.observe("job")
    newer.publisher.step()
    for job in (first, second, first, second):
        job.advance()
        clock.advance(1)
        older.publisher.step()
        newer.publisher.step()
    (message,) = caplog.messages
    assert message.startswith("Job job was started again, by another process perhaps")
    assert backend.store.read(["job"])["job"].version.run == 2
    for job in (first, second):
        job.succeed()


def test_the_older_start_is_reported_within_a_heartbeat_where_it_does_not(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Terse(clock)
    older, newer = processes(backend, clock)
    first, other = older.observe("job"), older.observe("another")
    older.publisher.step()
    second = newer.observe("job")
    newer.publisher.step()
    for _ in range(100):
        for job in (first, second, other):
            job.advance()
        clock.advance(0.5)
        older.publisher.step()
        newer.publisher.step()
    assert [message[:26] for message in caplog.messages] == ["Job job was started again,"]
    assert len(backend.reads) <= 2 * 5, "once a heartbeat for each process"
    for job in (first, second, other):
        job.succeed()


def test_nobody_reads_where_each_write_is_answered_with_the_run(backend: FlakyBackend, clock: FakeClock) -> None:
    kit, _ = processes(backend, clock)
    with kit.observe("job") as job:
        for _ in range(100):
            job.advance()
            clock.advance(1)
            kit.publisher.step()
    assert backend.reads == []


def test_a_backend_that_cannot_be_read_is_read_at_the_next_heartbeat(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Terse(clock)
    older, newer = processes(backend, clock)
    first, second = older.observe("job"), newer.observe("job")
    older.publisher.step()
    newer.publisher.step()
    for number in range(60):
        backend.unreadable = number < 30
        first.advance()
        clock.advance(0.5)
        older.publisher.step()
    assert [message[:26] for message in caplog.messages] == ["Job job was started again,"]
    for job in (first, second):
        job.succeed()
