"""The one table of backends: the contract tests run over it, and so may benchmarks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from progresskit.abc import Backend
from progresskit.config import Settings
from progresskit.registry import backend_class
from progresskit.testing import (
    BackendContract,
    CancelPushContract,
    FakeClock,
    HostsContract,
    ListingContract,
    OutageContract,
    PartsContract,
    PushContract,
    ReplacementContract,
    SharedContract,
    SharedPartsContract,
)
from tests.services import mariadb, missing, patience, server
from tests.services.mariadb import MariaDB
from tests.services.nats import NATS
from tests.services.postgresql import PostgreSQL
from tests.services.rabbitmq import RabbitMQ
from tests.services.redis import Redis
from tests.services.server import Server

from . import celery_apps, planting, redis_cluster, replacing


class Row(NamedTuple):
    """
    A backend: the parts of the contract that are its own, and how its stores are made.

    `url` gives the address of a fresh and empty store, in a new folder or on `service`, one of `tests.services`.
    `options` are arguments beside the address and the clock. `outage` makes the store of an address unwritable for a
    while, `replaced` replaces its server, or its table, by an empty one. `left_out` are tests of the contract that the
    backend cannot pass, each with the reason, which is printed.
    `patience` are its limits as they are set for all tests but those of outages.
    `examples` are how many random histories are run: FEW where others run all of them through what decides, which is
    the fold of the kit (memory), or the script of Redis.
    `plant` replaces the stored body of a job, given the address, the backend, the id and the body; without it, the body
    is written like any other.
    `harmed` makes the servers, by a name for each, that the fault tests and benchmarks kill, pause and fill.
    """

    name: str
    parts: tuple[type, ...]
    url: Callable[[Path], str]
    service: str | None = None
    options: Mapping[str, Any] = MappingProxyType({})
    outage: Callable[[str], AbstractContextManager[Any]] | None = None
    replaced: Callable[[str], None] | None = None
    left_out: Mapping[str, str] = MappingProxyType({})
    harmed: Mapping[str, Callable[[], Server]] = MappingProxyType({})
    patience: Mapping[str, Any] = MappingProxyType({})
    examples: int = BackendContract.examples
    plant: Callable[[str, Any, str, str], None] | None = None

    @property
    def missing(self) -> str | None:
        """Why the backend cannot be had here; None where it can."""
        return missing(self.service) if self.service else None

    @property
    def suite(self) -> tuple[type, ...]:
        """All parts of the contract that the backend has to pass."""
        optional = {OutageContract: self.outage, ReplacementContract: self.replaced}
        return (*self.parts, *(part for part, hook in optional.items() if hook), BackendContract)

    def make(self, url: str, clock: FakeClock) -> Backend:
        """Return a backend that judges by the clock."""
        backend: type[Any] = backend_class(url)
        if url == "memory://":
            return backend(clock=clock)  # type: ignore[no-any-return]
        if url.startswith("celery://"):
            return celery_apps.results_backend(url, clock)
        return backend(url, prefix=Settings().prefix, clock=clock, **self.options)  # type: ignore[no-any-return]


def on(service: str) -> Callable[[Path], str]:
    """Give fresh stores on the server of this process."""
    return lambda folder: server(service).fresh()


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Lock a SQLite file as a program does that writes to it for a long time."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def table_locked(url: str) -> Iterator[None]:
    """Lock the table of a PostgreSQL store as a program does that changes it for a long time; it can be read."""
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("LOCK TABLE progresskit_jobs IN EXCLUSIVE MODE")
        yield


@contextmanager
def table_read_only(url: str) -> Iterator[None]:
    """Lock the table of a MariaDB store as a backup does; it can be read."""
    with mariadb.using(url) as cursor:
        cursor.execute("LOCK TABLES progresskit_jobs READ")
        yield
        cursor.execute("UNLOCK TABLES")


@contextmanager
def memory_alarm(url: str) -> Iterator[None]:
    """Let RabbitMQ believe that it is out of memory: it takes nothing more from those who publish."""
    broker = server("rabbitmq")
    assert isinstance(broker, RabbitMQ)
    broker.limit_memory(0.000001)
    try:
        yield
    finally:
        broker.limit_memory()


@contextmanager
def memory_full(url: str) -> Iterator[None]:
    """Leave Redis no memory for anything more."""
    redis = server("redis")
    assert isinstance(redis, Redis)
    with closing(redis.client()) as client:
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


@contextmanager
def redis_paused(url: str) -> Iterator[None]:
    """Let Redis hang, so that it passes nothing on."""
    redis = server("redis")
    redis.pause()
    try:
        yield
    finally:
        redis.resume()


@contextmanager
def nats_killed(url: str) -> Iterator[None]:
    """Have NATS be away; what it has stored is on disk."""
    nats = server("nats")
    nats.kill()
    try:
        yield
    finally:
        nats.start()


WITHOUT_STORE = dict.fromkeys(
    (
        "test_two_processes_that_write_batches_of_many_jobs_lose_none",
        "test_a_forked_child_works_on_its_own_and_its_parent_goes_on",
        "test_what_was_stored_is_there_when_everybody_had_left",
    ),
    "Kombu's transports carry and keep nothing: a record is known while a process lives that heard of it",
)
"""These read what processes wrote that have gone, by a process that was not there then."""

FEW = 40

PARTS = (PartsContract, SharedPartsContract)

BACKENDS = [
    Row(
        "memory",
        (PushContract, CancelPushContract, ListingContract, PartsContract),
        lambda folder: "memory://",
    ),
    Row(
        "sqlite",
        (ListingContract, *PARTS, SharedContract),
        lambda folder: f"sqlite:///{folder}/progress.db",
        outage=locked,
        replaced=replacing.sqlite_file,
        examples=FEW,
        patience=patience.SQLITE,
        plant=planting.in_sqlite,
    ),
    Row(
        "redis",
        (PushContract, CancelPushContract, ListingContract, *PARTS, SharedContract, HostsContract),
        on("redis"),
        service="redis",
        outage=memory_full,
        replaced=replacing.redis_server,
        harmed={"redis": lambda: Redis(persistent=True), "redis, nothing persistent": Redis},
        patience=patience.REDIS,
        plant=planting.in_redis,
    ),
    Row(
        "redis-cluster",
        (PushContract, CancelPushContract, ListingContract, *PARTS, SharedContract, HostsContract),
        redis_cluster.on_cluster,
        service="redis",
        outage=redis_cluster.memory_full,
        examples=FEW,
        patience=patience.REDIS,
        plant=planting.in_redis,
    ),
    Row(
        "postgresql",
        (PushContract, CancelPushContract, ListingContract, *PARTS, SharedContract, HostsContract),
        on("postgresql"),
        service="postgresql",
        outage=table_locked,
        replaced=replacing.postgresql_table,
        harmed={"postgresql": lambda: PostgreSQL(durable=True)},
        examples=FEW,
        patience=patience.POSTGRESQL,
        plant=planting.in_postgresql,
    ),
    Row(
        "mariadb",
        (ListingContract, *PARTS, SharedContract, HostsContract),
        on("mariadb"),
        service="mariadb",
        outage=table_read_only,
        replaced=replacing.mariadb_table,
        harmed={"mariadb": lambda: MariaDB(durable=True)},
        examples=FEW,
        patience=patience.MARIADB,
        plant=planting.in_mariadb,
    ),
    Row(
        "nats",
        (PushContract, CancelPushContract, SharedContract, HostsContract),
        on("nats"),
        service="nats",
        outage=nats_killed,
        replaced=replacing.nats_bucket,
        harmed={"nats": NATS},
        examples=FEW,
        patience=patience.NATS,
        plant=planting.in_nats,
    ),
    Row(
        "rabbitmq",
        (PushContract, CancelPushContract, ListingContract, *PARTS, SharedContract, HostsContract),
        on("rabbitmq"),
        service="rabbitmq",
        outage=memory_alarm,
        harmed={"rabbitmq": RabbitMQ},
        examples=FEW,
        patience=patience.RABBITMQ,
    ),
    Row(
        "celery-django-db",
        (SharedContract, HostsContract),
        celery_apps.on_django,
        service="postgresql",
        outage=celery_apps.read_only_postgresql,
        examples=FEW,
        patience=patience.CELERY_ON_A_DATABASE,
        plant=planting.in_celery,
    ),
    Row(
        "celery-file",
        (SharedContract,),
        celery_apps.on_files,
        outage=celery_apps.removed_files,
        examples=FEW,
        patience=patience.CELERY_ON_FILES,
        plant=planting.in_celery,
    ),
    Row(
        "celery-memcached",
        (SharedContract, HostsContract),
        celery_apps.on_memcached,
        service="memcached",
        outage=celery_apps.unreachable_memcached,
        examples=FEW,
        patience=patience.CELERY_ON_MEMCACHED,
        plant=planting.in_celery,
    ),
    Row(
        "kombu-memory",
        (PushContract, CancelPushContract, ListingContract),
        lambda folder: "kombu+memory://",
        examples=FEW,
        patience=patience.KOMBU,
    ),
    Row(
        "kombu-redis",
        (PushContract, CancelPushContract, ListingContract, SharedContract, HostsContract),
        lambda folder: f"kombu+{server('redis').fresh()}",
        service="redis",
        outage=redis_paused,
        left_out=WITHOUT_STORE,
        examples=FEW,
        patience=patience.KOMBU,
    ),
    Row(
        "kombu-amqp",
        (PushContract, CancelPushContract, ListingContract, SharedContract, HostsContract),
        lambda folder: f"kombu+{server('rabbitmq').fresh()}",
        service="rabbitmq",
        outage=memory_alarm,
        left_out=WITHOUT_STORE,
        examples=FEW,
        patience=patience.KOMBU,
    ),
]
