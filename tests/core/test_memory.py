"""What only the memory backend does; the rest of it is proven by the contract."""

from __future__ import annotations

import os

import pytest

from progresskit.config import Settings
from progresskit.memory import SWEEP_SECONDS, MemoryBackend
from progresskit.registry import backend_class
from progresskit.testing import LIFE, FakeClock, RecordingObserver, start, update


def test_it_is_the_default_and_reports_that_other_processes_see_nothing_of_it() -> None:
    backend = backend_class(Settings().url).from_url("memory://", Settings())
    assert isinstance(backend, MemoryBackend)
    assert backend.shared is False


def test_two_are_two_stores() -> None:
    one, other = MemoryBackend(), MemoryBackend()
    one.write([start("job")])
    assert other.read(["job"]) == {}


def test_records_that_nobody_asks_for_again_do_not_pile_up() -> None:
    clock = FakeClock()
    backend = MemoryBackend(clock)
    backend.write([start(f"job-{number}", ttl=10) for number in range(1_000)])
    clock.advance(SWEEP_SECONDS)
    backend.write([start("other")])
    assert len(backend._entries) == 1


def test_a_closed_one_has_forgotten_everything_and_notifies_nobody() -> None:
    backend, observer = MemoryBackend(), RecordingObserver()
    backend.subscribe(observer.notify_all, lambda: None).add(["job"])
    backend.write([start("job")])
    backend.close()
    assert backend.read(["job"]) == {}
    backend.write([start("job", token="other")])
    assert len(observer.records) == 1


def test_listeners_are_notified_before_the_write_returns() -> None:
    backend, observer = MemoryBackend(), RecordingObserver()
    backend.subscribe(observer.notify_all, lambda: None).add(["job"])
    for seq in range(1, 5):
        backend.write([start("job") if seq == 1 else update("job", seq)])
        assert [progress.version.seq for progress in observer.records] == list(range(1, seq + 1))


def test_a_listener_that_fails_harms_neither_who_writes_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    backend, observer, asked = MemoryBackend(), RecordingObserver(), list[str]()

    def fail(news: object) -> None:
        raise RuntimeError("it had to")

    for on_update, heard in ((fail, fail), (observer.notify_all, asked.extend)):
        backend.subscribe(on_update, lambda: None).add(["job"])
        backend.subscribe_cancels(heard, lambda: None).add(["job"])
    assert backend.write([start("job")]) == {"job": 1}
    assert backend.request_cancel(["job"]) == {"job"}
    assert [progress.cursor for progress in observer.records] == [f"{LIFE}-1.1.1", f"{LIFE}-1.1.1c"]
    assert asked == ["job"]
    assert caplog.text.count("it had to") >= 3


def test_a_forked_child_begins_empty_even_when_the_lock_was_held_at_the_fork() -> None:
    backend = MemoryBackend()
    backend.write([start("parents")])
    with backend._lock:
        child = os.fork()
        if not child:
            os._exit(_in_the_child(backend))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert backend.read(["parents", "childs"]).keys() == {"parents"}


def _in_the_child(backend: MemoryBackend) -> int:
    try:
        backend.after_fork_in_child()
        backend.write([start("childs")])
        return 0 if backend.read(["parents", "childs"]).keys() == {"childs"} else 1
    except BaseException:  # whatever it is, a child must not run on in the tests
        return 2
