"""`capture=True` of integrations: the bars of a task that knows nothing of progresskit."""

from __future__ import annotations

import io
from typing import Any

import dramatiq
import procrastinate
import pytest
from celery import Celery
from dramatiq.brokers.stub import StubBroker
from huey import MemoryHuey
from procrastinate.testing import InMemoryConnector
from tqdm import tqdm

import progresskit_celery
import progresskit_dramatiq
import progresskit_huey
import progresskit_procrastinate
from progresskit import Kit, Progress
from progresskit.integrations import Integration

ROWS = 7


def work() -> None:
    for _ in tqdm(range(ROWS), file=io.StringIO()):
        pass


def celery(kit: Kit) -> str:
    app = Celery(set_as_current=False)
    app.conf.task_always_eager = True
    progresskit_celery.install(app, kit=kit, capture=True)
    return str(app.task(work, shared=False).delay().id)


def huey(kit: Kit) -> str:
    queue = MemoryHuey(immediate=True)
    progresskit_huey.install(queue, kit=kit, capture=True)
    return str(queue.task()(work)().id)


def procrastinate_(kit: Kit) -> str:
    connector = InMemoryConnector()
    app = procrastinate.App(connector=connector)
    progresskit_procrastinate.install(app, kit=kit, capture=True)
    id = app.task(work).defer()
    app.run_worker(wait=False, install_signal_handlers=False)
    return str(id)


def dramatiq_(kit: Kit) -> str:
    broker = StubBroker()
    broker.add_middleware(progresskit_dramatiq.ProgressMiddleware(kit=kit, capture=True))
    actor: Any = dramatiq.actor(broker=broker)(work)
    message = actor.send()
    worker = dramatiq.Worker(broker, worker_timeout=50)
    worker.start()
    try:
        broker.join(actor.queue_name)
        worker.join()
    finally:
        worker.stop()
    return str(message.message_id)


@pytest.mark.parametrize("execute", [celery, huey, procrastinate_, dramatiq_])
def test_bars_of_a_task_count_for_its_job(kit: Kit, execute: Any) -> None:
    id = execute(kit)
    kit.flush()
    progress = kit.get(id)
    assert isinstance(progress, Progress)
    assert (progress.state, progress.current, progress.total) == ("succeeded", ROWS, ROWS)


def test_bars_count_from_the_entering_of_a_run_to_its_leaving(kit: Kit) -> None:
    integration = Integration(kit, capture=True)
    run = integration.start("task").enter()
    work()
    run.leave()
    work()
    run.succeed()
    progress = kit.get("task")
    assert progress is not None
    assert (progress.current, progress.step) == (ROWS, 1)
