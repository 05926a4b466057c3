"""What the SQL backend promises on PostgreSQL, beyond the contract of all backends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NoReturn, cast

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, CreateEnginePlugin, Engine, create_engine, make_url
from sqlalchemy.dialects import plugins
from sqlalchemy.pool import NullPool

from progresskit.abc import SupportsCancelPush, SupportsPush
from progresskit.config import Settings
from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError
from progresskit.progress import State
from progresskit.registry import backend_class
from progresskit.testing import RecordingObserver
from progresskit.testing.writes import external_update, start, update
from progresskit_sql import SQLBackend
from progresskit_sql.listening import ListeningBackend
from tests.services import missing, server
from tests.services.waiting import wait_until

HOST = "postgresql+psycopg://u:geheim@host/x"


@pytest.fixture
def url(missing_service: Callable[..., NoReturn]) -> str:
    if reason := missing("postgresql"):
        missing_service("postgresql", reason)
    return server("postgresql").fresh()


@pytest.fixture
def backend(url: str) -> Iterator[SQLBackend]:
    with closing(SQLBackend(url)) as backend:
        yield backend


def connect(url: str) -> psycopg.Connection[Any]:
    """Look at the store from outside."""
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def has_table(url: str, table: str = "progresskit_jobs") -> bool:
    return rows(url, f"SELECT to_regclass('{table}') IS NOT NULL") == [(True,)]


# The URL.


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_the_registry_finds_it_with_and_without_the_driver_in_the_url(scheme: str, url: str) -> None:
    url = url.replace("postgresql+psycopg", scheme)
    with closing(backend_class(url).from_url(url, Settings(url=url, prefix="shop"))) as backend:
        backend.write([start("job")])
        assert isinstance(backend, ListeningBackend)
    assert rows(url, "SELECT id FROM shop_jobs") == [("job",)]


def test_it_pushes_unless_the_url_says_that_nobody_can_listen() -> None:
    for url, pushes in {
        HOST: True,
        f"{HOST}?listen=on": True,
        f"{HOST}?listen=off": False,
        f"{HOST}?pooler=on": False,
        f"{HOST}?pooler=on&listen=on": True,
    }.items():
        with closing(SQLBackend(url)) as backend:
            assert isinstance(backend, SupportsPush) == isinstance(backend, SupportsCancelPush) == pushes


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("postgresql+psycopg2://u:geheim@host/x", "progresskit needs postgresql+psycopg://"),
        ("postgresql+psycopg_async://u:geheim@host/x", "progresskit needs postgresql+psycopg://"),
        ("postgresql+asyncpg://u:geheim@host/x", "progresskit needs postgresql+psycopg://"),
        ("postgresql://u:geheim@host:port/x", "one looks like postgresql+psycopg://user:password@host/database"),
        (f"{HOST}?sslmod=require", "the URL's option sslmod is not known to libpq"),
        (f"{HOST}?autocommit=off", "the URL's option autocommit is not known to libpq"),
        (f"{HOST}?sslmode=requre", "the URL's option sslmode must be one of disable, allow, prefer, require,"),
        (f"{HOST}?connect_timeout=soon", "the URL's option connect_timeout must be a whole number, not 'soon'"),
        (f"{HOST}?listen=perhaps", "the URL's option listen must be on or off, not 'perhaps'"),
        (f"{HOST}?pooler=yes", "the URL's option pooler must be on or off, not 'yes'"),
    ],
)
def test_a_mistake_in_the_url_is_reported_at_once_and_says_what_to_do(url: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        SQLBackend(url)
    assert hint in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_a_plugin_of_sqlalchemys_may_be_named_in_the_url_with_options_of_its_own(url: str) -> None:
    made = list[Engine]()

    class Plugin(CreateEnginePlugin):
        def update_url(self, url: URL) -> URL:
            return url.difference_update_query(["colour"])

        def engine_created(self, engine: Engine) -> None:
            made.append(engine)

    plugins.impls["painter"] = lambda: Plugin
    try:
        with closing(SQLBackend(f"{url}&plugin=painter&colour=blue")) as backend:
            assert backend.read(["job"]) == {}
    finally:
        del plugins.impls["painter"]
    assert len(made) == 1


def test_a_prefix_that_the_server_would_cut_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="over 63 bytes"):
        SQLBackend(HOST, prefix="ü" * 30)


@pytest.mark.parametrize(
    "prefix", ["my-app", "my app", 'quo"ted', "se'lect", "{x}", "%s", "100%", "größe", "1", "A.b:c"]
)
def test_any_prefix_will_do(prefix: str, url: str) -> None:
    with closing(SQLBackend(url, prefix=prefix)) as backend:
        observer = RecordingObserver()
        assert isinstance(backend, ListeningBackend)
        backend.subscribe(observer.notify_all, lambda: None).add(["job"])
        backend.write([start("job")])
        observer.wait_for(lambda progress: progress.state is State.RUNNING)
        backend.write([external_update("job", State.FAILED)])
        assert backend.request_cancel(["job"]) == backend.cancel_requested(["job"]) == set()
        assert backend.list(kind=None, states=None, limit=9) == [*backend.read(["job"]).values()]
    assert (f"{prefix}_jobs",) in rows(url, "SELECT relname FROM pg_class")


def test_prefixes_and_schemas_do_not_see_each_other(url: str, backend: SQLBackend) -> None:
    backend.write([start("job")])
    schema = server("postgresql").fresh().rpartition("search_path%3D")[2]
    for other in (SQLBackend(url, prefix="other"), SQLBackend(f"{url}&schema={schema}")):
        with closing(other):
            assert other.read(["job"]) == {}
            other.write([start("its own")])
    assert backend.read(["job", "its own"]).keys() == {"job"}
    assert rows(url, f"SELECT id FROM {schema}.progresskit_jobs") == [("its own",)]


def test_what_the_url_says_of_the_session_holds_beside_what_the_kit_wants(url: str) -> None:
    with closing(SQLBackend(f"{url}%20-clock_timeout%3D1234&application_name=shop")) as backend:
        backend.read(["job"])
        with backend._connections.checkout() as checkout:
            settings = {
                name: checkout.connection.exec_driver_sql(f"SHOW {name}").scalar()
                for name in ("lock_timeout", "application_name", "statement_timeout")
            }
    assert settings == {"lock_timeout": "1234ms", "application_name": "shop", "statement_timeout": "3s"}


def test_behind_a_pooler_nothing_is_kept_in_a_session(url: str) -> None:
    with closing(SQLBackend(f"{url}&pooler=on")) as backend:
        backend.write([start("job")])
        for seq in range(2, 20):
            backend.write([update("job", seq)])
        with backend._connections.checkout() as checkout:
            assert checkout.connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar() == 0
            assert checkout.connection.exec_driver_sql("SHOW statement_timeout").scalar() == "0"
            assert checkout.connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


def test_sqlite_needs_no_psycopg_and_postgresql_says_what_brings_it() -> None:
    code = """
