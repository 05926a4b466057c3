"""What becomes of tasks and of those who work on them, as it is seen on the pages of every site at once."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from threading import Event, Thread
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import expect

from progresskit import ProgressObserver, State
from tests.adapters.celery.worker import Worker
from tests.end_to_end.screen import OpenPage, Screen
from tests.end_to_end.servers import KINDS, POOL, Servers, Site, kill, running
from tests.end_to_end.visitors import ONCE
from tests.services.waiting import wait_until

LEASE = 6.0
"""Long enough that a worker which a busy machine lets wait for seconds is heard of in time."""

SHOWN_SECONDS = LEASE + 1
"""So long after its death, at most, a worker's job shows as stalled."""

POLL_SECONDS, TICK_SECONDS = 0.1, 0.1


@pytest.fixture(scope="module")
def sites(servers: Servers) -> Iterator[list[Site]]:
    """Give a site of each kind; streams last, and have room beside those of clients not noticed to be gone."""
    sites = [Site(servers, kind, MAX_STREAMS=20, STREAM_SECONDS=600) for kind in KINDS]
    with running(*sites):
        yield sites


class Seen(NamedTuple):
    """An answer, or an event of a stream, when it was there, and when it was asked for."""

    time: float
    status: int
    record: dict[str, Any] | None
    asked: float = 0


class Watcher(Thread):
    """Reads along, and keeps what it reads."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.seen: list[Seen] = []

    def first_stalled(self, id: str) -> Seen | None:
        return next((one for one in self.seen if one.record and one.record["id"] == id and one.record["stalled"]), None)


class StreamWatcher(Watcher):
    """Reads a stream of many jobs, for as long as there is a server."""

    def run(self) -> None:
        with suppress(httpx.TransportError), httpx.stream("GET", self.url, timeout=60) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    self.seen.append(Seen(time.time(), response.status_code, json.loads(line[6:])["job"]))


class PollWatcher(Watcher):
    """Asks for one job again and again, with the ETag of what it knows, until it is stopped."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.stopped = Event()

    def run(self) -> None:
        etag = ""
        with httpx.Client(timeout=60, limits=ONCE) as client:
            while not self.stopped.wait(POLL_SECONDS):
                asked = time.time()
                response = client.get(self.url, headers={"If-None-Match": etag})
                record = response.json() if response.status_code == 200 else None
                self.seen.append(Seen(time.time(), response.status_code, record, asked))
                etag = response.headers["ETag"]

    def statuses(self, since: float = 0) -> list[int]:
        return [one.status for one in self.seen if one.time >= since]


class Ticker(Thread):
    """Tells what time it is, as a job that is watched beside others: what comes after a tick was read after it."""

    def __init__(self, job: ProgressObserver) -> None:
        super().__init__(daemon=True)
        self._job = job
        self.stopped = Event()

    def run(self) -> None:
        while not self.stopped.wait(TICK_SECONDS):
            self._job.set_progress(time.time())


def heard_at(servers: Servers, id: str) -> float:
    """Return when the store heard of a job last, by the clock that judges its lease."""
    with closing(sqlite3.connect(servers.folder / "progress.db")) as database:
        (time,) = database.execute("SELECT heard_at FROM progresskit_jobs WHERE id = ?", (id,)).fetchone()
        return float(time)


