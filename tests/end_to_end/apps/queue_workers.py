"""One function that is a task of Celery, of Dramatiq and of RQ; each has its workers, and one Redis has all queues."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dramatiq
import rq
from celery import Celery
from dramatiq.brokers.redis import RedisBroker
from redis import Redis

import progresskit
import progresskit_celery
import progresskit_dramatiq
import progresskit_rq
from progresskit.testing.queue_tasks import note_call

ADDRESS = os.environ["QUEUES_ADDRESS"]

DELAY = 5
"""Seconds until the second attempt, at least: any page shows that it is to come, however busy the machine is."""

TOTAL = 4
STEP_SECONDS = 0.02


def import_rows(folder: str) -> None:
    """Count half of the rows, and go on when the test lets this attempt; the first one fails."""
    attempt = note_call(folder)
    job = progresskit.current()
    job.set_progress(TOTAL // 2, TOTAL, description=f"Importing {Path(folder).name}")
    while not (Path(folder) / f"go-{attempt}").exists():
        time.sleep(STEP_SECONDS)
    if attempt == 1:
        raise ConnectionError("the database has gone away")
    job.set_progress(TOTAL, TOTAL)


celery = Celery("site", broker=ADDRESS)
celery.conf.broker_connection_retry_on_startup = True
progresskit_celery.install(celery)
celery_task: Any = celery.task(import_rows, autoretry_for=(ConnectionError,), default_retry_delay=DELAY)

broker = RedisBroker(url=ADDRESS)
broker.add_middleware(progresskit_dramatiq.ProgressMiddleware())
make_actor: Any = dramatiq.actor
backoff = 2 * DELAY * 1000  # in milliseconds; of these Dramatiq takes half at least
actor = make_actor(import_rows, broker=broker, min_backoff=backoff, max_backoff=backoff)

queue = rq.Queue(connection=Redis.from_url(ADDRESS))
progresskit_rq.install(queue)


def send(name: str, id: str, folder: str) -> None:
    """Send the task to the queue of that name."""
    if name == "celery":
        celery_task.apply_async((folder,), task_id=id)
    elif name == "dramatiq":
        broker.enqueue(actor.message(folder).copy(message_id=id))
    else:
        queue.enqueue(import_rows, folder, job_id=id, retry=rq.Retry(1, interval=DELAY))
