"""
The one table of queues: `QueueContract` runs over it, and so may benchmarks.

Each queue, its workers and its store are private to the tests of its row.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, NoReturn

import pytest

from progresskit.kit import Kit
from progresskit.testing.queues import QueueContract, QueueUnderTest
from tests.services import missing, server
from tests.services.process import Process
from tests.services.waiting import PATIENCE

ROOT = Path(__file__).parents[2]


class Row(NamedTuple):
    """
    A queue: `make` gives one with the integration, in a new folder and on its `services`, those of tests.services.

    `concurrencies`, `lacks` and `waits` are those of `QueueContract`. `elsewhere` are tests that the integration passes
    on the services of an earlier row, and that are about the integration alone.
    """

    name: str
    make: Callable[[Path], AbstractContextManager[QueueUnderTest]]
    concurrencies: tuple[str, ...]
    services: tuple[str, ...] = ("redis",)
    lacks: Mapping[str, str] = MappingProxyType({})
    waits: Mapping[str, str] = MappingProxyType({})
    elsewhere: tuple[str, ...] = ()


class QueueSuite(QueueContract):
    """The contract of one queue of the table."""

    row: ClassVar[Row]

    @pytest.fixture(autouse=True)
    def counted(self, record_property: Callable[[str, object], None]) -> None:
        record_property("contract", f"queue {self.row.name}")

    @pytest.fixture(scope="class")
    @classmethod
    def queue(
        cls, tmp_path_factory: pytest.TempPathFactory, missing_service: Callable[..., NoReturn]
    ) -> Iterator[QueueUnderTest]:
        for service in cls.row.services:
            if reason := missing(service):
                missing_service(service, reason)
        with cls.row.make(tmp_path_factory.mktemp(cls.row.name)) as queue:
            yield queue


def suite_of(name: str, module: str) -> type:
    """Return the class of the contract's tests for the queue of that name, as a member of the module."""
    row = next(row for row in QUEUES if row.name == name)
    members = {
        "row": row,
        "concurrencies": row.concurrencies,
        "lacks": row.lacks,
        "waits": row.waits,
        "__module__": module,
        **dict.fromkeys(row.elsewhere),
    }
    assert all(hasattr(QueueContract, test) for test in row.elsewhere), f"{row.elsewhere} are not all tests"
    return type(f"Test{name.title().replace('-', '')}", (QueueSuite,), members)


class Worker:
    """One real worker, as `WorkerUnderTest`; `kill` also ends what has left its process group."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir()
        self._log = folder / "server.log"
        self._process = Process(command, folder, env=environment)
        self.pid = self._process.pid

    def kill(self) -> None:
        if not self._process.ended:
            self._process.kill()

    def stop(self) -> None:
        os.kill(self.pid, 15)

    def output(self) -> str:
        return self._log.read_text(errors="replace")


class Sending(NamedTuple):
    """A task to send, see `QueueUnderTest.send`."""

    task: str
    args: tuple[Any, ...]
    id: str | None
    owner: str | None
    retries: int
    delay: float
    time_limit: float | None


class Site:
    """The process that sends tasks and watches them, and the folder and environment of its workers."""

    NUMBERS = count(1)

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.kit = Kit(url)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a worker, which stores what it flushes, however busy the machine is."""
        paths = [str(ROOT), str(ROOT / "adapters"), os.environ.get("PYTHONPATH", "")]
        ours = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PROGRESSKIT_URL": self.url,
            "PROGRESSKIT_FLUSH_SECONDS": str(PATIENCE),
        }
        return {**os.environ, **ours, **more}

    def close(self) -> None:
        """End the viewers."""
        self.kit.close()

    def send(
        self,
        task: str,
        *args: Any,
        id: str | None = None,
        owner: str | None = None,
        retries: int = 0,
        delay: float = 0.0,
        time_limit: float | None = None,
    ) -> str:
        return self.enqueue(Sending(task, args, id, owner, retries, delay, time_limit))

    def enqueue(self, sending: Sending) -> str:
        """Send a task; return the id of its job."""
        raise NotImplementedError

    @contextmanager
    def run(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, **more: str
    ) -> Iterator[Worker]:
        """Run a worker, by a command of this Python, and end it for certain."""
        folder = self.folder / f"worker-{next(self.NUMBERS)}"
        worker = Worker([sys.executable, *command], folder, self.environment(**more, **(environment or {})))
        try:
            yield worker
        finally:
            worker.kill()


