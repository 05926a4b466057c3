"""A site of Django with the app of Procrastinate; prints what became of its jobs."""

from __future__ import annotations

import json
import sys
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings

address = urlsplit(sys.argv[1])
settings.configure(
    INSTALLED_APPS=["procrastinate.contrib.django"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": address.path.lstrip("/"),
            "USER": address.username,
            "HOST": address.hostname,
            "PORT": address.port,
            "OPTIONS": {"options": parse_qs(address.query)["options"][0]},
        }
    },
    PROCRASTINATE_ON_APP_READY="progresskit_procrastinate.install",
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from procrastinate.contrib.django import app  # noqa: E402
from procrastinate.contrib.django.models import ProcrastinateJob  # noqa: E402

import progresskit  # noqa: E402
from progresskit_procrastinate import owned_by  # noqa: E402


@app.task
def count(n: int) -> None:
    for _ in progresskit.track(range(n)):
        pass


def state(id: int) -> str | None:
    progresskit.flush(30)
    progress = progresskit.get(id)
    return None if progress is None else progress.state


def until_done(id: int) -> str:
    limit = time.monotonic() + 60
    while (progress := progresskit.get(id)) is None or not progress.done:
        assert time.monotonic() < limit
        time.sleep(0.01)
    return progress.state


outcomes: dict[str, Any] = {}
call_command("migrate", verbosity=0)
try:
    with transaction.atomic():
        id = count.defer(n=1)
        raise LookupError
except LookupError:
    outcomes["rolled back"] = state(id)
with transaction.atomic():
    id = count.configure(task_kwargs={**owned_by("ada")}).defer(n=3)
    outcomes["in the transaction"] = state(id)
outcomes["committed"] = state(id)
never = count.defer(n=1)
state(never)
progresskit.cancel(never)
outcomes["cancelled"] = [until_done(never), ProcrastinateJob.objects.get(pk=never).status]
call_command("procrastinate", "worker", "--one-shot")
progress = progresskit.get(id)
assert progress is not None
outcomes["executed"] = [progress.state, progress.current, progress.owner]
connection.close()
print(json.dumps(outcomes))