import sys
sys.modules["psycopg"] = None
from progresskit.errors import MissingPackage
from progresskit_sql import SQLBackend
SQLBackend("sqlite://").close()
try:
    SQLBackend("postgresql://host/x")
except MissingPackage as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 'pip install "progresskit[sql]"' in done.stdout


# The job's own transaction.


# Two writers.


# A given engine.


@pytest.mark.parametrize("options", [{}, {"poolclass": NullPool}, {"pool_size": 1, "max_overflow": 0}])
def test_a_given_engine_is_listened_to_by_a_connection_that_is_taken_out_of_its_pool(
    options: dict[str, Any], url: str
) -> None:
    engine = create_engine(url, **options)
    backend = SQLBackend(engine)
    assert isinstance(backend, ListeningBackend)
    observer = RecordingObserver()
    backend.subscribe(observer.notify_all, lambda: None).add(["job"])
    for seq in range(1, 5):
        backend.write([start("job") if seq == 1 else update("job", seq)])
        observer.wait_for(lambda progress, seq=seq: progress.version.seq == seq)  # type: ignore[misc]
    backend.close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM progresskit_jobs").scalar_one() == 1
    engine.dispose()


def test_a_given_engine_of_another_driver_is_refused() -> None:
    engine = create_engine("postgresql+psycopg_async://host/x")
    with pytest.raises(ConfigurationError, match="progresskit needs"):
        SQLBackend(engine)


# The table.


def test_a_user_who_may_not_make_tables_works_with_one_that_is_there(url: str) -> None:
    name = url.rpartition("search_path%3D")[2]
    role, schema = sql.Identifier(f"{name}_user"), sql.Identifier(name)
    limited = make_url(url).set(username=f"{name}_user")
    backend = SQLBackend(limited)
    with closing(backend), server("postgresql").connect() as admin:  # type: ignore[attr-defined]
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        admin.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(schema))
        admin.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role))
        with pytest.raises(BackendUnavailable, match="permission denied"):
            backend.write([start("job")])
        with closing(SQLBackend(url)) as owner:
            owner.read(["job"])
        rights = "GRANT SELECT, INSERT, UPDATE, DELETE ON {0}.progresskit_jobs, {0}.progresskit_parts TO {1}"
        admin.execute(sql.SQL(rights).format(schema, role))
        backend.write([start("job")])
        assert backend.request_cancel(["job"]) == {"job"}
        backend._sweep_at = 0
        backend.write([update("job", 2)])
        assert backend.read(["job"])["job"].version.seq == 2


