"""
After two hundred jobs and two hundred watches everything is back where it was, and what stays keeps to its bound.

A module for each server takes its part, so that they can be run beside each other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NoReturn

import pytest

from progresskit import Kit, Progress
from tests.contract.backends import BACKENDS
from tests.services import server
from tests.services.mariadb import MariaDB
from tests.services.nats import NATS
from tests.services.postgresql import USER, PostgreSQL
from tests.services.rabbitmq import RabbitMQ
from tests.services.redis import Redis
from tests.services.server import Server
from tests.services.waiting import wait_until

from .jobs import kit_on

COUNT = 200
POOLED = {"redis": 3, "postgresql": 4, "mariadb": 4}
"""
So many connections a kit keeps at most for its calls, where it may have more than one. With Redis that is as many as
threads call at once: here the publisher's, the hub's and the test's own. SQL has a pool: docs/how-to/sql.md.
"""

QUEUES = 10
"""RabbitMQ has so many queues and streams of a store at most, whatever the number of jobs."""


class Leaks:
    """Two hundred jobs and watches on the backend of that name."""

    name: str

    @pytest.fixture
    def served(self, missing_service: Callable[..., NoReturn]) -> Server:
        row = next(row for row in BACKENDS if row.name == self.name)
        assert row.service is not None
        if row.missing:
            missing_service(row.service, row.missing)
        return server(row.service)

    @pytest.fixture
    def kit(self, served: Server) -> Iterator[Kit]:
        with closing(kit_on(served.fresh())) as kit:
            yield kit

    def test_threads_files_and_connections_are_back_where_they_were(self, served: Server) -> None:
        before = held(served)
        with closing(kit_on(served.fresh())) as kit:
            work_and_watch(kit, "warm", 3)
            wait_until(lambda: no_watch(kit), "the hub listens no longer")
            settled = held(served)
            work_and_watch(kit, "job")
            # A pool has as many as were ever needed at once, which three jobs may not have needed.
            pooled = POOLED.get(self.name, 1) - 1
            threads, files, links = settled
            falls_to(served, (threads, files + pooled, links + pooled))
        falls_to(served, before)

    def test_what_is_stored_keeps_to_its_bound_or_expires(self, served: Server, kit: Kit) -> None:
        work_and_watch(kit, "job")
        kit.flush(60)
        match served:
            case Redis():
                with closing(served.client(db=int(kit.settings.url.rpartition("/")[2]))) as client:
                    keys = client.keys("*")
                    assert len(keys) <= COUNT + 10
                    assert [key for key in keys if client.ttl(key) == -1] == [], "kept for ever"
            case PostgreSQL():
                schema = kit.settings.url.rpartition("%3D")[2]
                assert asked(served, f"SELECT count(*) FROM {schema}.progresskit_jobs") == COUNT
            case MariaDB():
                database = kit.settings.url.rpartition("/")[2]
                assert asked(served, f"SELECT count(*) FROM {database}.progresskit_jobs") == COUNT
            case RabbitMQ():
                assert len(served.queues(kit.settings.url)) <= QUEUES
            case NATS():
                (stream,) = served.call(lambda client: client.jetstream().streams_info())
                assert stream.state.messages <= COUNT + 1


def work_and_watch(kit: Kit, name: str, count: int = COUNT) -> None:
    """Run so many jobs, each watched from before it exists to its end."""
    for number in range(count):
        id = f"{name}-{number}"
        done = threading.Event()

        def see(progress: Progress, done: threading.Event = done) -> None:
            if progress.done:
                done.set()

        detach = kit.subject(id).attach(see)
        with kit.observe(id, total=1) as observer:
            observer.advance()
        assert done.wait(60), f"{id} was not seen done"
        detach()
        assert [progress.done for progress in kit.watch(id)][-1]


def held(served: Server) -> tuple[int, int, int]:
    """Return how many threads and files this process has, and how many connections the server."""
    return threading.active_count(), len(os.listdir("/proc/self/fd")), connections(served)


def falls_to(served: Server, bound: tuple[int, int, int]) -> None:
    """Return when no more is held than that."""

    def within() -> bool:
        return all(now <= most for now, most in zip(held(served), bound, strict=True))

    try:
        wait_until(within, "as before")
    except TimeoutError:
        names = sorted(thread.name for thread in threading.enumerate())
        pytest.fail(f"threads, files, connections: {held(served)}, allowed {bound}; {names}")


def connections(served: Server) -> int:
    """Return how many connections the server has, without those by which the test asks."""
    match served:
        case Redis():
            with closing(served.client()) as client:
                return int(client.info("clients")["connected_clients"]) - 1
        case PostgreSQL():
            return int(asked(served, f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'"))
        case MariaDB():
            return int(asked(served, "SELECT count(*) FROM information_schema.processlist WHERE user = 'progresskit'"))
        case RabbitMQ():
            return served.connections()
        case NATS():
            return served.connections()
    raise TypeError(served)


def asked(served: PostgreSQL | MariaDB, query: str) -> Any:
    """Return the one value of a query."""
    with closing(served.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def no_watch(kit: Kit) -> bool:
    return not kit.hub._watched
