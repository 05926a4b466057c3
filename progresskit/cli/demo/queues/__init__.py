"""The queues that the demo can use: one row each in the table, and one module each in this folder."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from progresskit.registry import missing_package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Queue

SLOTS = 2
"""How many tasks run at once."""


class Row(NamedTuple):
    """
    How a queue is found, and installed.

    `schemes` are those of the URLs that it takes, and `broker` is the default one; a queue without any needs no server.
    `processes` is how many workers execute `SLOTS` tasks at once.
    """

    title: str
    target: str
    extras: str
    processes: int = SLOTS
    broker: str = ""
    schemes: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    """Those that no extra brings."""

    @contextmanager
    def needed(self) -> Iterator[None]:
        """Raise MissingPackage, with the command that installs all of the demo, for what is imported inside."""
        try:
            yield
        except ImportError as error:
            raise missing_package("the demo", error, self.extras, *self.packages) from error

    def load(self) -> type[Queue]:
        """Return the class; raises MissingPackage."""
        module, _, name = self.target.partition(":")
        with self.needed():
            found: type[Queue] = getattr(import_module(f".{module}", __name__), name)
        return found


REDIS, REDIS_SCHEMES = "redis://localhost:6379/0", ("redis", "rediss", "unix")

QUEUES = {
    "celery": Row("Celery", "celery:CeleryQueue", "demo", processes=1),
    "rq": Row("RQ", "rq:RQQueue", "demo,rq,redis", broker=REDIS, schemes=REDIS_SCHEMES),
    "dramatiq": Row(
        "Dramatiq", "dramatiq:DramatiqQueue", "demo,dramatiq,redis,rabbitmq",
        broker=REDIS, schemes=(*REDIS_SCHEMES, "amqp", "amqps"),
    ),
    "arq": Row("arq", "arq:ArqQueue", "demo,arq,redis", broker=REDIS, schemes=REDIS_SCHEMES),
    "taskiq": Row(
        "Taskiq", "taskiq:TaskiqQueue", "demo,taskiq,redis",
        broker=REDIS, schemes=REDIS_SCHEMES, packages=("taskiq-redis",),
    ),
    "procrastinate": Row(
        "Procrastinate", "procrastinate:ProcrastinateQueue", "demo,procrastinate,sql",
        broker="postgresql://localhost:5432/postgres", schemes=("postgresql", "postgres"),
    ),
    "huey": Row("Huey", "huey:HueyQueue", "demo,huey", processes=1),
    "django-tasks": Row(
        "Django Tasks", "django_tasks:DjangoTasksQueue", "demo,django-tasks", packages=("django-tasks-db",)
    ),
}  # fmt: skip
"""The table of queues by the names that `--queue` takes."""
