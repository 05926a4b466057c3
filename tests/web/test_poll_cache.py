"""Those who poll often are answered from memory, which is never behind for longer than is promised."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from progresskit import Kit
from progresskit.abc import Backend
from progresskit.errors import BackendUnavailable
from progresskit.memory import MemoryBackend
from progresskit.web import Request, Response, Server, Surface, poll_cache
from progresskit.web.poll_cache import PollCache
from tests.contract.clients import eventually


class Counted(MemoryBackend):
    """Pushes, and counts what is asked of it; it passes as one that other processes share."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.is_away = self.is_deaf = False

    def read(self, ids: Any) -> Any:
        watches = threading.current_thread().name == "progresskit-hub"
        if self.is_away or (watches and self.is_deaf):  # what watches looks each half second itself
            raise BackendUnavailable("no route to host")
        if not watches:
            self.reads += ids
        return super().read(ids)

    def subscribe(self, on_update: Callable[..., None], on_gap: Callable[[], None]) -> Any:
        return super().subscribe(lambda records: None if self.is_deaf else on_update(records), on_gap)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what was polled in memory, however long a busy machine takes to poll again."""
    for name in ("KEEP_SECONDS", "SURE_SECONDS"):
        monkeypatch.setattr(poll_cache, name, 600.0)


@pytest.fixture
def backend() -> Counted:
    return Counted()


@pytest.fixture
def listens() -> Callable[[], bool]:
    """Give a condition: a thread that the test has begun listens for the jobs that are polled."""
    before = set(threading.enumerate())
    return lambda: any(thread.name == "progresskit-polled" for thread in set(threading.enumerate()) - before)


@pytest.fixture
def kit(backend: Counted, listens: Callable[[], bool]) -> Iterator[Kit]:
    kit = Kit(backend=backend, allow_anonymous=True, flush_seconds=30)
    yield kit
    kit.close()
    assert eventually(lambda: not listens())


@pytest.fixture
def surface(kit: Kit) -> Surface:
    return Surface(kit)


def get(surface: Surface, id: str = "a", **headers: str) -> Response:
    return surface.answer(Request("GET", f"{id}/", "", headers, Server.THREADS))


def current(surface: Surface) -> int:
    body = get(surface).body
    assert isinstance(body, bytes)
    return int(body.partition(b'"current":')[2].partition(b",")[0])


def in_memory(surface: Surface, backend: Counted) -> Callable[[], bool]:
    """Return a condition: the next poll asked for nothing."""

    def condition() -> bool:
        before = len(backend.reads)
        return get(surface).status == 200 and len(backend.reads) == before

    return condition


def test_the_first_poll_asks_the_backend_and_watches_nothing(
    kit: Kit, surface: Surface, backend: Counted, listens: Callable[[], bool]
) -> None:
    with kit.observe("a"):
        kit.flush()
        assert get(surface).status == 200
    assert backend.reads == ["a"]
    assert not listens()


def test_who_polls_often_is_answered_from_memory_and_sent_each_change(
    kit: Kit, surface: Surface, backend: Counted
) -> None:
    with kit.observe("a", total=3) as observer:
        kit.flush()
        assert eventually(in_memory(surface, backend))
        etag = get(surface).headers["ETag"]
        before = len(backend.reads)
        assert {get(surface, **{"if-none-match": etag}).status for _ in range(20)} == {304}
        assert len(backend.reads) == before
        observer.advance()
        assert eventually(lambda: current(surface) == 1)
        assert eventually(in_memory(surface, backend))
    assert eventually(lambda: b'"succeeded"' in bytes(get(surface).body))  # type: ignore[arg-type]


def test_the_text_of_a_record_is_made_once(kit: Kit, surface: Surface, backend: Counted) -> None:
    with kit.observe("a"):
        kit.flush()
        assert eventually(in_memory(surface, backend))
        kept = surface._polls
        assert kept is not None
        texts = {id(kept.fresh(["a"])["a"].text(False, False)) for _ in range(3)}
    assert len(texts) == 1


def test_a_cancel_is_seen_by_the_next_poll(kit: Kit, surface: Surface, backend: Counted) -> None:
    kit.configure(backend=backend, authorize=lambda request, id, right: True)
    with kit.observe("a"):
        kit.flush()
        assert eventually(in_memory(surface, backend))
        backend.is_deaf = True  # what is pushed comes too late
        request = Request("POST", "a/cancel/", "", {"x-progresskit": "1"}, Server.THREADS)
        assert surface.answer(request).status == 202
        assert b'"cancel_requested":true' in bytes(get(surface).body)  # type: ignore[arg-type]


def test_what_is_not_reported_is_asked_for_each_time(kit: Kit, surface: Surface, backend: Counted) -> None:
    assert [get(surface).status for _ in range(5)] == [404] * 5
    assert backend.reads == ["a"] * 5
    with kit.observe("a"):
        kit.flush()
        assert get(surface).status == 200


def test_what_was_pushed_in_vain_is_noticed_after_some_seconds(
    kit: Kit, surface: Surface, backend: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kit.observe("a", total=3) as observer:
        kit.flush()
        assert eventually(in_memory(surface, backend))
        backend.is_deaf = True
        observer.advance()
        kit.flush()
        assert current(surface) == 0  # the connection is cut, and nobody knows yet
        monkeypatch.setattr(poll_cache, "SURE_SECONDS", 0.0)
        assert current(surface) == 1
        backend.is_away = True
        assert get(surface).status == 503


def test_a_job_that_is_polled_no_more_is_watched_no_more(
    kit: Kit, surface: Surface, backend: Counted, listens: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll_cache, "SWEEP_SECONDS", 0.01)
    with kit.observe("a"):
        kit.flush()
        assert eventually(in_memory(surface, backend))
        assert listens()
        monkeypatch.setattr(poll_cache, "KEEP_SECONDS", 0.0)
        assert eventually(lambda: not listens())
        assert eventually(lambda: not kit.hub._watched)
        monkeypatch.undo()
        assert eventually(in_memory(surface, backend))


def test_closing_the_kit_ends_it_and_the_next_poll_begins_again(
    kit: Kit, surface: Surface, backend: Counted, listens: Callable[[], bool]
) -> None:
    with kit.observe("a"):
        kit.flush()
        assert eventually(in_memory(surface, backend))
    kit.close()
    assert eventually(lambda: not listens())
    before = len(backend.reads)
    assert get(surface).status == 200
    assert len(backend.reads) == before + 1


def test_a_kit_that_is_reconfigured_shows_nothing_of_before(kit: Kit, surface: Surface, backend: Counted) -> None:
    with kit.observe("a"):
        kit.flush()
        assert eventually(in_memory(surface, backend))
    kit.configure(backend=Counted(), allow_anonymous=True)
    assert get(surface).status == 404


def test_a_forked_child_asks_for_itself(kit: Kit, surface: Surface, backend: Counted) -> None:
    with kit.observe("a"):
        kit.flush()
        assert eventually(in_memory(surface, backend))
        assert surface._polls is not None
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                backend.reads = []
                get(surface)
                os.write(writer, b"asked" if backend.reads == ["a"] else b"kept")
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as answer:
            assert answer.read() == b"asked"
        os.waitpid(pid, 0)


def test_at_most_the_configured_number_of_jobs_is_kept(
    kit: Kit, surface: Surface, backend: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll_cache, "MOST", 3)
    for number in range(9):
        with kit.observe(f"job-{number}"):
            pass
    kit.flush()
    for number in (*range(9), *range(9)):
        get(surface, f"job-{number}")
    kept = surface._polls
    assert kept is not None
    assert {*kept._kept} == {"job-0", "job-1", "job-2"}
    assert eventually(lambda: set(kit.hub._watched) == {"job-0", "job-1", "job-2"})
    monkeypatch.setattr(poll_cache, "KEEP_SECONDS", 0.0)  # these are polled no more, and make room
    get(surface, "job-7")
    monkeypatch.setattr(poll_cache, "KEEP_SECONDS", 600.0)
    get(surface, "job-8")
    assert {*kept._kept} == {"job-8"}


def test_a_read_that_ends_late_does_not_replace_what_was_shown(kit: Kit, backend: Counted) -> None:
    kept = PollCache(kit)
    with kit.observe("a", total=3) as observer:
        kit.flush()
        older = backend.read(["a"])
        observer.advance()
        kit.flush()
        kit.cancel("a")
        newer = backend.read(["a"])
        for found in (older, newer, older):
            kept.keep(["a"], found)
        shown = kept.seen(["a"])["a"]
        assert (shown.current, shown.cancel_requested) == (1, True)


def test_many_threads_poll_at_once(kit: Kit, surface: Surface) -> None:
    seen: list[list[int]] = []

    def poll() -> None:
        mine: list[int] = []
        seen.append(mine)
        while not mine or mine[-1] < 200:
            mine.append(current(surface))

    with kit.observe("a", total=200) as observer:
        kit.flush()
        pollers = [threading.Thread(target=poll) for _ in range(4)]
        for thread in pollers:
            thread.start()
        for _ in range(200):
            observer.advance()
            kit.flush()
        for thread in pollers:
            thread.join(60)
            assert not thread.is_alive()
    assert len(seen) == 4
    assert all(mine == sorted(mine) for mine in seen)


# A backend that is only read.


def polled(tmp_path: Path) -> Kit:
    return Kit(f"sqlite:///{tmp_path}/progress.db", allow_anonymous=True, flush_seconds=30)


def count_reads(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    reads: list[Any] = []
    read = backend.read

    def counted(ids: Any) -> Any:
        reads.append(ids)
        return read(ids)

    monkeypatch.setattr(backend, "read", counted)
    return reads


def test_what_is_only_read_is_read_for_each_poll_so_that_no_poll_is_behind_a_stream(
    tmp_path: Path, listens: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = polled(tmp_path)
    reads = count_reads(kit.backend, monkeypatch)
    surface = Surface(kit)
    with kit.observe("a", total=3) as observer:
        kit.flush()
        reads.clear()
        assert [current(surface) for _ in range(50)] == [0] * 50
        assert len(reads) == 50
        observer.advance()
        kit.flush()
        assert current(surface) == 1, "at once, as a stream shows it"
        assert not kit.hub._watched
    kit.close()
    assert not listens()
