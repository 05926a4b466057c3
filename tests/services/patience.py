"""
The limits of the adapters, by their places, as tests set them.

A server that is only busy must not count as one that is away, so most tests raise them. Tests of faults leave them as
they are; those that wait for a limit to pass lower it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

SECONDS = 60
HASTY_SECONDS = 1


def _seconds(module: str, *names: str) -> dict[str, Any]:
    return {f"{module}.{name}": SECONDS for name in names}


SQLITE = _seconds("progresskit_sql.sqlite", "BUSY_SECONDS")

POSTGRESQL = {
    **_seconds("progresskit_sql.waiting", "ANSWER_SECONDS"),
    **_seconds("progresskit_sql.postgresql", "CONNECT_SECONDS"),
    "progresskit_sql.postgresql.STATEMENT_MS": SECONDS * 1_000,
}

MARIADB = _seconds("progresskit_sql.mysql", "CONNECT_SECONDS", "CALL_SECONDS", "LOCK_SECONDS")

REDIS = {
    **_seconds("progresskit_redis.address", "CONNECT_SECONDS", "CALL_SECONDS"),
    **_seconds("progresskit_redis.listeners", "ANSWER_SECONDS"),
}

NATS = {
    **_seconds("progresskit_nats.connection", "CONNECT_SECONDS"),
    **_seconds("progresskit_nats.connection.Connection", "call_seconds", "connect_seconds"),
}

RABBITMQ = {
    **_seconds("progresskit_rabbitmq.node", "LAST_SECONDS"),
    **_seconds("progresskit.backends.log", "CALL_SECONDS"),
    "progresskit_rabbitmq.address.DEFAULTS": {
        "heartbeat": SECONDS,
        "socket_timeout": SECONDS,
        "stack_timeout": SECONDS,
        "connection_attempts": 1,
    },
}

KOMBU = {
    **_seconds("progresskit_kombu.address", "CONNECT_SECONDS", "CALL_SECONDS"),
    **_seconds("progresskit_kombu.transport", "CALL_SECONDS"),
    **_seconds("progresskit.backends.log", "CALL_SECONDS"),
    **_seconds("progresskit_kombu.joining", "LINK_SECONDS"),
    "progresskit_kombu.address.OPTIONS": {"redis": {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS}},
}

CELERY_ON_A_DATABASE = _seconds("progresskit_celery.state.bounded_executor", "CALL_SECONDS")

CELERY_ON_FILES = _seconds("progresskit_celery.state.on_files", "LOCK_SECONDS")

CELERY_ON_MEMCACHED = _seconds("progresskit_celery.state.on_cache", "CONNECT_SECONDS", "CALL_SECONDS")

CELERY_MIRROR = _seconds("progresskit_celery.state.mirrors", "CONNECT_SECONDS", "CALL_SECONDS")


def be_patient(limits: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise these limits for a test."""
    for place, limit in limits.items():
        monkeypatch.setattr(place, limit)


def be_hasty(limits: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower these limits to HASTY_SECONDS for a test that waits until they have passed."""
    be_patient({place: _lowered(limit) for place, limit in limits.items()}, monkeypatch)


def _lowered(limit: Any) -> Any:
    if isinstance(limit, Mapping):
        return {name: _lowered(value) for name, value in limit.items()}
    return limit * HASTY_SECONDS // SECONDS if limit >= SECONDS else limit
