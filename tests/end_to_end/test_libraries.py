"""Libraries that know nothing of progresskit, in the tasks of a real worker: their progress moves on the page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from progresskit import State
from tests.adapters.celery.worker import start_worker
from tests.end_to_end.hub import hub
from tests.end_to_end.screen import OpenPage
from tests.end_to_end.servers import APPS, Servers, Site, running
from tests.services.s3 import S3Server
from tests.services.waiting import PATIENCE

FILES = {f"part-{number}.bin": os.urandom(1_000_000) for number in range(4)}
SIZE = 1_000_000


class Gates:
    """Holds what asks to pass, until the test has opened the gate of that name."""

    def __init__(self) -> None:
        self._open = {name: Event() for name in (*FILES, "upload", "download")}

    def pass_gate(self, name: str) -> None:
        assert self._open[name].wait(PATIENCE)

    def open(self, *names: str) -> None:
        for name in names:
            self._open[name].set()


@pytest.fixture(scope="module")
def site(servers: Servers) -> Iterator[Site]:
    site = Site(servers, "flask")
    env = {"PROGRESSKIT_LEASE": "30", "SERVERS_FOLDER": str(servers.folder)}
    with running(site):
        worker = start_worker(servers.folder, app=f"{APPS}.library_tasks", concurrency=3, env=env)
        yield site
        worker.kill()


def test_bars_and_callbacks_of_libraries_move_on_one_page(site: Site, servers: Servers, open_page: OpenPage) -> None:
    gates = Gates()
    path = servers.folder / "upload"
    path.write_bytes(os.urandom(SIZE))
    with S3Server(gates.pass_gate) as s3, hub(FILES, gates.pass_gate) as hub_url:
        s3.refuse = s3.cut_off = 1
        frame = site.start_task("apply_frame", 10)
        model = site.start_task("download_model", hub_url)
        copy = site.start_task("copy_object", s3.url, str(path))
        screen = open_page(site.page(frame, model, copy))

        servers.open_gate(frame, 5)
        gates.open("part-0.bin", "part-1.bin")
        screen.expect_percent(60, 0)  # tqdm counts a row of pandas before the function is called
        servers.await_job(model, "half of its bytes", lambda record: record.current >= SIZE * 2)
        screen.expect_percent(50, 1)  # two of four files: huggingface_hub counts by chunks of 10 MB

        gates.open("upload")
        servers.await_job(copy, "the middle of its download", lambda record: record.step == 2 and record.current > 0)
        servers.open_gate(frame, 10)
        gates.open("download", "part-2.bin", "part-3.bin")
        for bar in range(3):
            screen.expect_state("succeeded", bar)
            screen.expect_percent(100, bar)

    assert path.with_suffix(".back").read_bytes() == path.read_bytes()
    assert (s3.refuse, s3.cut_off) == (0, 0)
    ends: dict[str, Any] = {id: servers.record(id) for id in (frame, model, copy)}
    assert {end.state for end in ends.values()} == {State.SUCCEEDED}
    assert [(end.current, end.total) for end in ends.values()] == [(10, 10), (4 * SIZE, 4 * SIZE), (SIZE, SIZE)]
    assert [step.state for step in ends[copy].steps] == ["succeeded", "succeeded"]
    counts = [[event["job"]["current"] for event in screen.events("progress", bar)] for bar in range(3)]
    for bar in range(2):  # the percentage of a download falls while huggingface_hub learns of more files
        assert counts[bar] == sorted(counts[bar])
    assert max(counts[2]) == SIZE, "what was sent twice counts once"
    assert not screen.errors
