"""The demo's Celery app. Its tasks are plain functions, which know neither Celery nor the backend of progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .broker import steady_transport
from .work.archives import pack
from .work.importing import import_file, import_sample
from .work.primes import find_gap
from .work.sources import compile_library, index_library

if TYPE_CHECKING:
    from celery import Celery

    from .folder import Folder

SLOTS = 2
"""How many tasks run at once."""


def hello() -> None:
    """Do nothing: its success shows that the worker takes tasks."""


TASKS = (import_file, import_sample, index_library, compile_library, find_gap, pack, hello)


def make_queue(folder: Folder) -> Celery:
    """Return the Celery app whose broker and results lie in the folder."""
    from celery import Celery

    import progresskit_celery

    queue = Celery("progresskit-demo", broker="filesystem://", backend=f"file://{folder.results}")
    queue.conf.update(
        broker_transport=steady_transport(),
        broker_transport_options={
            "data_folder_in": str(folder.broker),
            "data_folder_out": str(folder.broker),
            "control_folder": str(folder.control),
            "processed_folder": str(folder.processed),
            "store_processed": True,
            "polling_interval": 0.1,
        },
        broker_connection_retry_on_startup=True,
        worker_concurrency=SLOTS,
        worker_prefetch_multiplier=1,
    )
    for function in TASKS:
        queue.task(function, name=function.__name__)
    progresskit_celery.install(queue)
    return queue
