"""uWSGI, whose workers are forked without Python's hooks from a master in which the kit runs already."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from progresskit import Kit, State
from tests.end_to_end.visitors import ONCE
from tests.services import server
from tests.services.ports import free_port
from tests.services.process import Process, tail
from tests.services.waiting import wait_until

UWSGI = Path(sys.executable).parent / "uwsgi"

OPTIONS = {
    "as-it-is": [],
    "enable-threads": ["--enable-threads"],
    "threads": ["--threads", "3"],
    "with-hooks": ["--enable-threads", "--py-call-osafterfork"],
    "lazy-apps": ["--enable-threads", "--lazy-apps"],
}

WORKERS = 2

SECONDS = 90
"""How long it may take until each worker has had a job; uWSGI waits before it starts a third one soon after two."""


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, needs: Callable[[str], None], tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/progress.db"
    needs("redis")
    return server("redis").fresh()


@pytest.fixture(params=OPTIONS)
def site(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """Give a client of a site on uWSGI."""
    assert UWSGI.exists(), "pyuwsgi is not installed: it comes with the extra `test`"
    port = free_port()
    command = [str(UWSGI), "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", str(WORKERS), "--need-app"]
    command += ["--die-on-term", "--module", "tests.end_to_end.apps.uwsgi_site:app", *OPTIONS[request.param]]
    environment = {**os.environ, "URL": url, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = Process(command, tmp_path, env=environment)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False, limits=ONCE) as client:
        try:
            wait_until(lambda: process.ended or answers(client), f"uWSGI answers: {tail(tmp_path / 'server.log')}")
            yield client
        finally:
            process.kill()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/progress/masters/").status_code == 200
    except httpx.TransportError:
        return False


def test_jobs_of_forked_workers_are_stored_and_shown(site: httpx.Client, url: str) -> None:
    jobs: list[str] = []
    first = work_in_each_worker(site, jobs)
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    assert not first & work_in_each_worker(site, jobs), "those that took their places"
    with closing(Kit(url)) as kit:
        assert {record.state for record in kit.get_many(jobs).values()} == {State.SUCCEEDED}
        assert len(kit.get_many(jobs)) == len(jobs)
    for id in jobs[-2:]:
        assert site.get(f"/progress/{id}/").json()["percent"] == 100
    assert site.get("/progress/masters/").json()["state"] == "running"


def work_in_each_worker(site: httpx.Client, jobs: list[str]) -> set[int]:
    """Have jobs done until each worker has had one; return the workers' process ids."""
    pids: set[int] = set()
    deadline = time.monotonic() + SECONDS

    def work(id: str) -> dict[str, object]:
        answer = ask(lambda: site.post(f"/jobs/{id}"))
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    with ThreadPoolExecutor(4) as visitors:
        while len(pids) < WORKERS:
            ids = [f"job-{len(jobs) + number}" for number in range(4)]
            jobs += ids
            assert time.monotonic() < deadline, "there is one worker only"
            for answer in visitors.map(work, ids):
                assert answer["watched"] == "succeeded"
                assert isinstance(answer["took"], float)
                assert answer["took"] < 20, "it has waited for a thread of the master's"
                pids.add(int(str(answer["pid"])))
    return pids


def ask(request: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask until there is an answer: a worker that was killed may have had the connection."""
    for _ in range(10):
        try:
            return request()
        except httpx.TransportError:
            continue
    return request()


@pytest.mark.parametrize("site", ["threads"], indirect=True)
def test_a_stream_of_a_forked_worker_shows_each_change(site: httpx.Client, tmp_path: Path) -> None:
    events = []
    with ThreadPoolExecutor(1) as visitors, site.stream("GET", "/progress/streamed/events/") as stream:
        working = visitors.submit(site.post, "/jobs/streamed")
        for line in stream.iter_lines():
            if line.startswith("data:"):
                events.append(json.loads(line.removeprefix("data:")))
                (tmp_path / "seen").touch()
        assert working.result().status_code == 200
    assert events[-1]["state"] == "succeeded"
    assert len(events) > 1
