"""What works, and what is said, behind a pooler that lends a session of PostgreSQL for one transaction."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NoReturn

import pytest
from sqlalchemy import make_url

from progresskit.errors import BackendUnavailable
from progresskit.testing import RecordingObserver
from progresskit.testing.writes import start, update
from progresskit_sql import SQLBackend, listening
from progresskit_sql.listening import ChannelListener, ListeningBackend
from tests.services import missing, server
from tests.services.pooler import Pooler
from tests.services.postgresql import DATABASE, USER, PostgreSQL
from tests.services.waiting import wait_until


@pytest.fixture
def postgresql(missing_service: Callable[..., NoReturn]) -> PostgreSQL:
    if reason := missing("postgresql"):
        missing_service("postgresql", reason)
    found = server("postgresql")
    assert isinstance(found, PostgreSQL)
    return found


@pytest.fixture
def schema(postgresql: PostgreSQL) -> str:
    return make_url(postgresql.fresh()).query["options"].rpartition("=")[2]  # type: ignore[union-attr]


def behind(pooler: Pooler, query: str) -> str:
    return f"postgresql+psycopg://{USER}@127.0.0.1:{pooler.port}/{DATABASE}?{query}"


@pytest.fixture
def lax(postgresql: PostgreSQL) -> Iterator[Pooler]:
    """Give one that ignores what a client wants set at the start."""
    with Pooler(postgresql.port, USER, DATABASE, takes_options=True) as pooler:
        yield pooler


def test_with_the_option_it_works_and_asks_the_pooler_for_nothing_special(postgresql: PostgreSQL, schema: str) -> None:
    with (
        Pooler(postgresql.port, USER, DATABASE) as pooler,
        closing(SQLBackend(behind(pooler, f"pooler=on&schema={schema}"))) as backend,
        closing(SQLBackend(behind(pooler, f"pooler=on&schema={schema}"))) as viewer,
    ):
        backend.write([start("job")])
        for seq in range(2, 20):
            backend.write([update("job", seq)])
            assert viewer.read(["job"])["job"].version.seq == seq
        assert viewer.request_cancel(["job"]) == backend.cancel_requested(["job"]) == {"job"}


def test_a_refused_connection_says_which_option_is_missing(postgresql: PostgreSQL, schema: str) -> None:
    with (
        Pooler(postgresql.port, USER, DATABASE) as pooler,
        closing(SQLBackend(behind(pooler, f"schema={schema}"))) as backend,
        pytest.raises(BackendUnavailable, match=r"unsupported startup parameter: options: .*\?pooler=on"),
    ):
        backend.write([start("job")])


def test_statements_are_not_prepared_in_sessions_of_others(lax: Pooler, schema: str) -> None:
    with (
        closing(SQLBackend(behind(lax, f"schema={schema}"))) as one,
        closing(SQLBackend(behind(lax, f"schema={schema}"))) as other,
    ):
        one.write([start("job")])
        for seq in range(2, 20):
            one.write([update("job", seq)])
            other.write([update("job", seq)])
            assert one.read(["job"]) == other.read(["job"])


@pytest.mark.parametrize("query", ["", "&pooler=on&listen=on"])
def test_where_nothing_is_reported_it_is_said_once_and_looked_again_and_again(
    query: str, lax: Pooler, schema: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.05)
    with closing(SQLBackend(behind(lax, f"schema={schema}{query}"))) as backend:
        assert isinstance(backend, ListeningBackend)
        lost = list[str]()
        changes = backend.subscribe(lambda records: None, lambda: lost.append("change"))
        cancels = backend.subscribe_cancels(lambda ids: None, lambda: lost.append("cancel"))
        changes.add(["job"])
        cancels.add(["job"])
        wait_until(lambda: lost.count("change") > 9 and lost.count("cancel") > 9, "it is looked again and again", 60)
        changes.close()
        cancels.close()
    assert caplog.text.count("pooler=on") == 1
    with closing(SQLBackend(behind(lax, "pooler=on"))) as after, after._connections.checkout() as checkout:
        assert checkout.connection.exec_driver_sql("SELECT pg_listening_channels()").all() == [], (
            "whose session it is now"
        )


def test_nobody_waits_while_it_is_not_known_whether_anything_is_reported(
    lax: Pooler, schema: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(listening, "TRIAL_POLLS", sys.maxsize)
    with closing(SQLBackend(behind(lax, f"schema={schema}"))) as backend:
        assert isinstance(backend, ListeningBackend)
        lost = list[None]()
        listener = backend.subscribe_cancels(lambda ids: None, lambda: lost.append(None))
        assert isinstance(listener, ChannelListener)
        listener.add(["job"])
        thread = listener._thread
        assert thread is not None
        wait_until(lambda: len(lost) > 3, "it is looked again and again meanwhile", 60)
        listener.remove(["job"])
        listener.close()
        assert not thread.is_alive()
    assert caplog.text == ""


@pytest.mark.parametrize("looks", [listening.TRIAL_POLLS, 0])
def test_where_a_session_is_its_clients_own_a_change_is_reported_be_it_that_the_first_word_came_too_late(
    looks: int, postgresql: PostgreSQL, schema: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "TRIAL_POLLS", looks)
    monkeypatch.setattr(listening, "TRIAL_AGAIN_SECONDS", 0.05)
    with (
        Pooler(postgresql.port, USER, DATABASE, keeps_sessions=True) as pooler,
        closing(SQLBackend(behind(pooler, f"pooler=on&listen=on&schema={schema}"))) as backend,
    ):
        assert isinstance(backend, ListeningBackend)
        observer = RecordingObserver()
        listener = backend.subscribe(observer.notify_all, lambda: None)
        assert isinstance(listener, ChannelListener)
        listener.add(["job"])
        if not looks:
            wait_until(lambda: "pooler=on" in caplog.text, "the word is too late", 60)
            monkeypatch.setattr(listening, "TRIAL_POLLS", 3)
        wait_until(lambda: listener._connection is not None and listener._is_told, "it is told of now", 60)
        backend.write([start("job")])
        observer.wait_for(lambda progress: progress.id == "job")
        assert caplog.text.count("pooler=on") == (not looks)
