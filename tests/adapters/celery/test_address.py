"""The result backends that `celery://` takes: the server behind each, and those that cannot serve."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from progresskit.config import Settings
from progresskit.errors import ConfigurationError
from progresskit.registry import backend_class
from progresskit.testing import start
from progresskit_celery.state import CeleryBackend
from progresskit_celery.state.server import server_of
from tests.contract.celery_apps import address, imported

TLS = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"}
SENTINELS = "sentinel://:pw@h1:26379/1;sentinel://:pw@h2:26380/1"
MASTER = {"master_name": "main", "sentinel_kwargs": {"password": "s/s"}}

SERVERS: list[tuple[str, dict[str, Any], str]] = [
    ("redis://", {}, "redis://localhost:6379/0"),
    ("redis://:p%40w@h:6380/2", {"redis_socket_timeout": 9}, "redis://:p%40w@h:6380/2"),
    ("redis://h/1", {"redis_username": "u", "redis_password": "p/w"}, "redis://u:p%2Fw@h:6379/1"),
    ("redis://[::1]:6380/0", {}, "redis://[::1]:6380/0"),
    ("rediss://h/0?ssl_cert_reqs=CERT_NONE", {}, "rediss://h:6379/0?ssl_cert_reqs=none"),
    (
        "redis://h/0",
        {"redis_backend_use_ssl": TLS},
        "rediss://h:6379/0?ssl_cert_reqs=required&ssl_ca_certs=%2Fca.pem",
    ),
    ("redis+socket:///run/redis.sock?virtual_host=3", {}, "unix:///run/redis.sock?db=3"),
    (
        SENTINELS,
        {"result_backend_transport_options": MASTER},
        "redis+sentinel://:pw@h1:26379,h2:26380/main/1?sentinel_password=s%2Fs",
    ),
    ("db+sqlite:////var/x.db", {}, "sqlite:////var/x.db"),
    ("db+postgresql://u:p@h/name", {}, "postgresql+psycopg://u:p@h/name"),
    ("db+mysql+mysqldb://u:p@h/name?charset=utf8mb4", {}, "mysql+pymysql://u:p@h/name?charset=utf8mb4"),
    ("db+mariadb+pymysql://h/name", {"database_engine_options": {"pool_size": 1}}, "mariadb+pymysql://h/name"),
    (
        "db+postgresql+psycopg2://h/name?application_name=a",
        {
            "database_engine_options": {"connect_args": {"sslmode": "require"}},
            "database_table_schemas": {"task": "celery"},
        },
        "postgresql+psycopg://h/name?application_name=a&sslmode=require&schema=celery",
    ),
]


def app_with(result_backend: str, **settings: Any) -> Any:
    """Return an app with that result backend, which is not connected to."""
    app = Celery("app", set_as_current=False)
    app.conf.update(result_backend=result_backend, database_create_tables_at_setup=False, **settings)
    return app


@pytest.mark.parametrize(("result_backend", "settings", "url"), SERVERS)
def test_a_server_that_the_kit_has_a_backend_for_is_its_own_url(
    result_backend: str, settings: dict[str, Any], url: str
) -> None:
    server = server_of(app_with(result_backend, **settings))
    assert server is not None
    assert server.url == url


@pytest.mark.parametrize(("given", "prefix"), [(None, ""), ("shop", "shop_"), ("shop:", "shop:")])
def test_the_prefix_of_the_apps_keys_is_that_of_the_records(given: str | None, prefix: str) -> None:
    options = {"global_keyprefix": given} if given else {}
    server = server_of(app_with("redis://", result_backend_transport_options=options))
    assert server is not None
    assert server.prefix == prefix


@pytest.mark.parametrize("result_backend", ["redis://127.0.0.1:1/0", "db+postgresql://127.0.0.1:1/name"])
def test_the_object_has_what_the_backend_of_the_server_has(result_backend: str) -> None:
    url = address(result_backend, database_create_tables_at_setup=False)
    server = server_of(imported(url))
    assert server is not None
    made = CeleryBackend.from_url(url, Settings(url=url))
    there = backend_class(server.url).from_url(server.url, Settings(url=server.url))
    assert type(made) is type(there)
    for backend in (made, there):
        backend.close()


@pytest.mark.parametrize("result_backend", ["db+mssql+pyodbc://h/name", "cache+memory://", "mongodb://h/name"])
def test_any_other_result_backend_is_used_as_celery_uses_it(result_backend: str) -> None:
    assert server_of(app_with(result_backend)) is None


# What cannot be


@pytest.mark.parametrize(
    ("result_backend", "says"),
    [("rpc://", "once only"), ("disabled://", "has no result backend"), ("nonsense://", "cannot be had")],
)
def test_a_result_backend_that_cannot_serve_is_refused_at_configuration(result_backend: str, says: str) -> None:
    url = address(result_backend)
    with pytest.raises(ConfigurationError, match=says):
        CeleryBackend.from_url(url, Settings(url=url))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("celery://no_such_module:app", "cannot import"),
        ("celery://json:app", "has no app"),
        ("celery://json:dumps", "no Celery app"),
        ("celery://user:secret@host/1", "not the URL"),
    ],
)
def test_an_address_without_an_app_is_refused_at_configuration(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        CeleryBackend.from_url(url, Settings(url=url))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("result_backend", "settings", "says"),
    [
        ("db+postgresql+psycopg://user:geheim@host:port/name", {}, "not a(nd|) ?(the URL of a )?database|ambiguous"),
        ("db+postgresql+psycopg://user:geheim", {}, "database|ambiguous"),
        ("db+postgresql+psycopg", {}, "cannot be had"),
        ("db+sqlite://", {}, "in memory"),
        ("db+mysql://h/name", {"database_engine_options": {"connect_args": {"ssl": {}}}}, "the option ssl"),
        ("db+mysql://h/name", {"database_engine_options": {"creator": print}}, "creator"),
        ("redis://user:geheim@h/0", {"redis_backend_use_ssl": {"ssl_cert_reqs": "geheim"}}, "redis_backend_use_ssl"),
        ("redis://h/0", {"result_backend_transport_options": {"global_keyprefix": "a/b"}}, "prefix"),
        ("sentinel://h:26379/0", {}, "service"),
    ],
)
def test_a_server_that_cannot_be_is_refused_at_configuration(
    result_backend: str, settings: dict[str, Any], says: str
) -> None:
    url = address(result_backend)
    imported(url).conf.update(settings, database_create_tables_at_setup=False)
    with pytest.raises(ConfigurationError, match=says) as raised:
        CeleryBackend.from_url(url, Settings(url=url))
    assert "geheim" not in str(raised.value)


SENDER = """
import logging, sys
from celery import Celery
import progresskit, progresskit_celery