def test_an_update_touches_no_index(url: str, backend: SQLBackend) -> None:
    ids = [f"job-{number}" for number in range(50)]
    backend.write([start(id) for id in ids])
    for seq in range(2, 22):
        backend.write([update(id, seq) for id in ids])
    backend.close()
    statistics = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'progresskit_jobs'::regclass"
    updated = hot = 0

    def counted() -> bool:  # which the server does a moment after a session has ended
        nonlocal updated, hot
        ((updated, hot),) = cast("list[tuple[int, int]]", rows(url, statistics))
        return updated >= 20 * len(ids)

    wait_until(counted, "the updates are counted")
    # At the turn of a minute each job has one that does.
    assert hot >= updated - 2 * len(ids)


# Time.


# Errors.


@pytest.mark.parametrize(
    "bad",
    [
        update("bad", 2**70),
        update("bad", 2)._replace(body="\ud800"),
        update("bad", 2)._replace(body="\0"),
        update("bad", 2)._replace(lease=float("nan"), ttl=1e300),
    ],
)
def test_what_cannot_be_stored_at_all_is_a_backend_error_and_the_batch_is_taken_whole_or_not(
    bad: Any, backend: SQLBackend
) -> None:
    with pytest.raises(BackendError) as raised:
        backend.write([start("good"), bad])
    assert not isinstance(raised.value, BackendUnavailable)
    assert backend.read(["good", "bad"]) == {}
    assert backend.write([start("good")]) == {"good": 1}


def test_no_password_is_shown_by_an_error() -> None:
    with (
        closing(SQLBackend("postgresql+psycopg://u:geheim@127.0.0.1:1/x?password=geheim")) as backend,
        pytest.raises(BackendUnavailable) as raised,
    ):
        backend.read(["job"])
    error: BaseException | None = raised.value
    while error is not None:
        assert "geheim" not in str(error)
        error = error.__cause__ or error.__context__


def test_what_is_wrong_with_the_server_and_not_with_a_record_passes(url: str) -> None:
    for wrong in (
        make_url(url).set(database="missing"),
        make_url(url).set(username="nobody"),
        f"{url}&schema=missing",
        make_url(url).set(port=1),
    ):
        with closing(SQLBackend(wrong)) as backend, pytest.raises(BackendUnavailable):
            backend.write([start("job")])


def test_the_writer_is_notified_when_a_reader_has_made_the_table_again(url: str, backend: SQLBackend) -> None:
    backend.write([start("job")])
    with connect(url) as connection:
        connection.execute("DROP TABLE progresskit_jobs")
    with pytest.raises(BackendUnavailable):
        backend.read(["job"])
    assert backend.read(["job"]) == {}
    with pytest.raises(BackendUnavailable):
        backend.write([update("job", 2)])
    backend.write([update("job", 2)])
    assert backend.read(["job"])["job"].version.seq == 2


# What is told.


class Ear:
    """Hears all that is told on the channel."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection, self._heard = connection, list[str]()
        connection.add_notify_handler(lambda notify: self._heard.append(notify.payload))
        connection.execute("LISTEN progresskit_jobs")

    def heard(self) -> list[str]:
        """Return what was told since the last time."""
        self._connection.execute("NOTIFY progresskit_jobs, 'end'")
        wait_until(lambda: (self._connection.execute("SELECT 1"), "end" in self._heard)[1], "the end is heard")
        heard, self._heard = self._heard, []
        return heard[:-1]


def test_a_batch_is_one_notification_or_as_many_as_its_ids_need(url: str, backend: SQLBackend) -> None:
    with connect(url) as connection:
        ear = Ear(connection)
        for ids in ([f"job-{number}" for number in range(700)], [f"{number:0128d}" for number in range(1_000)]):
            backend.write([start(id) for id in ids])
            payloads = ear.heard()
            assert {id for payload in payloads for id in payload.split(",")} == set(ids)
            assert max(map(len, payloads)) < 8_000
            assert len(payloads) <= sum(len(id) + 1 for id in ids) // 7_800 + 1


def test_a_write_that_is_ignored_is_not_reported(url: str, backend: SQLBackend) -> None:
    backend.write([start("job"), start("other")])
    backend.write([update("job", 5)])
    with connect(url) as connection:
        ear = Ear(connection)
        backend.write([update("job", 4), update("other", 2, token="nobody")])
        assert ear.heard() == []
        backend.write([update("other", 2), update("job", 5)])
        assert [sorted(payload.split(",")) for payload in ear.heard()] == [["job", "other"]]


def test_nobody_waits_for_the_disk_but_for_the_end_of_a_job(url: str, backend: SQLBackend) -> None:
    backend.write([start("job")])
    with connect(url) as connection:
        connection.execute("CREATE TABLE seen (setting text)")
        connection.execute("""
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$
        """)
        connection.execute(
            "CREATE CONSTRAINT TRIGGER note AFTER UPDATE ON progresskit_jobs DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION note()"
        )
    for write in (
        update("job", 2),
        external_update("job", State.FAILED),
        start("job", token="next"),
        update("job", 2, token="next", run=2),
    ):
        backend.write([write])
    assert rows(url, "SELECT setting FROM seen") == [("off",), ("on",), ("off",), ("off",)]
    with backend._connections.checkout() as checkout:
        assert checkout.connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
