"""
The states of tasks in Redis and in databases, where the records are kept by other backends.

Celery's own connections are not used: they wait for minutes, try again for long, and a database outside of a worker is
connected to for each call.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from progresskit.backends import keep_inherited

from .bounded_executor import BoundedExecutor
from .store import MIRRORED_OVER, PROGRESS, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_SECONDS, CALL_SECONDS = 2.0, 5.0


SWAP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[3] ~= '0' then
    redis.call('EXPIRE', KEYS[1], ARGV[3])
end
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1
"""
"""Stores a result, and publishes it as Celery does, only where the stored one is that which was looked at."""

MIRRORED = "_progresskit_mirrored"
"""Where a task's request keeps the result that was stored of it last, which is mostly still there."""


class RedisMirror:
    """Replaces a state only where it is still the one that was looked at, or that this process has stored last."""

    def __init__(self, app: Any) -> None:
        self._app = app

    @cached_property
    def _client(self) -> Any:
        backend = self._app.backend
        given = backend.connparams
        ours = {"socket_timeout": CALL_SECONDS, "retry_on_timeout": False, "decode_responses": False}
        if "path" not in given:
            ours["socket_connect_timeout"] = CONNECT_SECONDS
        return backend._create_client(**(given | ours))  # redis-py lets go of connections in a forked child

    def mirror(self, request: Any, result: Mapping[str, Any]) -> None:
        """Store PROGRESS as the state of the task, unless it has another one that stays."""
        backend = self._app.backend
        key, value = backend.get_key_for_task(request.id), encoded(backend, request.id, result, request)
        last = getattr(request, MIRRORED, None)
        if last is None or not self._swap(key, last, value):
            stored = self._client.get(key)
            found = decoded(backend, stored)
            if found is not None and found.status not in MIRRORED_OVER:
                return
            if not self._swap(key, stored or b"", value):
                return  # the task has another state now; if it is none that stays, the next report replaces it
        setattr(request, MIRRORED, value)

    def _swap(self, key: Any, before: bytes, after: bytes) -> bool:
        return bool(self._script(keys=[key], args=[before, after, int(self._app.backend.expires or 0)]))

    @cached_property
    def _script(self) -> Any:
        return self._client.register_script(SWAP)

    def close(self) -> None:
        """Close the connections, which a later call opens again."""
        self._client.connection_pool.disconnect()


class DatabaseMirror:
    """Replaces a state by one statement that says which ones it may replace."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._begin()

    def _begin(self) -> None:
        self._process, self._executor = os.getpid(), BoundedExecutor()
        self._engine: Any = None

    def mirror(self, request: Any, result: Mapping[str, Any]) -> None:
        """Store PROGRESS as the state of the task, unless it has another one that stays."""
        if os.getpid() != self._process:
            keep_inherited(self._engine)
            self._begin()
        self._executor.call("the database of Celery's results", partial(self._mirror, request.id, result))

    def _mirror(self, id: str, result: Mapping[str, Any]) -> None:
        from celery.backends.database.session import SessionManager

        sa: Any = import_module("sqlalchemy")  # which the app's result backend requires, and not the extra
        backend = self._app.backend
        if self._engine is None:
            engine = sa.create_engine(backend.url, **({"pool_pre_ping": True} | backend.engine_options))
            SessionManager().prepare_models(engine)  # makes the table
            self._engine = engine
        table = backend.task_cls.__table__
        value = (
            result if isinstance(table.c.result.type, sa.PickleType) else backend.encode(result)
        )  # before Celery 5.7
        row = {"status": PROGRESS, "result": value.encode() if isinstance(value, str) else value}
        row["date_done"] = datetime.now(UTC)
        is_task = table.c.task_id == id
        with self._engine.begin() as connection:
            status = connection.execute(sa.select(table.c.status).where(is_task)).scalar()
            if status in MIRRORED_OVER:
                is_replaced = is_task & table.c.status.in_(MIRRORED_OVER)
                connection.execute(sa.update(table).where(is_replaced).values(row))
            elif status is None:
                try:
                    connection.execute(sa.insert(table).values(task_id=id, **row))
                except sa.exc.IntegrityError:
                    pass  # there is a result meanwhile

    def close(self) -> None:
        """Close the connections, which a later call opens again."""
        if os.getpid() == self._process:
            self._executor.close()
            engine, self._engine = self._engine, None
            if engine is not None:
                engine.dispose()
