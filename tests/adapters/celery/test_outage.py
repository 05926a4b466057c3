"""A store that is killed, or that hangs, is told as BackendUnavailable, and found again by the same object."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NoReturn

import pytest

from progresskit.errors import BackendUnavailable
from progresskit.progress import Progress
from progresskit.testing import start, update
from progresskit_celery.state import bounded_executor, mirrors, on_cache
from progresskit_celery.state.results import ResultsBackend
from progresskit_celery.state.server import server_of
from tests.contract.celery_apps import address, imported, results_backend
from tests.services import missing, server_class
from tests.services.server import Server
from tests.services.waiting import wait_until


@pytest.fixture(scope="module")
def memcached(missing_service: Callable[[str], NoReturn]) -> Iterator[Server]:
    """Give a server of this module's own, which its tests leave running."""
    if missing("memcached"):
        missing_service("memcached")
    with server_class("memcached")() as server:
        yield server


@pytest.fixture
def service(memcached: Server) -> Iterator[tuple[Server, ResultsBackend]]:
    """Give a server, and a backend with a fresh store on it."""
    url = address(f"cache+{memcached.fresh().replace('memcache:', 'memcached:')}")
    with closing(results_backend(url)) as backend:
        yield memcached, backend


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have backends wait less long than usual; so a call may fail at any time, on a machine that is busy."""
    for module in (mirrors, on_cache, bounded_executor):
        monkeypatch.setattr(module, "CALL_SECONDS", 0.5)


def written(backend: ResultsBackend, seq: int) -> bool:
    """Return whether the store takes a record now."""
    try:
        backend.write([update("job", seq, current=seq)])
    except BackendUnavailable:
        return False
    return True


def read(backend: ResultsBackend) -> Progress | None:
    """Return what the store tells now of the job."""
    try:
        return backend.read(["job"]).get("job")
    except BackendUnavailable:
        return None


def test_a_server_that_was_killed_is_found_again(service: tuple[Server, ResultsBackend]) -> None:
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
    service: tuple[Server, ResultsBackend],
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
def test_a_server_that_hangs_holds_no_call_up_and_is_found_again(service: tuple[Server, ResultsBackend]) -> None:
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


class Request:
    """Stands where the request of a task does."""

    id = "job"
    group = parent_id = None
    children: tuple[Any, ...] = ()


def is_mirrored(mirror: Any, current: int) -> bool:
    """Return whether the state of the task is written now."""
    try:
        mirror.mirror(Request(), {"current": current, "total": 3})
    except Exception:
        return False
    return True


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", ["redis", "postgresql"])
def test_the_state_of_a_task_is_not_waited_for_while_its_server_hangs_and_is_written_again(
    name: str, missing_service: Callable[[str], NoReturn]
) -> None:
    if missing(name):
        missing_service(name)
    with server_class(name)() as server:
        app = imported(address(server.fresh() if name == "redis" else f"db+{server.fresh()}"))
        found = server_of(app)
        assert found is not None
        wait_until(lambda: is_mirrored(found.mirror, 1), "it is written")
        server.pause()
        try:
            assert not is_mirrored(found.mirror, 2)
        finally:
            server.resume()
        wait_until(lambda: is_mirrored(found.mirror, 3), "it is written again")
        wait_until(lambda: app.AsyncResult("job").info["current"] == 3, "it is read")
        found.mirror.close()


def test_the_answer_to_a_call_that_a_signal_broke_off_is_taken_for_no_other(
    service: tuple[Server, ResultsBackend],
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