# RQ


class RQ(Site):
    """RQ on Redis; its functions are named by their modules."""

    TASKS = "progresskit.testing.queue_tasks"
    CLASSES: ClassVar[dict[str, str]] = {
        "in-process": "progresskit_rq.SimpleWorker",
        "process": "progresskit_rq.Worker",
    }

    def __init__(self, folder: Path) -> None:
        import rq
        from redis import Redis

        import progresskit_rq

        super().__init__(folder, server("redis").fresh())
        self.address = server("redis").fresh()
        self.queue = rq.Queue(connection=Redis.from_url(self.address))
        progresskit_rq.install(self.queue, kit=self.kit)

    def enqueue(self, sending: Sending) -> str:
        from rq import Retry

        from progresskit_rq import owned_by

        job = self.queue.enqueue(
            f"{self.TASKS}.{sending.task}",
            *sending.args,
            job_id=sending.id,
            retry=Retry(sending.retries, interval=int(sending.delay)) if sending.retries else None,
            job_timeout=sending.time_limit or 600,
            meta=owned_by(sending.owner) if sending.owner else None,
        )
        return job.id

    def worker(
        self, concurrency: str, *, slots: int = 1, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Worker]:
        from rq.scheduler import RQScheduler

        # One that was killed keeps the lock of scheduled jobs for a minute.
        self.queue.connection.delete(RQScheduler.get_locking_key(self.queue.name))
        command = ["-m", "rq.cli", "worker", "--url", self.address, "--worker-class"]
        return self.run([*command, self.CLASSES[concurrency], "--with-scheduler"], environment)

    def result(self, id: str) -> Any:
        job = self.queue.fetch_job(id)
        return None if job is None else job.return_value(refresh=True)

    def remaining(self) -> int:
        waiting: int = self.queue.count + self.queue.scheduled_job_registry.count
        return waiting


# Celery


class CeleryOnRedis(Site):
    """Celery with Redis as its broker and its result backend."""

    POOLS: ClassVar[dict[str, str]] = {"process": "prefork", "thread": "threads", "greenlet": "gevent", "solo": "solo"}

    def __init__(self, folder: Path) -> None:
        from celery import Celery

        import progresskit_celery

        super().__init__(folder, server("redis").fresh())
        self.address = server("redis").fresh()
        self.app = Celery("contract", broker=self.address, backend=self.address, set_as_current=False)
        progresskit_celery.install(self.app, kit=self.kit)

    def enqueue(self, sending: Sending) -> str:
        from progresskit_celery import owned_by

        headers = {
            "contract_retries": sending.retries,
            "contract_delay": sending.delay,
            **(owned_by(sending.owner) if sending.owner else {}),
        }
        self.app.set_current()
        sent: str = self.app.send_task(
            sending.task, sending.args, task_id=sending.id, headers=headers, time_limit=sending.time_limit
        ).id
        return sent

    def worker(
        self, concurrency: str, *, slots: int = 1, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Worker]:
        pool = [
            "--pool",
            self.POOLS[concurrency],
            "-c",
            str(slots),
            "-l",
            "INFO",
            "--without-gossip",
            "--without-mingle",
        ]
        command = ["-m", "celery", "-A", "tests.contract.queue_of_celery", "worker", *pool]
        return self.run(command, environment, CONTRACT_CELERY_URL=self.address)

    def result(self, id: str) -> Any:
        from celery.states import READY_STATES

        # An AsyncResult that has been ready is garbage of a cycle: collected while another task is being sent, it waits
        # for a lock of redis-py 5 that its own thread holds.
        results = self.app.backend
        return results.get_result(id) if results.get_state(id) in READY_STATES else None

    def remaining(self) -> int:
        with self.app.connection_for_read() as connection:
            waiting: int = connection.default_channel.client.llen("celery")
        return waiting

    def close(self) -> None:
        super().close()
        self.app.close()


# Dramatiq