@pytest.mark.timing
def test_a_killed_worker_shows_as_stalled_one_lease_later(
    servers: Servers, sites: list[Site], open_page: OpenPage
) -> None:
    """
    The lease runs from when the store heard of the job last: stalled shows not before one lease after that.

    A busy job was heard of 0.1 s before its worker died, a quiet one up to a heartbeat (lease / 3) before. For both it
    shows at most one lease + 1 s after the kill: to a client that reads a stream, to one that polls with the ETag, and
    in the event of the bar on the page. How long it then takes to get there is the machine's affair. So an answer
    counts by when it was asked for, and what is pushed by the ticks of a third job that come with it.
    """
    worker = servers.start_worker(name="killed", lease=LEASE)
    streams: list[StreamWatcher] = []
    polls: list[PollWatcher] = []
    with ExitStack() as stack:
        stack.callback(worker.kill)
        busy, quiet = (sites[0].start_task(task) for task in ("busy", "quiet"))
        ticking, ticks = stack.enter_context(servers.job(1))
        ticker = Ticker(ticks)
        stack.callback(ticker.join)
        stack.callback(ticker.stopped.set)
        ticker.start()
        servers.await_step(quiet, 3)
        began = servers.await_job(busy, "its start", lambda record: record.current > 0)
        screens = [open_page(site.page(busy, quiet, ticking)) for site in sites]
        for site in sites:
            keys = site.keys(busy, quiet, ticking)
            streams.append(StreamWatcher(f"{site.url}/progress/events/?" + "&".join(f"key={key}" for key in keys)))
            polls.append(PollWatcher(f"{site.url}/progress/{keys[1]}/"))
            stack.callback(polls[-1].stopped.set)
        for watcher in (*streams, *polls):
            watcher.start()
        for screen in screens:
            for index in range(2):
                screen.expect_state("running", index)
        reported = servers.record(quiet)
        silent = time.time()
        wait_until(lambda: time.time() > silent + LEASE + 0.5, "a silence longer than the lease")
        assert not any(watcher.first_stalled(id) for watcher in (*streams, *polls) for id in (busy, quiet))
        assert servers.record(quiet) == reported
        last = servers.record(busy).current
        assert last > began.current

        servers.await_job(busy, "another step", lambda record: record.current > last)
        worker.kill()
        killed = time.time()  # and not before: however late the signal was sent
        late = killed + SHOWN_SECONDS
        for screen in screens:
            for index in range(2):
                screen.expect_state("stalled", index)
        wait_until(lambda: all(ticked(seen_by(stream), ticking, late) for stream in streams), "ticks on all streams")
        wait_until(lambda: all(ticked(shown_on(screen), ticking, late) for screen in screens), "ticks on all pages")
        wait_until(lambda: all(poll.first_stalled(quiet) for poll in polls), "answers that tell it")
        wait_until(lambda: all(poll.statuses()[-1] == 304 for poll in polls), "answers after those")

    shown: dict[str, float] = {}
    for site, screen, stream, poll in zip(sites, screens, streams, polls, strict=True):
        for name, seen in (("stream", seen_by(stream)), ("page", shown_on(screen))):
            in_time = seen[: ticked(seen, ticking, late)]
            for job, id in (("busy", busy), ("quiet", quiet)):
                times = [at for at, record in in_time if record["id"] == id and record["stalled"]]
                assert times, f"{job} on the {name} of {site}: not stalled, but {in_time[-1]}"
                shown[f"{site} {job} {name}"] = times[0]
        answer = poll.first_stalled(quiet)
        assert answer is not None, site
        shown[f"{site} quiet poll"] = answer.time
        before = poll.seen[poll.seen.index(answer) - 1]
        assert before.asked <= late, f"{site}: asked {before.asked - killed:.2f} s after the kill, and not told"
        first, *rest = poll.statuses()
        assert (first, rest.count(200), set(rest)) == (200, 1, {200, 304}), site
        assert poll.statuses(killed)[0] == 304, site
    for name, at in shown.items():
        print(f"{name}: stalled {at - killed:.2f} s after the kill")
    assert killed - heard_at(servers, busy) < LEASE / 2
    assert killed - heard_at(servers, quiet) < LEASE
    for name, at in shown.items():
        heard = heard_at(servers, busy if "busy" in name else quiet)
        assert heard + LEASE <= at, (name, at - heard)


Timeline = list[tuple[float, dict[str, Any]]]
"""Records, each with the time when it was there."""


def seen_by(stream: StreamWatcher) -> Timeline:
    return [(one.time, one.record) for one in list(stream.seen) if one.record]


def shown_on(screen: Screen) -> Timeline:
    return [(event["time"], event["job"]) for event in screen.all_events("progress")]


def ticked(seen: Timeline, ticking: str, late: float) -> int:
    """
    Return where the second tick is that was made later than that, 0 where it has not come.

    All that was read together with the first of them is told before the second.
    """
    places = [place for place, (_, record) in enumerate(seen) if record["id"] == ticking and record["current"] > late]
    return places[1] if len(places) > 1 else 0


