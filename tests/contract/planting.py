"""How a stored body is replaced behind a backend's back, in each store of the table of backends."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from progresskit_celery.state.results import ResultsBackend
from progresskit_celery.state.store import Change, Meta
from progresskit_nats import NATSBackend
from progresskit_redis import RedisBackend
from tests.services import mariadb

UPDATE = "UPDATE progresskit_jobs SET body = {} WHERE id = {}"


def in_sqlite(url: str, backend: Any, id: str, body: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        assert connection.execute(UPDATE.format("?", "?"), (body, id)).rowcount == 1


def in_postgresql(url: str, backend: Any, id: str, body: str) -> None:
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        body = body.replace("\0", "")  # which the server stores in no text
        assert connection.execute(UPDATE.format("%s", "%s").encode(), (body, id)).rowcount == 1


def in_mariadb(url: str, backend: Any, id: str, body: str) -> None:
    with mariadb.using(url) as cursor:
        assert cursor.execute(UPDATE.format("%s", "%s"), (body, id)) == 1


def in_redis(url: str, backend: RedisBackend, id: str, body: str) -> None:
    assert backend._server.client().hset(backend._shards.of(id).job(id), "body", body) == 0


def in_nats(url: str, backend: NATSBackend, id: str, body: str) -> None:
    ((before, revision),) = backend.get_records([id])[0].values()
    assert before is not None
    planted = before._replace(stored=before.stored._replace(body=body))
    assert backend.swap_records({id: (planted, revision)})
    backend.forget_revisions()


def in_celery(url: str, backend: ResultsBackend, id: str, body: str) -> None:
    def edit(meta: Meta | None, now: float) -> Change:
        assert meta is not None
        head, override, _ = meta.result.split("\n", 2)
        return Change(f"{head}\n{override}\n{body}", 3_600.0, now + 3_600.0)

    backend._store.change({backend._name(id): edit})