class Dramatiq(Site):
    """Dramatiq on Redis or RabbitMQ, with results in Redis."""

    WORKER = "tests.contract.dramatiq_worker:broker"

    def __init__(self, folder: Path, service: str) -> None:
        from .dramatiq_worker import make_broker

        super().__init__(folder, server("redis").fresh())
        self.addresses = {"DRAMATIQ_URL": server(service).fresh(), "DRAMATIQ_RESULTS": server("redis").fresh()}
        self.broker: Any = make_broker(self.addresses["DRAMATIQ_URL"], self.addresses["DRAMATIQ_RESULTS"], kit=self.kit)
        self.sent: dict[str, Any] = {}

    def enqueue(self, sending: Sending) -> str:
        from progresskit_dramatiq import owned_by

        options: dict[str, Any] = owned_by(sending.owner) if sending.owner else {}
        if sending.retries:
            backoff = int(sending.delay * 1000)
            options |= {"max_retries": sending.retries, "min_backoff": backoff, "max_backoff": backoff}
        if sending.time_limit:
            options["time_limit"] = sending.time_limit * 1000
        message = self.broker.get_actor(sending.task).message_with_options(args=sending.args, **options)
        message = message.copy(message_id=sending.id or message.message_id)
        self.sent[message.message_id] = message
        self.broker.enqueue(message)
        return str(message.message_id)

    def worker(
        self, concurrency: str, *, slots: int = 1, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Worker]:
        script = "dramatiq-gevent" if concurrency == "greenlet" else "dramatiq"
        command = [str(Path(sys.executable).parent / script), self.WORKER, "--processes=1", f"--threads={slots}"]
        return self.run(command, environment, **self.addresses)

    def result(self, id: str) -> Any:
        from dramatiq.results import ResultMissing

        try:
            return self.broker.get_results_backend().get_result(self.sent[id])
        except ResultMissing:
            return None

    def remaining(self) -> int:
        queue = "default"
        if hasattr(self.broker, "get_queue_message_counts"):
            return sum(self.broker.get_queue_message_counts(queue)[:2])
        return int(self.broker.do_qsize(queue))

    def close(self) -> None:
        self.broker.close()
        super().close()


DRAMATIQ_LACKS = {"removes": "Dramatiq removes no message from a queue; its worker skips it"}


# Huey


class Huey(Site):
    """Huey on Redis or SQLite."""

    WORKER = "tests.contract.huey_worker.huey"

    def __init__(self, folder: Path, service: str) -> None:
        from .huey_worker import make_huey

        super().__init__(folder, server("redis").fresh())
        self.address = str(folder / "huey.db") if service == "sqlite" else server(service).fresh()
        self.huey, self.tasks = make_huey(self.address, self.kit)

    def enqueue(self, sending: Sending) -> str:
        from progresskit_huey import owned_by

        made = self.tasks[sending.task].task_class(
            sending.args,
            owned_by(sending.owner) if sending.owner else {},
            id=sending.id,
            retries=sending.retries,
            retry_delay=sending.delay,
            timeout=sending.time_limit,
        )
        self.huey.enqueue(made)
        return str(made.id)

    def worker(
        self, concurrency: str, *, slots: int = 1, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Worker]:
        command = ["-m", "huey.bin.huey_consumer", self.WORKER, f"--workers={slots}", "--worker-type", concurrency]
        return self.run([*command, "--max-delay=0.1"], environment, HUEY_URL=self.address)

    def result(self, id: str) -> Any:
        return self.huey.result(id, preserve=True)

    def remaining(self) -> int:
        return int(self.huey.pending_count() + self.huey.scheduled_count())

    def close(self) -> None:
        self.huey.storage.close()
        super().close()


HUEY_LACKS = {
    "removes": "a revoked task of Huey leaves the queue when a worker takes it",
    "redelivers": "Huey loses the task of a killed worker",
}


# Procrastinate


