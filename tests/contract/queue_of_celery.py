"""The Celery app of `QueueContract`: `celery -A tests.contract.queue_of_celery worker`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from celery import Celery

import progresskit_celery
from progresskit.testing.queue_tasks import TASKS

RETRIES, DELAY = "contract_retries", "contract_delay"
"""The headers that say how often a task that raises is executed again, and after how many seconds."""


def register(app: Celery, function: Callable[..., Any]) -> None:
    """Make a function a task, under its own name."""

    def run(self: Any, *args: Any) -> Any:
        headers = self.request.headers or {}
        try:
            return function(*args)
        except Exception as error:
            if not headers.get(RETRIES):
                raise
            raise self.retry(exc=error, countdown=headers[DELAY], max_retries=headers[RETRIES]) from None

    app.task(run, bind=True, name=function.__name__)


app = Celery("contract")
app.conf.update(
    broker_url=os.environ["CONTRACT_CELERY_URL"],
    result_backend=os.environ["CONTRACT_CELERY_URL"],
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
)
progresskit_celery.install(app)
for task in TASKS.values():
    register(app, task)
