"""Failure modes of a server that runs, answers, and stores nothing: full, read-only, or out of connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

from tests.services.mariadb import MariaDB
from tests.services.nats import NATS
from tests.services.ports import free_port
from tests.services.postgresql import USER, PostgreSQL
from tests.services.rabbitmq import RabbitMQ
from tests.services.redis import Redis
from tests.services.server import Server
from tests.services.waiting import wait_until

FailureMode = Callable[[], AbstractContextManager[None]]


@contextmanager
def redis_setting(server: Redis, name: str, value: str, usually: str) -> Iterator[None]:
    with closing(server.client()) as client:
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, usually)


@contextmanager
def redis_replica(server: Redis) -> Iterator[None]:
    """Make it the read-only copy of a server that is gone, as a failover does to the old one."""
    with closing(server.client()) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", free_port())
        try:
            yield
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def postgresql_read_only(server: PostgreSQL) -> Iterator[None]:
    """Let new transactions read only, also those of connections that there are."""
    server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    server.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        server.execute("ALTER SYSTEM RESET default_transaction_read_only")
        server.execute("SELECT pg_reload_conf()")


@contextmanager
def postgresql_crowded(server: PostgreSQL) -> Iterator[None]:
    """Let nobody in, as when all connections are taken."""
    server.execute(f"ALTER ROLE {USER} CONNECTION LIMIT 0")
    with closing(server.connect()) as connection:
        ending = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'"
        # Again and again: one may have been let in just before, and not be on the list yet.
        wait_until(lambda: not connection.execute(ending).fetchall(), "nobody is connected")
    try:
        yield
    finally:
        server.execute(f"ALTER ROLE {USER} CONNECTION LIMIT -1")


@contextmanager
def mariadb_read_only(server: MariaDB) -> Iterator[None]:
    """Refuse every write, as a replica does."""
    server.execute("SET GLOBAL read_only = ON")
    try:
        yield
    finally:
        server.execute("SET GLOBAL read_only = OFF")


@contextmanager
def rabbitmq_out_of_memory(server: RabbitMQ) -> Iterator[None]:
    """Raise an alarm, at which the broker takes nothing more from those who publish."""
    server.limit_memory(0.000001)
    try:
        yield
    finally:
        server.limit_memory()


@contextmanager
def rabbitmq_out_of_disk(server: RabbitMQ) -> Iterator[None]:
    """Raise the other one."""
    server.need_disk("100000GB")
    try:
        yield
    finally:
        server.need_disk()


@contextmanager
def nats_full(server: NATS) -> Iterator[None]:
    """Give the bucket no room for anything more."""

    def limited(size: int) -> Callable[[Any], Awaitable[None]]:
        async def limit(client: Any) -> None:
            manager = client.jetstream()
            config = (await manager.stream_info("KV_progresskit")).config
            await manager.update_stream(config.evolve(max_bytes=size))

        return limit

    server.call(limited(1))
    try:
        yield
    finally:
        server.call(limited(-1))


def failure_modes(server: Server) -> dict[str, FailureMode]:
    """Return those of a server, by name."""
    match server:
        case Redis():
            return {
                "out of memory": lambda: redis_setting(server, "maxmemory", "1", "0"),
                "without its replicas": lambda: redis_setting(server, "min-replicas-to-write", "1", "0"),
                "read-only": lambda: redis_replica(server),
            }
        case PostgreSQL():
            return {
                "read-only": lambda: postgresql_read_only(server),
                "too many connections": lambda: postgresql_crowded(server),
            }
        case MariaDB():
            return {"read-only": lambda: mariadb_read_only(server)}
        case RabbitMQ():
            return {
                "out of memory": lambda: rabbitmq_out_of_memory(server),
                "out of disk": lambda: rabbitmq_out_of_disk(server),
            }
        case NATS():
            return {"full": lambda: nats_full(server)}
    raise TypeError(f"{server} has no failure mode")