class Procrastinate(Site):
    """Procrastinate on PostgreSQL; coroutines in the loop of its worker, functions in threads beside it."""

    WORKER = "tests.contract.procrastinate_worker.app"

    def __init__(self, folder: Path) -> None:
        from procrastinate import SyncPsycopgConnector

        from .procrastinate_worker import make_app

        super().__init__(folder, server("redis").fresh())
        self.address = server("postgresql").fresh().replace("+psycopg", "")
        self.app = make_app(SyncPsycopgConnector(conninfo=self.address), self.kit)
        self.app.open()
        self.app.schema_manager.apply_schema()

    def enqueue(self, sending: Sending) -> str:
        from progresskit_procrastinate import owned_by

        deferrer = self.app.configure_task(sending.task, task_kwargs=owned_by(sending.owner) if sending.owner else {})
        return str(deferrer.defer(args=[*sending.args], retries=sending.retries, delay=sending.delay))

    def worker(
        self, concurrency: str, *, slots: int = 1, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Worker]:
        asyncio.run(self.retry_stalled())
        command = ["-m", "procrastinate", f"--app={self.WORKER}", "worker", f"--concurrency={slots}"]
        return self.run(command, environment, PROCRASTINATE_URL=self.address)

    async def retry_stalled(self) -> None:
        """Retry the jobs of workers that were killed, as a site does in a periodic task."""
        from procrastinate import PsycopgConnector

        with self.app.replace_connector(PsycopgConnector(conninfo=self.address)):
            async with self.app.open_async():
                for job in await self.app.job_manager.get_stalled_jobs(seconds_since_heartbeat=0):
                    await self.app.job_manager.retry_job(job)

    def result(self, id: str) -> Any:
        return None

    def remaining(self) -> int:
        return len([*self.app.job_manager.list_jobs(status="todo")])

    def close(self) -> None:
        self.app.close()
        super().close()


# Taskiq


