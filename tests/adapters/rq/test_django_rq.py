"""The settings for django-rq that the documentation names, in a process of their own: Django is configured once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.contract.queues import ROOT
from tests.services import server

QUEUES = """\
import progresskit_rq
from django_rq.queues import DjangoRQ


class Queue(progresskit_rq.Queue, DjangoRQ): ...
"""

SITE = """\
import sys

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django_rq"],
    RQ_QUEUES={name: {"URL": sys.argv[1]} for name in ("default", "high")},
    RQ={"QUEUE_CLASS": "site_queues.Queue", "WORKER_CLASS": "progresskit_rq.SimpleWorker"},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

import django_rq
import progresskit
from progresskit.testing import queue_tasks

jobs = [
    django_rq.get_queue("high").enqueue(queue_tasks.count, 5),
    django_rq.enqueue(queue_tasks.fail, "no such row"),
    django_rq.enqueue(queue_tasks.nothing),
]
progresskit.flush(60)
print(*(progresskit.get(job.id).state for job in jobs))
progresskit.cancel(jobs[2].id)
for record in progresskit.watch(jobs[2].id):
    pass
django_rq.get_worker("high", "default").work(burst=True, logging_level="CRITICAL")
print(*(progresskit.get(job.id).state for job in jobs), jobs[2].get_status().value)
"""


def test_the_queues_and_workers_of_django_rq_are_those_of_its_settings(
    needs: Callable[[str], None], tmp_path: Path
) -> None:
    needs("redis")
    (tmp_path / "site_queues.py").write_text(QUEUES)
    paths = [str(tmp_path), str(ROOT), str(ROOT / "adapters"), *sys.path]
    result = subprocess.run(
        [sys.executable, "-c", SITE, server("redis").fresh()],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PROGRESSKIT_URL": server("redis").fresh()},
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["pending pending pending", "succeeded failed cancelled canceled"]
