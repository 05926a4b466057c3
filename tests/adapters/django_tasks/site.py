"""A site with tasks that are executed at once, only remembered, or wait in a database; prints what became of them."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import django
from django.conf import settings
from tqdm import tqdm

from progresskit_django_tasks.apps import ProgressKitTasksConfig

FRAMEWORK = "django.tasks" if find_spec("django.tasks") else "django_tasks"  # that of Django 6, or the backport
BACKENDS = {
    "default": f"{FRAMEWORK}.backends.immediate.ImmediateBackend",
    "dummy": f"{FRAMEWORK}.backends.dummy.DummyBackend",
    "waiting": "django_tasks_db.DatabaseBackend",
}


class Tasks(ProgressKitTasksConfig):
    capture = True


settings.configure(
    INSTALLED_APPS=["django_tasks_db", "__main__.Tasks"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TASKS={alias: {"BACKEND": backend} for alias, backend in BACKENDS.items()},
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402

import progresskit  # noqa: E402
from progresskit_django_tasks import owned_by  # noqa: E402

task = import_module(FRAMEWORK).task


@task
def count(n: int) -> int:
    return sum(1 for _ in progresskit.track(range(n)))


@task
async def count_in_loop(n: int) -> int:
    for _ in progresskit.track(range(n)):
        await asyncio.sleep(0)
    return n


@task
def draw(n: int) -> None:
    for _ in tqdm(range(n), file=io.StringIO()):
        pass


@task
async def draw_in_loop(n: int) -> None:
    for _ in tqdm(range(n), file=io.StringIO()):
        await asyncio.sleep(0)


@task
def fail() -> None:
    raise OSError("the disk is full")


@task
def stop() -> None:
    raise progresskit.Cancelled


@task(takes_context=True)
def outer(context: Any) -> str:
    return str(count.enqueue(context.attempt).id)


def _pay() -> None:
    progresskit.flush()
    assert progresskit.cancel(progresskit.current().id)
    while not progresskit.current().cancel_requested:
        pass
    progresskit.current().advance()


_pay.progress_cancellable = False  # type: ignore[attr-defined]
pay = task(_pay)


def brief(id: str) -> list[object] | None:
    """Return what the record of a job has."""
    progresskit.flush(60)
    record = progresskit.get(id)
    if record is None:
        return None
    error = record.error and record.error.type
    return [record.state, record.kind, record.attempt, record.current, record.owner, record.parent, error]


def in_transaction(commit: bool) -> list[object]:
    """Return a record while the transaction that has sent the task is open, and after it."""
    with transaction.atomic():
        id = count.using(backend="waiting").enqueue(1).id
        before = brief(id)
        transaction.set_rollback(not commit)
    return [before, brief(id)]


def main() -> None:
    """Send tasks."""
    call_command("migrate", verbosity=0)
    nested = outer.enqueue()
    outcomes = {
        "count": brief(count.enqueue(3, **owned_by("ada")).id),
        "in a loop": brief(count_in_loop.enqueue(3).id),
        "draws": brief(draw.enqueue(3).id),
        "draws in a loop": brief(draw_in_loop.enqueue(3).id),
        "fails": brief(fail.enqueue().id),
        "stops": brief(stop.enqueue().id),
        "is not interrupted": brief(pay.enqueue().id),
        "inside": [nested.id, brief(str(nested.return_value))],
        "dummy": brief(count.using(backend="dummy").enqueue(3).id),
        "committed": in_transaction(commit=True),
        "rolled back": in_transaction(commit=False),
        "surrounding": progresskit.current().id,
    }
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()
