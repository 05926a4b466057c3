"""Counts the requests of backends to their servers: commands of Redis, statements of SQL, messages of a broker."""

from __future__ import annotations

import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from socket import create_connection
from typing import Any, cast
from uuid import uuid4

from tests.contract.redis_cluster import cluster
from tests.services import server
from tests.services.mariadb import MariaDB
from tests.services.postgresql import DATABASE, PostgreSQL
from tests.services.redis import Redis


class Meter(ABC):
    """Counts from when it is made; connections that were open before need not be seen."""

    what: str

    @abstractmethod
    def total(self) -> int:
        """Return how many there have been."""


class RedisMeter(Meter):
    """Counts the commands by MONITOR; those that a script runs do not count."""

    what = "commands"

    def __init__(self, servers: list[Redis], stack: ExitStack) -> None:
        self._count = 0
        self._monitors = []
        for redis in servers:
            client = stack.enter_context(closing(redis.client()))
            monitor = client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
            stack.callback(monitor.disconnect)
            monitor.send_command("MONITOR")
            monitor.read_response()
            self._monitors.append((client, monitor))

    def total(self) -> int:
        for client, monitor in self._monitors:
            mark = uuid4().hex.encode()
            client.echo(mark)
            while mark not in (line := monitor.read_response()):
                self._count += b" lua]" not in line[:60] and b" unix:" not in line[:60]
        return self._count


class PostgreSQLMeter(Meter):
    """Counts the statements in the server's log, of the connections made from now on."""

    what = "statements"

    def __init__(self, stack: ExitStack) -> None:
        postgresql = cast("PostgreSQL", server("postgresql"))
        self._log = postgresql.folder / "server.log"
        change = f"ALTER DATABASE {DATABASE} {{}}"
        postgresql.execute(change.format("SET log_statement = 'all'"), database="postgres")
        stack.callback(postgresql.execute, change.format("RESET log_statement"), database="postgres")

    def total(self) -> int:
        return len(re.findall(rb"LOG:  (?:statement|execute)\b", self._log.read_bytes()))


class MariaDBMeter(Meter):
    """Asks the server, and leaves out its own questions."""

    what = "statements"

    def __init__(self, stack: ExitStack) -> None:
        self._connection = stack.enter_context(closing(cast("MariaDB", server("mariadb")).connect()))
        self._own = 0

    def total(self) -> int:
        self._own += 1
        with self._connection.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Questions'")
            return int(cursor.fetchone()[1]) - self._own


class SQLiteMeter(Meter):
    """Counts the statements of connections that are made from now on in this process."""

    what = "statements"

    def __init__(self, stack: ExitStack) -> None:
        from sqlalchemy import event
        from sqlalchemy.pool import Pool

        self._count = 0
        event.listen(Pool, "connect", self._connected)
        stack.callback(event.remove, Pool, "connect", self._connected)

    def _connected(self, connection: Any, record: object) -> None:
        if isinstance(connection, sqlite3.Connection):  # other databases may be in use meanwhile
            connection.set_trace_callback(self._traced)

    def _traced(self, statement: str) -> None:
        self._count += 1

    def total(self) -> int:
        return self._count


class MessageMeter(Meter):
    """Counts the messages that this process publishes by the `basic_publish` of a class of its client library."""

    what = "messages"

    def __init__(self, channel: Any, stack: ExitStack) -> None:
        self._count = 0
        publish = channel.basic_publish

        def counted(*arguments: Any, **options: Any) -> Any:
            self._count += 1
            return publish(*arguments, **options)

        channel.basic_publish = counted
        stack.callback(setattr, channel, "basic_publish", publish)

    def total(self) -> int:
        return self._count


class MemcachedMeter(Meter):
    """Asks the server."""

    what = "commands"

    def total(self) -> int:
        with create_connection(("127.0.0.1", server("memcached").port), timeout=2) as connection:
            connection.sendall(b"stats\r\n")
            with connection.makefile("rb") as answer:
                lines = iter(answer.readline, b"END\r\n")
                return sum(int(line.split()[2]) for line in lines if line.startswith(b"STAT cmd_"))


def _pika(stack: ExitStack) -> Meter:
    from pika.channel import Channel

    return MessageMeter(Channel, stack)


def _amqp(stack: ExitStack) -> Meter:
    from kombu.transport.pyamqp import Channel

    return MessageMeter(Channel, stack)


def _virtual(stack: ExitStack) -> Meter:
    from kombu.transport.virtual import Channel

    return MessageMeter(Channel, stack)


def _redis(stack: ExitStack) -> Meter:
    return RedisMeter([cast("Redis", server("redis"))], stack)


METERS: Mapping[str, Callable[[ExitStack], Meter]] = {
    "sqlite": SQLiteMeter,
    "redis": _redis,
    "redis-cluster": lambda stack: RedisMeter(cluster().nodes, stack),
    "postgresql": PostgreSQLMeter,
    "mariadb": MariaDBMeter,
    "rabbitmq": _pika,
    "celery-django-db": PostgreSQLMeter,
    "celery-memcached": lambda stack: MemcachedMeter(),
    "kombu-memory": _virtual,
    "kombu-redis": _redis,
    "kombu-amqp": _amqp,
}


@contextmanager
def metered(name: str) -> Iterator[Meter | None]:
    """Yield the meter of a backend, by its name in the table; None where there is none."""
    with ExitStack() as stack:
        yield METERS[name](stack) if name in METERS else None