def test_a_task_whose_process_is_killed_shows_what_celery_makes_of_it(
    servers: Servers, worker: Worker, sites: list[Site], open_page: OpenPage
) -> None:
    lost, redelivered = (sites[0].start_task(task) for task in ("quiet", "redelivered"))
    for id in (lost, redelivered):
        servers.await_step(id, 3)
    screens = [open_page(site.page(lost, redelivered)) for site in sites]
    for screen in screens:
        for index in range(2):
            screen.expect_percent(30, index)

    for id in (lost, redelivered):
        (pid,) = servers.starts(id)
        assert pid in worker.children()
        kill(pid)
    wait_until(lambda: len(servers.starts(redelivered)) == 2, "another start")
    again = servers.await_job(redelivered, "the second run", lambda record: record.version.run == 2)
    assert (again.state, again.attempt) == (State.RUNNING, 1)
    servers.open_gate(redelivered, 1)

    for screen in screens:
        screen.expect_state("failed", 0)
        assert "WorkerLostError" in screen.part("detail", 0).inner_text()
        screen.expect_percent(30, 0)
        screen.expect_state("succeeded", 1)
        screen.expect_percent(100, 1)
        versions = [event["job"]["version"] for event in screen.events("progress", 1)]
        assert {version.partition(".")[0] for version in versions} == {"1", "2"}
    assert servers.celery_state(lost) == "FAILURE"
    assert len(servers.starts(lost)) == 1


def test_a_queued_task_waits_on_its_page_and_then_moves(
    servers: Servers, worker: Worker, sites: list[Site], open_page: OpenPage
) -> None:
    before = [sites[0].start_task("quiet") for _ in range(POOL)]
    for id in before:
        servers.await_step(id, 3)
    id = sites[0].start_task("steps", 4)
    screens = [open_page(site.page(id)) for site in sites]
    for screen in screens:
        screen.expect_state("pending")
        assert screen.part("label").inner_text() == "Waiting"

    servers.open_gate(id, 2)
    for one in before:
        servers.open_gate(one, 1)
    for screen in screens:
        screen.expect_percent(50)
    servers.open_gate(id, 4)
    for screen in screens:
        screen.expect_state("succeeded")
        assert screen.states() == ["pending", "running", "succeeded"]


def test_a_task_that_fails_after_a_block_that_went_well_has_failed(
    servers: Servers, worker: Worker, sites: list[Site], open_page: OpenPage
) -> None:
    screens, id = watched_from_the_start(sites, open_page, "failing_after_a_block")
    for screen in screens:
        screen.expect_state("failed")
        assert "ValueError" in screen.part("detail").inner_text()
        (event,) = screen.events("done")
        assert event["job"]["error"] == {"type": "ValueError", "message": None}
        assert "succeeded" not in screen.states()
        assert "secret" not in screen.page.content()
    error = servers.record(id).error
    assert error is not None
    assert error.message == "the secret of the servers"
    wait_until(lambda: servers.celery_state(id) == "FAILURE", "Celery's word on it")


def test_a_task_that_retries_within_a_block_is_seen_to_try_again(
    servers: Servers, worker: Worker, sites: list[Site], open_page: OpenPage
) -> None:
    screens, id = watched_from_the_start(sites, open_page, "retrying_in_a_block")
    servers.await_job(id, "attempt 2", lambda record: record.state is State.RUNNING and record.attempt == 2)
    for screen in screens:
        screen.expect_state("running")
        expect(screen.part("detail")).to_contain_text("attempt 2")  # running is what it was before, too
    servers.open_gate(id, 1)
    for screen in screens:
        screen.expect_state("succeeded")
        screen.expect_percent(100)
        states = screen.states()
        assert states[states.index("retrying") :] == ["retrying", "running", "succeeded"]
        (seen,) = (event["text"] for event in screen.events("progress") if event["state"] == "retrying")
        assert "Retrying in " in seen
        assert "attempt 1" in seen
        assert [event["job"]["attempt"] for event in screen.events("done")] == [2]


def watched_from_the_start(sites: list[Site], open_page: OpenPage, task: str) -> tuple[list[Screen], str]:
    """Open the pages of a job that is not known yet, and start it."""
    id = f"{task}-{time.time_ns()}"
    screens = [open_page(site.page(id)) for site in sites]
    for screen in screens:
        screen.expect_state("connecting")
    sites[0].start_task(task, id=id)
    return screens, id
