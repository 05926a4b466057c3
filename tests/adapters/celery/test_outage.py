"""A result backend that is killed, or that hangs, is told as BackendUnavailable, and found again by the same object."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NoReturn

import pytest

from progresskit.abc import SupportsCancelPush, SupportsPush
from progresskit.errors import BackendUnavailable
from progresskit.progress import Progress
from progresskit.testing import RecordingObserver, start, update
from progresskit_celery.state import CeleryBackend, bounded_executor, on_cache, on_redis
from tests.contract.celery_apps import address, imported
from tests.services import missing, server_class
from tests.services.postgresql import USER, PostgreSQL
from tests.services.server import Server
from tests.services.waiting import wait_until

RESULT_BACKENDS: dict[str, Callable[[str], str]] = {
    "redis": str,
    "postgresql": "db+{}".format,
    "memcached": lambda url: f"cache+{url.replace('memcache:', 'memcached:')}",
}
"""How Celery's settings name a store, given its address, by the server that it is on."""


@pytest.fixture(params=RESULT_BACKENDS, scope="module")
def harmed(request: pytest.FixtureRequest, missing_service: Callable[[str], NoReturn]) -> Iterator[tuple[str, Server]]:
    """Give the name of a server, and one of this module's own, which its tests leave running."""
    if missing(request.param):
        missing_service(request.param)
    with server_class(request.param)() as server:
        yield request.param, server


@pytest.fixture
def service(harmed: tuple[str, Server]) -> Iterator[tuple[Server, CeleryBackend]]:
    """Give a server, and a backend with a fresh store on it."""
    name, server = harmed
    with closing(CeleryBackend(imported(address(RESULT_BACKENDS[name](server.fresh()))))) as backend:
        yield server, backend


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have backends wait less long than usual; so a call may fail at any time, on a machine that is busy."""
    for module in (on_redis, on_cache, bounded_executor):
        monkeypatch.setattr(module, "CALL_SECONDS", 0.5)


def written(backend: CeleryBackend, seq: int) -> bool:
    """Return whether the store takes a record now."""
    try:
        backend.write([update("job", seq, current=seq)])
    except BackendUnavailable:
        return False
    return True


def read(backend: CeleryBackend) -> Progress | None:
    """Return what the store tells now of the job."""
    try:
        return backend.read(["job"]).get("job")
    except BackendUnavailable:
        return None


def test_a_server_that_was_killed_is_found_again(service: tuple[Server, CeleryBackend]) -> None:
    server, backend = service
    backend.write([start("job", current=1)])
    for seq in (2, 4, 6):
        server.kill()
        for act in (lambda seq=seq: backend.write([update("job", seq)]), lambda: backend.read(["job"])):
            with pytest.raises(BackendUnavailable):
                act()
        server.start()
        wait_until(lambda seq=seq: written(backend, seq + 1), "it is written again")  # type: ignore[misc]
        assert backend.read(["job"])["job"].current == seq + 1


def test_a_server_that_is_away_from_the_start_holds_no_call_up_and_is_found_when_it_comes(
    service: tuple[Server, CeleryBackend],
) -> None:
    server, backend = service
    server.kill()
    for act in (lambda: backend.write([start("job")]), lambda: backend.read(["job"])):
        with pytest.raises(BackendUnavailable):
            act()
    server.start()
    wait_until(lambda: written(backend, 2), "it is written")
    assert backend.read(["job"])["job"].current == 2


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_holds_no_call_up_and_is_found_again(service: tuple[Server, CeleryBackend]) -> None:
    server, backend = service
    wait_until(lambda: written(backend, 1), "it is written")
    server.pause()
    try:
        for _ in range(3):
            for act in (lambda: backend.write([update("job", 2)]), lambda: backend.cancel_requested(["job"])):
                with pytest.raises(BackendUnavailable):
                    act()
    finally:
        server.resume()
    wait_until(lambda: written(backend, 3), "it is written again")
    found = wait_until(lambda: read(backend), "it is read again")
    assert found is not None
    assert found.current == 3


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("harmed", ["postgresql"], indirect=True)
def test_a_server_that_hangs_from_the_start_does_not_hold_up_closing_and_keeps_no_connection(
    service: tuple[Server, CeleryBackend],
) -> None:
    server, backend = service
    assert isinstance(server, PostgreSQL)
    others = {*threading.enumerate()}  # what other tests have left is none of this one's
    server.pause()
    try:
        for _ in range(2):
            with pytest.raises(BackendUnavailable):
                backend.read(["job"])
        backend.close()
    finally:
        server.resume()
    wait_until(lambda: not any(map(is_executor_thread, {*threading.enumerate()} - others)), "those who waited are gone")
    with closing(server.connect()) as connection:
        query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'"
        wait_until(lambda: connection.execute(query).fetchone() == (0,), "so are their connections")


def is_executor_thread(thread: threading.Thread) -> bool:
    return thread.name == "progresskit-celery-results"


@pytest.mark.parametrize("harmed", ["redis"], indirect=True)
def test_those_who_listen_are_notified_that_they_have_missed_something_and_of_all_after_it(
    service: tuple[Server, CeleryBackend],
) -> None:
    server, backend = service
    assert isinstance(backend, SupportsPush)
    assert isinstance(backend, SupportsCancelPush)
    observer, asked, lost = RecordingObserver(), list[str](), list[str]()
    listeners = [
        backend.subscribe(observer.notify_all, lambda: lost.append("record")),
        backend.subscribe_cancels(lambda ids: asked.extend(ids), lambda: lost.append("cancel")),
    ]
    for listener in listeners:
        listener.add(["job"])
    backend.write([start("job")])
    observer.wait_for(lambda progress: progress.version.seq == 1)
    assert lost == []
    for seq in (2, 4):
        lost.clear()
        server.kill()
        with pytest.raises(BackendUnavailable):
            listeners[0].add([f"other-{seq}"])  # which cannot be confirmed now, and is once the server is there
        server.start()
        wait_until(lambda: {"record", "cancel"} <= set(lost), "both were told")
        wait_until(lambda seq=seq: written(backend, seq + 1), "it is written again")  # type: ignore[misc]
        backend.write([start(f"other-{seq}")])
        observer.wait_for(lambda progress, seq=seq: progress.current == seq + 1)  # type: ignore[misc]
        observer.wait_for(lambda progress, seq=seq: progress.id == f"other-{seq}")  # type: ignore[misc]
        asked.clear()
        backend.request_cancel(["job"])
        wait_until(lambda: asked == ["job"], "the request is told")


def test_the_answer_to_a_call_that_a_signal_broke_off_is_taken_for_no_other(
    service: tuple[Server, CeleryBackend],
) -> None:
    class Interruption(BaseException):
        pass

    def interrupt(*_: object) -> NoReturn:
        raise Interruption

    server, backend = service
    backend.write([start("job", current=1), start("other", current=2)])
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(3):
            server.pause()
            try:
                with pytest.raises(Interruption):
                    signal.setitimer(signal.ITIMER_REAL, 0.1)
                    backend.read(["job"])
            finally:
                server.resume()
            assert {id: record.current for id, record in backend.read(["other"]).items()} == {"other": 2}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
