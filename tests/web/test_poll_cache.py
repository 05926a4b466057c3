"""Those who poll often are answered from memory, which is never behind for longer than is promised."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

import pytest

from progresskit import Kit
from progresskit.abc import Backend
from progresskit.errors import BackendUnavailable
from progresskit.hosts import Hosts
from progresskit.memory import MemoryBackend
from progresskit.testing import FakeClock
from progresskit.web import Request, Response, Server, Surface, poll_cache
from progresskit.web.calls import Blocking, run
from progresskit.web.poll_cache import PollCache
from progresskit.web.tokens import make
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
    for name in ("AGAIN_SECONDS", "KEEP_SECONDS", "SURE_SECONDS"):
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
        texts = {id(kept.known(["a"])["a"].text(False, False)) for _ in range(3)}
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
    for number in range(9):
        get(surface, f"job-{number}")
        get(surface, f"job-{number}")
    kept = surface._polls
    assert kept is not None
    assert list(kept._entries) == ["job-6", "job-7", "job-8"]
    assert eventually(lambda: set(kit.hub._watched) <= {"job-6", "job-7", "job-8"})


def test_the_jobs_that_are_kept_have_a_bound_in_bytes(
    kit: Kit, surface: Surface, backend: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll_cache, "MOST_BYTES", 20_000)
    observers = [kit.observe(f"job-{number}", meta={"filling": "x" * 6_000}) for number in range(9)]
    kit.flush()
    for number in range(9):
        get(surface, f"job-{number}")
        get(surface, f"job-{number}")
    kept = surface._polls
    assert kept is not None
    assert list(kept._entries) == ["job-6", "job-7", "job-8"]
    assert eventually(lambda: set(kit.hub._watched) <= {"job-6", "job-7", "job-8"})

    for observer in observers:  # what has become short makes room, as it is pushed
        observer.update(meta={})
    kit.flush()
    for number in range(9):
        assert eventually(lambda: len(get(surface, f"job-{number}").body) < 2_000)  # type: ignore[arg-type]  # noqa: B023
    assert len(kept._entries) == 9
    assert kept._size == sum(len(entry.rendered.text(False, False)) for entry in kept._entries.values())
    for observer in observers:
        observer.succeed()


@pytest.mark.parametrize("begun_first", ["older", "newer"])
def test_of_two_reads_at_a_time_the_newer_holds_for_both(kit: Kit, backend: Counted, begun_first: str) -> None:
    clock = FakeClock()
    kept = PollCache(kit, clock)
    with kit.observe("a", total=3) as observer:
        kit.flush()
        begun = {begun_first: kept.now()}
        clock.advance(1)
        begun[{"older": "newer", "newer": "older"}[begun_first]] = kept.now()
        older = backend.read(["a"])
        observer.advance()
        kit.flush()
        newer = backend.read(["a"])
        clock.advance(1)
        for _ in range(2):
            assert kept.keep(["a"], newer, begun["newer"])["a"].record.current == 1
            assert kept.keep(["a"], older, begun["older"])["a"].record.current == 1


def test_a_cancel_is_seen_though_another_read_ended_later(kit: Kit, backend: Counted) -> None:
    clock = FakeClock()
    kept = PollCache(kit, clock)
    with kit.observe("a"):
        kit.flush()
        early, before = kept.now(), backend.read(["a"])
        kit.cancel("a")
        clock.advance(1)
        begun, after = kept.now(), backend.read(["a"])
        clock.advance(1)
        for _ in range(2):
            kept.keep(["a"], before, early)
            assert kept.keep(["a"], after, begun)["a"].record.cancel_requested
            assert kept.keep(["a"], before, early)["a"].record.cancel_requested


def test_what_is_read_after_all_that_was_shown_holds_though_it_is_less(kit: Kit, backend: Counted) -> None:
    clock = FakeClock()
    kept = PollCache(kit, clock)
    with kit.observe("a", total=3) as observer:
        kit.flush()
        again = backend.read(["a"])  # as of a store that was emptied, and the job reported again
        observer.advance()
        kit.flush()
        kept.keep(["a"], backend.read(["a"]), kept.now())
    clock.advance(1)
    assert kept.keep(["a"], again, kept.now())["a"].record.current == 0


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
    surface._polls = PollCache(kit, FakeClock())
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


SECRET = "a secret key that is long enough"

HTML = "text/html,application/xhtml+xml"


def both_ways(surface: Surface, request: Request) -> tuple[Response | None, Response]:
    """Return the answer from memory alone, if it is given, and the one of the general way."""
    return surface._answer_poll(request), run(surface._answer(request, Blocking(surface.kit)))


@pytest.mark.parametrize("accept", [{}, {"accept": HTML}, {"accept": "*/*"}, {"accept": "application/json;q=0.1"}])
@pytest.mark.parametrize("match", ["", "*", "{etag}", "W/{etag}", '"other", {etag}', '"other"'])
@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_poll_from_memory_alone_gets_the_answer_that_all_others_get(
    kit: Kit, surface: Surface, backend: Counted, accept: dict[str, str], match: str, state: str
) -> None:
    kit.configure(backend=backend, secret_key=SECRET, allow_anonymous=True, flush_seconds=30)
    with suppress(RuntimeError), kit.observe("a", total=3) as observer:
        if state == "failed":
            raise RuntimeError("not for the public")
        observer.advance()
        kit.flush()
        compare_answers(surface, backend, accept, match)
    if state == "failed":
        compare_answers(surface, backend, accept, match)
        assert b"not for the public" not in bytes(get(surface).body)  # type: ignore[arg-type]


def compare_answers(surface: Surface, backend: Counted, accept: dict[str, str], match: str) -> None:
    assert eventually(in_memory(surface, backend))
    etag = get(surface, **accept).headers["ETag"]
    headers = accept | ({"if-none-match": match.format(etag=etag)} if match else {})
    for key in ("a", surface.sign("a"), surface.sign("a", "cancel")):
        for path in (key, f"{key}/"):
            fast, slow = both_ways(surface, Request("GET", path, "", headers, Server.THREADS))
            assert fast == slow


def test_what_needs_more_than_its_key_is_not_answered_from_memory_alone(
    kit: Kit, surface: Surface, backend: Counted
) -> None:
    kit.configure(backend=backend, secret_key=SECRET, allow_anonymous=True, flush_seconds=30)
    with kit.observe("a"), kit.observe("b"):
        kit.flush()
        assert eventually(in_memory(surface, backend))
        token = surface.sign("a")
        other = make([b"another secret key of another site"], "a", "watch", 60, time())
        expired = make([SECRET], "a", "watch", 60, time() - 61)
        requests = {
            "another method": Request("HEAD", f"{token}/", "", {}, Server.THREADS),
            "a change": Request("POST", f"{token}/", "", {}, Server.THREADS),
            "a query": Request("GET", f"{token}/", "as=html", {}, Server.THREADS),
            "a wait": Request("GET", f"{token}/", "", {"prefer": "wait=1"}, Server.THREADS),
            "another host": Request("GET", f"{token}/", "", {"host": "evil.example"}, Server.THREADS),
            "a stream": Request("GET", f"{token}/events/", "", {}, Server.THREADS),
            "a cancel": Request("GET", f"{token}/cancel/", "", {}, Server.THREADS),
            "several jobs": Request("GET", f"{surface.sign(['a', 'b'])}/", "", {}, Server.THREADS),
            "a user": Request("GET", f"{surface.sign('a', user='ann')}/", "", {}, Server.THREADS),
            "another site": Request("GET", f"{other}/", "", {}, Server.THREADS),
            "another time": Request("GET", f"{expired}/", "", {}, Server.THREADS),
            "another text": Request("GET", f"{token[:-1]}/", "", {}, Server.THREADS),
            "no job": Request("GET", "unknown/", "", {}, Server.THREADS),
            "no address": Request("GET", "a/b/c/", "", {}, Server.THREADS),
        }
        surface.own_hosts = Hosts(("site.example",))
        for what, request in requests.items():
            assert surface._answer_poll(request) is None, what
            if what in {"another host", "a user", "another site", "another time", "another text", "no job"}:
                assert surface.answer(request).status in {400, 404}, what
        assert (
            surface._answer_poll(Request("GET", f"{token}/", "", {"host": "site.example"}, Server.THREADS)) is not None
        )
        kit.configure(backend=backend, secret_key=SECRET, flush_seconds=30)
        surface.own_hosts = None
        assert surface._answer_poll(Request("GET", "a/", "", {}, Server.THREADS)) is None, "ids are not for anyone now"
        assert surface.answer(Request("GET", "a/", "", {}, Server.THREADS)).status == 404
        kit.configure(backend=backend, secret_key="another secret key of this site", flush_seconds=30)
        assert surface.answer(Request("GET", f"{token}/", "", {}, Server.THREADS)).status == 404