app = Celery("sender", broker="memory://", backend="db+postgresql://user:geheim@host/name")
app.conf.database_create_tables_at_setup = False  # else Celery itself needs the driver
sys.modules["psycopg"] = None
progresskit_celery.install(app)
for number in range(3):
    app.send_task("work", task_id=f"task-{number}", ignore_result=True)
print("sent")
"""


def test_who_sends_without_the_driver_of_the_results_is_warned_once() -> None:
    sent = subprocess.run(
        [sys.executable, "-c", SENDER],
        env=os.environ | {"PROGRESSKIT_URL": "celery://", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert sent.stdout == "sent\n"
    assert sent.stderr.count("needs the package psycopg") == 1
    assert "Traceback" not in sent.stderr


def test_an_app_that_is_not_configured_is_refused_and_the_current_one_is_found() -> None:
    from celery import Celery, current_app

    app, before = Celery("fresh", set_as_current=False), current_app._get_current_object()
    try:
        app.set_current()
        with pytest.raises(ConfigurationError, match="set result_backend before"):
            CeleryBackend.from_url("celery://", Settings(url="celery://"))
        app.conf.result_backend = "cache+memory://"
        backend = CeleryBackend.from_url("celery://", Settings(url="celery://"))
        assert not backend.shared
        assert backend.write([start("job")]) == {"job": 1}
        backend.close()
    finally:
        before.set_current()


def test_a_prefix_that_makes_ids_too_long_for_a_table_is_refused(tmp_path: Path) -> None:
    url = address("mongodb://127.0.0.1:1/results")
    with pytest.raises(ConfigurationError, match="too long"):
        CeleryBackend.from_url(url, Settings(url=url, prefix="p" * 40))
