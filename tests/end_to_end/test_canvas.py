"""A canvas on real Celery workers is one bar: it rises while a worker is killed, counts what fails, and stops."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from celery import Celery, chord, group
from playwright.sync_api import expect

import progresskit_celery
from progresskit import State
from progresskit.parts import Parts
from tests.adapters.celery.redis_site import settings_on
from tests.adapters.celery.worker import Worker, start_worker
from tests.end_to_end.screen import OpenPage
from tests.end_to_end.servers import APPS, POOL, Servers, Site, running
from tests.services import server
from tests.services.waiting import wait_until

REDELIVERY_SECONDS = 5
"""Longer than a fetched task waits, on a busy machine too."""

CANCEL_SECONDS = 2.0


class CanvasSite(Site):
    """A site whose tasks go by Redis."""

    def environment(self) -> dict[str, str]:
        """Return the environment of the server."""
        return super().environment() | {"PROJ_CONFIGURATION": json.dumps(self.settings_of_celery)}

    @property
    def settings_of_celery(self) -> dict[str, Any]:
        return settings_on(self.servers.url, self.servers.folder, REDELIVERY_SECONDS)


class Stage(NamedTuple):
    """A site, and a sender of canvases."""

    site: CanvasSite
    app: Celery

    def worker(self, name: str) -> Worker:
        """Return one more worker."""
        folder, url = self.site.servers.folder, self.site.servers.url
        env = {
            "PROJ_CONFIGURATION": json.dumps(self.site.settings_of_celery),
            "PROGRESSKIT_URL": url,
            "SERVERS_FOLDER": str(folder),
        }
        return start_worker(folder, app=f"{APPS}.tasks", concurrency=POOL, env=env, name=name)

    def task(self, name: str, *arguments: Any) -> Any:
        return self.app.signature(f"{APPS}.tasks.{name}", arguments)

    def send_chord(self, *header: Any) -> str:
        """Send a chord as one job, and return its id."""
        self.app.set_current()
        body = self.task("gathered")
        id: str = progresskit_celery.send(chord(header, body), id=f"canvas-{uuid4().hex[:8]}").progress_id
        return id


@pytest.fixture(scope="module")
def stage(needs: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a site with one worker of two processes."""
    needs("redis")
    servers = Servers(tmp_path_factory.mktemp("canvas"), server("redis").fresh())
    site = CanvasSite(servers, "flask")
    app = Celery("sender", set_as_current=False)
    app.conf.update(site.settings_of_celery)
    progresskit_celery.install(app, kit=servers.kit)
    stage = Stage(site, app)
    with closing(servers.kit), running(site):
        worker = stage.worker("first")
        yield stage
        worker.kill()


def test_a_chord_rises_to_the_end_though_a_worker_is_killed(stage: Stage, open_page: OpenPage) -> None:
    second = stage.worker("second")
    try:
        pieces = [stage.task("piece", 20) for _ in range(60)]
        id = stage.send_chord(*pieces[:40], group(pieces[40:]))
        screen = open_page(stage.site.page(id))
        stage.site.servers.await_job(id, "a third", lambda record: (record.percent or 0) > 33)
    finally:
        second.kill()
    screen.expect_state("succeeded")
    percents = screen.percents()

    assert stage.site.servers.record(id).parts == Parts(61, 61, 0, 0, 0)
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert [event["job"]["state"] for event in screen.events("done")] == ["succeeded"]


def test_a_chord_with_a_failing_member_ends_failed_with_the_number(stage: Stage, open_page: OpenPage) -> None:
    id = stage.send_chord(*(stage.task("piece", 2) for _ in range(59)), stage.task("failing_piece"))
    screen = open_page(stage.site.page(id))
    screen.expect_state("failed")

    expect(screen.part("detail")).to_contain_text("1 failed")
    assert stage.site.servers.record(id).parts == Parts(61, 59, 1, 1, 0)
    assert "secret" not in screen.bar().inner_text()


@pytest.mark.timing
def test_cancelling_a_canvas_on_its_page_stops_all_of_it(stage: Stage, open_page: OpenPage) -> None:
    id = stage.send_chord(*(stage.task("piece", 60_000) for _ in range(60)))
    screen = open_page(stage.site.page(id))
    stage.site.servers.await_job(
        id, "two running parts", lambda record: bool(record.parts and record.parts.running == 2)
    )
    screen.expect_state("running")
    began = time.monotonic()
    screen.part("cancel").click()
    screen.expect_state("cancelled")
    shown = time.monotonic() - began
    kit = stage.site.servers.kit
    wait_until(lambda: all(record.done for record in kit.list(part_of=id)), "all of its tasks end")
    ended = time.monotonic() - began
    print(f"cancelled {shown:.2f} s after the click, all tasks {ended:.2f} s after it")

    assert max(shown, ended) <= CANCEL_SECONDS
    assert stage.site.servers.record(id).parts == Parts(61, 0, 0, 61, 0)
    assert {record.state for record in kit.list(part_of=id)} == {State.CANCELLED}
