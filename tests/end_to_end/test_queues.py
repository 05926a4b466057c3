"""One page with one markup shows tasks of several queues, each through a retry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from playwright.sync_api import expect

from tests.contract.queues import Site
from tests.end_to_end.screen import OpenPage, Screen
from tests.services import server
from tests.services.ports import free_port
from tests.services.waiting import PATIENCE, wait_until

WORKERS = "tests.end_to_end.apps.queue_workers"

COMMANDS = {
    "celery": ["celery", "-A", f"{WORKERS}:celery", "worker", "--pool", "solo"],
    "dramatiq": ["dramatiq", f"{WORKERS}:broker", "--processes", "1", "--threads", "1"],
    "rq": ["rq.cli", "worker", "--worker-class", "progresskit_rq.SimpleWorker", "--with-scheduler", "--url"],
}
"""The modules that run workers, and their arguments; the last one is followed by the address of the Redis."""

LIFE = [
    ("pending", 1, False),
    ("running", 1, False),
    ("retrying", 1, True),
    ("running", 2, False),
    ("succeeded", 2, False),
]
"""What a page sees of each task: the state, the attempt, and whether the time of the next try is known."""


class Task(NamedTuple):
    """A task, by the name of its queue: the place of its bar on the page, and the folder with its gates."""

    queue: str
    place: int
    folder: Path

    def let(self, attempt: int) -> None:
        """Let an attempt go on."""
        (self.folder / f"go-{attempt}").touch()


class Stage(NamedTuple):
    """The site, and how a worker of each queue is started."""

    url: str
    start_workers: Callable[[], None]


@pytest.fixture
def stage(needs: Callable[[str], None], tmp_path: Path) -> Iterator[Stage]:
    needs("redis")
    address = server("redis").fresh()
    environment = {"QUEUES_ADDRESS": address}
    with closing(Site(tmp_path, server("redis").fresh())) as site, ExitStack() as stack:
        port = free_port()
        command = ["-m", "flask", "--app", "tests.end_to_end.apps.queues_site", "run", "--port", str(port)]
        process = stack.enter_context(site.run(command, environment))
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/jobs/", trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(answers, "the site answers", PATIENCE)
        except TimeoutError as error:
            raise AssertionError(process.output()) from error

        def start_workers() -> None:
            for name, arguments in COMMANDS.items():
                more = [address] if name == "rq" else []
                stack.enter_context(site.run(["-m", *arguments, *more], environment))

        yield Stage(url, start_workers)


def life(screen: Screen, task: Task) -> list[tuple[str, int, bool]]:
    """Return what the page has seen of a task, each once where they follow each other."""
    seen: list[tuple[str, int, bool]] = []
    for event in screen.events("progress", task.place):
        job = event["job"]
        step = (event["state"], job["attempt"], job["next_retry_at"] is not None)
        if seen[-1:] != [step]:
            seen.append(step)
    return seen


def test_one_page_shows_tasks_of_three_queues_through_a_retry(
    stage: Stage, open_page: OpenPage, tmp_path: Path
) -> None:
    tasks = [Task(queue, place, tmp_path / queue) for place, queue in enumerate(COMMANDS)]
    screen = open_page(f"{stage.url}/jobs/?" + "&".join(f"id={task.queue}-1" for task in tasks))
    screen.page.evaluate("window.notReloaded = true")

    def await_all(state: str, text: str) -> None:
        for task in tasks:
            screen.expect_state(state, task.place)
            expect(screen.bar(task.place)).to_contain_text(text)

    for task in tasks:
        task.folder.mkdir()
        url = f"{stage.url}/start/{task.queue}/{task.queue}-1/"
        answer = httpx.post(url, content=str(task.folder), trust_env=False)
        assert answer.status_code == 202
    await_all("pending", "Waiting")
    stage.start_workers()
    await_all("running", "2 of 4")
    for task in tasks:
        task.let(1)
    await_all("running", "attempt 2")
    for task in tasks:
        task.let(2)
    await_all("succeeded", "4 of 4")

    assert {task.queue: life(screen, task) for task in tasks} == {task.queue: LIFE for task in tasks}
    for task in tasks:
        texts = {event["text"] for event in screen.events("progress", task.place) if event["state"] == "retrying"}
        assert all(re.fullmatch(r"Retrying in \d+s\s· 2 of 4\s· attempt 1", text) for text in texts), texts
    assert screen.page.evaluate("window.notReloaded")
    assert screen.errors == []
