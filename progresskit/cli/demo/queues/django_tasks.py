"""Tasks of Django, in a database of SQLite."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from . import QUEUES
from .base import TASKS, Queue

with QUEUES["django-tasks"].needed():
    import django
    import django_tasks_db  # noqa: F401
    from django.conf import settings
    from django.core.management import call_command

    import progresskit_django_tasks  # noqa: F401

    try:
        from django.tasks import task  # of Django 6
    except ImportError:
        from django_tasks import task

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.cli.demo.folder import Folder

BUSY_SECONDS = 60


class DjangoTasksQueue(Queue):
    """A project of Django without a site; each of its workers executes one task at a time."""

    def __init__(self, folder: Folder, broker: str) -> None:
        super().__init__(folder, broker)
        settings.configure(
            USE_TZ=True,
            INSTALLED_APPS=["django_tasks_db", "progresskit_django_tasks"],
            TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": str(folder.path / "tasks.db"),
                    "OPTIONS": {
                        "timeout": BUSY_SECONDS,
                        "transaction_mode": "IMMEDIATE",
                        "init_command": "PRAGMA journal_mode = WAL",
                    },
                }
            },
        )
        django.setup()
        # A worker finds a task by the names of its module and function.
        globals().update({name: task(_copy(function)) for name, function in TASKS.items()})

    def prepare(self) -> None:
        """Make the tables."""
        call_command("migrate", verbosity=0)

    def send(self, task: str, *arguments: Any) -> str:
        """Send a task; return its id."""
        return str(globals()[task].enqueue(*arguments).id)

    def work(self) -> None:
        """Execute tasks until the process is killed."""
        call_command("db_worker", interval=0.1, startup_delay=False, verbosity=0)


def _copy(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of this module that calls the other one."""

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    call.__module__ = __name__
    return call