class Taskiq(Site):
    """Taskiq on lists or streams of Redis, with results in Redis."""

    WORKER = "tests.contract.taskiq_worker:broker"

    def __init__(self, folder: Path, kind: str) -> None:
        from .taskiq_worker import make_broker

        super().__init__(folder, server("redis").fresh())
        self.settings = {"TASKIQ_KIND": kind, "TASKIQ_URL": server("redis").fresh()}
        self.runner = asyncio.Runner()
        self.broker: Any = make_broker(kind, self.settings["TASKIQ_URL"], self.kit)
        self.runner.run(self.broker.startup())

    def enqueue(self, sending: Sending) -> str:
        from taskiq.kicker import AsyncKicker

        from progresskit_taskiq import owned_by

        labels: dict[str, Any] = owned_by(sending.owner) if sending.owner else {}
        if sending.retries:
            labels |= {"retry_on_error": True, "max_retries": sending.retries + 1, "delay": sending.delay}
        if sending.time_limit:
            labels["timeout"] = sending.time_limit
        kicker: Any = AsyncKicker(sending.task, self.broker, labels)
        if sending.id is not None:
            kicker = kicker.with_task_id(sending.id)
        return str(self.runner.run(kicker.kiq(*sending.args)).task_id)

    def worker(
        self, concurrency: str, *, slots: int = 1, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Worker]:
        command = ["-m", "taskiq", "worker", self.WORKER, "--workers=1", f"--max-async-tasks={slots}"]
        settings = dict(self.settings)
        if self.runner.run(self._redeliver()):
            settings["TASKIQ_IDLE"] = "1"
        return self.run([*command, f"--max-threadpool-threads={slots}"], environment, **settings)

    async def _redeliver(self) -> bool:
        """Return whether a killed worker has left a task; the next one looks for it when another one arrives."""
        from taskiq.kicker import AsyncKicker

        async with self._redis() as redis:
            # Until Redis has noticed that a killed worker is gone, it would hand the next task to that.
            db = str(self.broker.connection_pool.connection_kwargs["db"])
            waits = {"brpop", "xreadgroup"}
            async with asyncio.timeout(PATIENCE):
                while any(each["db"] == db and each["cmd"] in waits for each in await redis.client_list()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        if self.settings["TASKIQ_KIND"] == "list":
            return False
        left = bool((await self._group())["pending"])
        if left:
            kicker: Any = AsyncKicker("nothing", self.broker, {})
            await kicker.kiq()
        return left

    async def _group(self) -> Any:
        async with self._redis() as redis:
            (group,) = await redis.xinfo_groups(self.broker.queue_name)
        return group

    def _redis(self) -> Any:
        from redis.asyncio import Redis

        return Redis(connection_pool=self.broker.connection_pool)

    def result(self, id: str) -> Any:
        return self.runner.run(self._result(id))

    async def _result(self, id: str) -> Any:
        if not await self.broker.result_backend.is_result_ready(id):
            return None
        return (await self.broker.result_backend.get_result(id)).return_value

    def remaining(self) -> int:
        return self.runner.run(self._remaining())

    async def _remaining(self) -> int:
        if self.settings["TASKIQ_KIND"] == "stream":
            return int((await self._group())["lag"])
        async with self._redis() as redis:
            return int(await redis.llen(self.broker.queue_name))

    def close(self) -> None:
        self.runner.run(self.broker.shutdown())
        self.runner.close()
        super().close()


TASKIQ_LACKS = {
    "removes": "Taskiq removes no message from a queue",
    "time limits (thread)": "Taskiq ends no task of a thread",
}


# Django


class DjangoTasks(Site):
    """Tasks of Django on a database or on RQ; another process sends them, as a process has one Django only."""

    SITE = "tests.contract.django_site"
    WORKERS: ClassVar[dict[str, list[str]]] = {
        "django_tasks_db.DatabaseBackend": ["db_worker", "--interval=0.05", "--no-startup-delay"],
        "django_tasks_rq.RQBackend": ["rqworker", "--job-class=django_tasks_rq.Job"],
    }

    def __init__(self, folder: Path, backend: str) -> None:
        super().__init__(folder, server("redis").fresh())
        on_rq = backend.startswith("django_tasks_rq")
        self.backend = backend
        self.site = {
            "DJANGO_SETTINGS_MODULE": f"{self.SITE}.settings",
            "TASKS_BACKEND": backend,
            "TASKS_ADDRESS": server("redis").fresh() if on_rq else str(folder / "tasks.db"),
        }
        self.sender = subprocess.Popen(
            [sys.executable, "-m", f"{self.SITE}.sender"],
            env=self.environment(**self.site),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.sender.stdout is not None
        assert self.sender.stdout.readline() == "ready\n"

    def call(self, name: str, *args: Any) -> Any:
        """Have the sender call a function of its own."""
        assert self.sender.stdin is not None
        assert self.sender.stdout is not None
        self.sender.stdin.write(f"{json.dumps([name, *args])}\n")
        self.sender.stdin.flush()
        return json.loads(self.sender.stdout.readline())

    def enqueue(self, sending: Sending) -> str:
        return str(self.call("send", sending.task, sending.args, sending.owner))

    def worker(
        self, concurrency: str, *, slots: int = 1, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Worker]:
        more = ["--worker-class=rq.worker.SimpleWorker"] if concurrency == "in-process" else []
        return self.run(["-m", "django", *self.WORKERS[self.backend], *more], environment, **self.site)

    def result(self, id: str) -> Any:
        return self.call("result", id)

    def remaining(self) -> int:
        return int(self.call("remaining"))

    def close(self) -> None:
        with self.sender:
            assert self.sender.stdin is not None
            self.sender.stdin.close()
        super().close()


DJANGO_LACKS = {
    "ids": "Django's backends choose the ids",
    "parallel": "a worker executes one task at a time",
    "redelivers": "the task of a killed worker stays RUNNING",
    "removes": "Django's task framework removes no task; the worker skips it",
    "retries": "Django's task framework has no retries",
    "time limits": "Django's task framework has no time limits",
}


# arq


class Arq(Site):
    """arq on Redis."""

    def __init__(self, folder: Path) -> None:
        from arq.connections import RedisSettings

        from progresskit_arq import create_pool

        super().__init__(folder, server("redis").fresh())
        self.address = server("redis").fresh()
        self.runner = asyncio.Runner()
        self.pool = self.runner.run(create_pool(RedisSettings.from_dsn(self.address), kit=self.kit))

    def enqueue(self, sending: Sending) -> str:
        from progresskit_arq import owned_by

        options: dict[str, Any] = owned_by(sending.owner) if sending.owner else {}
        if sending.retries:
            options |= {"retries": sending.retries, "delay": sending.delay}
        name = f"limited.{sending.task}" if sending.time_limit else sending.task
        job = self.runner.run(self.pool.enqueue_job(name, *sending.args, _job_id=sending.id, **options))
        assert job is not None
        return str(job.job_id)

    def worker(
        self, concurrency: str, *, slots: int = 1, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Worker]:
        self.runner.run(self._release())
        command = ["-m", "arq", "tests.contract.arq_worker.WorkerSettings"]
        settings = {"ARQ_URL": self.address, "ARQ_SLOTS": str(slots), "ARQ_CONCURRENCY": concurrency}
        return self.run(command, environment, **settings)

    async def _release(self) -> None:
        # A worker that was killed keeps its jobs for `job_timeout` and ten seconds.
        from arq.constants import in_progress_key_prefix

        async for key in self.pool.scan_iter(f"{in_progress_key_prefix}*"):
            await self.pool.delete(key)

    def result(self, id: str) -> Any:
        from arq.jobs import Job

        info = self.runner.run(Job(id, self.pool).result_info())
        return info.result if info is not None and info.success else None

    def remaining(self) -> int:
        return self.runner.run(self._waiting())

    async def _waiting(self) -> int:
        from arq.constants import in_progress_key_prefix

        ids: list[Any] = await self.pool.zrange(self.pool.default_queue_name, 0, -1)
        taken = [in_progress_key_prefix + id.decode() for id in ids]
        return len(ids) - (await self.pool.exists(*taken) if ids else 0)

    def close(self) -> None:
        self.runner.run(self.pool.aclose())
        self.runner.close()
        super().close()


MANY = ("test_all_of_a_thousand_tasks_end",)

QUEUES = [
    Row(
        "celery",
        lambda folder: closing(CeleryOnRedis(folder)),
        ("thread", "process", "greenlet", "solo"),
        lacks={
            "redelivers": "Celery acknowledges a task before it is executed, by default",
            "removes (thread)": "the pool has taken the task, and cannot give it back",
            "removes (greenlet)": "the pool has taken the task, and cannot give it back",
            "removes (solo)": "the worker hears of a task when the one before it has ended",
            "parallel (solo)": "the pool executes one task at a time",
            "time limits (solo)": "the pool has none",
            "time limits (thread)": "the pool has none",
        },
    ),
    Row(
        "rq",
        lambda folder: closing(RQ(folder)),
        ("in-process", "process"),
        lacks={
            "parallel": "a worker of RQ executes one job at a time",
            "redelivers": "RQ fails the job of a killed worker, minutes later",
        },
    ),
    Row(
        "dramatiq-redis",
        lambda folder: closing(Dramatiq(folder, "redis")),
        ("thread", "greenlet", "coroutine"),
        lacks=DRAMATIQ_LACKS,
        waits={"coroutine": "wait_in_loop"},
    ),
    Row(
        "dramatiq-rabbitmq",
        lambda folder: closing(Dramatiq(folder, "rabbitmq")),
        ("thread",),
        services=("redis", "rabbitmq"),
        lacks=DRAMATIQ_LACKS,
        elsewhere=MANY,
    ),
    Row("huey-redis", lambda folder: closing(Huey(folder, "redis")), ("process", "greenlet"), lacks=HUEY_LACKS),
    Row(
        "huey-sqlite",
        lambda folder: closing(Huey(folder, "sqlite")),
        ("thread",),
        lacks=HUEY_LACKS | {"time limits": "Huey ends no task of a thread"},
        elsewhere=MANY,
    ),
    Row(
        "procrastinate",
        lambda folder: closing(Procrastinate(folder)),
        ("thread", "coroutine"),
        services=("redis", "postgresql"),
        lacks={
            "ids": "PostgreSQL chooses the ids",
            "results": "Procrastinate stores no results",
            "time limits": "Procrastinate ends no job for its time",
        },
        waits={"coroutine": "wait_in_loop"},
    ),
    Row(
        "django-tasks-db",
        lambda folder: closing(DjangoTasks(folder, "django_tasks_db.DatabaseBackend")),
        ("process", "coroutine"),
        lacks=DJANGO_LACKS,
        waits={"coroutine": "wait_in_loop"},
    ),
    Row(
        "django-tasks-rq",
        lambda folder: closing(DjangoTasks(folder, "django_tasks_rq.RQBackend")),
        ("in-process", "process"),
        lacks=DJANGO_LACKS
        | {"results": "RQ stores the result after the callbacks in which django-tasks-rq reports the end"},
        elsewhere=MANY,
    ),
    Row(
        "taskiq-list",
        lambda folder: closing(Taskiq(folder, "list")),
        ("coroutine", "thread"),
        lacks=TASKIQ_LACKS | {"redelivers": "a worker takes a message out of the list before it executes the task"},
        waits={"coroutine": "wait_in_loop"},
    ),
    Row(
        "taskiq-stream",
        lambda folder: closing(Taskiq(folder, "stream")),
        ("coroutine",),
        lacks={name: reason for name, reason in TASKIQ_LACKS.items() if "(thread)" not in name},
        waits={"coroutine": "wait_in_loop"},
        elsewhere=MANY,
    ),
    Row("arq", lambda folder: closing(Arq(folder)), ("coroutine", "thread"), waits={"coroutine": "wait_in_loop"}),
]
