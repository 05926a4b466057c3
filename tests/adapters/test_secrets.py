"""A password in a URL reaches no log, no exception, no repr and no output, however it is written and misread."""

from __future__ import annotations

import argparse
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from progresskit.cli import doctor
from progresskit.config import Settings
from progresskit.errors import ProgressKitError
from progresskit.kit import Kit
from progresskit.registry import BACKENDS
from progresskit.urls import describe, is_plain, redact
from progresskit_celery.state import CeleryBackend
from progresskit_sql import SQLBackend
from tests.contract.celery_apps import address

# Some URLs use names of parameters that PyMySQL is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:'(passwd|db)' is deprecated:DeprecationWarning")

PARTS = ("Zq7Kx", "Vw9Jp")
"""Of the password: none of them may be seen anywhere."""

SCHEMES = [
    "redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "unix", "amqp", "amqps", "sqlite",
    "postgresql", "postgresql+psycopg", "postgresql+asyncpg", "mysql", "mysql+pymysql", "mariadb+pymysql", "memory",
    "celery", "kombu+redis", "kombu+amqp", "kombu+memory", "kombu+sqs", "kombu+nosuch", "kombu", "REDIS", "nosuch",
    "redis+nosuch", " redis", "sqlite+pysqlite", "kombu+sentinel", "nats", "tls",
]  # fmt: skip

PLACES = {
    "redis+sentinel": ["127.0.0.1:1,127.0.0.1:2/main/0", "[::1]:1,localhost:1/main", "127.0.0.1:1"],
    "rediss+sentinel": ["127.0.0.1:1,127.0.0.1:2/main/0"],
    "redis+cluster": ["127.0.0.1:1,127.0.0.1:2", "[::1]:1"],
    "unix": ["/nosuch/redis.sock", ""],
    "sqlite": ["/nosuch/progress.db", ":memory:"],
    "celery": ["nosuch.app:app", "nosuch"],
}
ANYWHERE = [
    "127.0.0.1:1/0",
    "127.0.0.1:1",
    "[::1]:1/db",
    "127.0.0.1:1/vhost/x",
    "127.0.0.1:port/0",
    "127.0.0.1:99999/",
    "",
]

QUERY_NAMES = ["password", "ssl_password", "sentinel_password", "passwd", "sslpassword"]

separators = st.text(st.sampled_from("@/[]#?:% +"), max_size=2)
passwords = st.builds(
    lambda before, between, after: f"{before}{PARTS[0]}{between}{PARTS[1]}{after}", separators, separators, separators
)  # fmt: skip


@st.composite
def urls(draw: st.DrawFn) -> str:
    """Give a URL that somebody may have written, with a password somewhere in it."""
    scheme = draw(st.sampled_from(SCHEMES))
    place = draw(st.sampled_from([*PLACES.get(scheme, []), *ANYWHERE]))
    password = draw(passwords)
    if draw(st.booleans()):
        password = quote(password, safe=draw(st.sampled_from(["", "/", "@:"])))
    user = draw(st.sampled_from(["", "user", "first.last", "user%40site", "u@v"]))
    form = draw(st.sampled_from(["authority", "query", "both", "twice", "no scheme", "no slashes"]))
    credentials = f"{user}:{password}@"
    name = draw(st.sampled_from(QUERY_NAMES))
    query = f"?{draw(st.sampled_from(['', 'db=0&', 'timeout=5&']))}{name}={password}"
    match form:
        case "query":
            return f"{scheme}://{place}{query}"
        case "both":
            return f"{scheme}://{credentials}{place}{query}"
        case "twice":
            return f"{scheme}://{credentials}127.0.0.1:1,{credentials}{place}"
        case "no scheme":
            return f"{credentials}{place}"
        case "no slashes":
            return f"{scheme}:{credentials}{place}"
        case _:
            return f"{scheme}://{credentials}{place}"


def hidden(text: str) -> bool:
    return not any(part in text for part in PARTS)


def shown_text(act: Callable[[], Any]) -> str:
    """Return all that is shown of what it raises: a traceback with its causes; nothing else than the kit's errors."""
    try:
        return repr(act())
    except ProgressKitError as error:
        return "".join(traceback.format_exception(error))


@contextmanager
def logged(name: str | None = None) -> Iterator[StringIO]:
    """Collect the logs of a library, or of all of them."""
    stream, root = StringIO(), logging.getLogger(name)
    handler, level = logging.StreamHandler(stream), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@settings(max_examples=300, deadline=None)
@given(urls())
def test_what_is_shown_of_a_url_hides_the_password(url: str) -> None:
    assert hidden(redact(url))
    assert hidden(repr(Settings(url=url)))
    assert hidden(str(Settings(url=url)))
    assert hidden(describe(ValueError(f"cannot connect to {url}"), url)) or is_plain(url)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(urls())
@example("redis://:Zq7Kx/Vw9Jp@127.0.0.1:1/0")
@example("amqp://user:Zq7Kx@Vw9Jp@127.0.0.1:1/")
@example("postgresql+psycopg://user:Zq7Kx@Vw9Jp@127.0.0.1:1/db")
@example("redis://:Zq7Kx")
@example("redis+cluster://user:Zq7Kx/Vw9Jp")
def test_what_is_raised_for_a_url_hides_the_password(url: str) -> None:
    with logged() as logs:
        kits: list[Kit] = []

        assert hidden(shown_text(lambda: kits.append(Kit(url, flush_seconds=0))))
        for kit in kits:
            assert hidden(f"{kit!r} {kit!s} {kit.settings!r} {kit.backend!r} {kit.publisher!r} {kit.hub!r}")
            kit.close()
    assert hidden(logs.getvalue())


REACHED = [
    *(f"{scheme}://user:{{}}@127.0.0.1:1/{path}" for scheme, path in {
        "redis": "0", "rediss": "0", "redis+sentinel": "main/0", "redis+cluster": "0", "amqp": "vhost",
        "amqps": "vhost", "postgresql+psycopg": "db", "mysql+pymysql": "db", "mariadb": "db", "kombu+redis": "0",
        "kombu+amqp": "vhost", "nats": "", "tls": "",
    }.items()),
    "redis://127.0.0.1:1/0?password={}",
    "unix://user:{}@/nosuch/redis.sock?db=0&password={}",
    "redis+sentinel://127.0.0.1:1,127.0.0.1:2/main/0?sentinel_password={}",
    "postgresql+psycopg://user@127.0.0.1:1/db?password={}",
    "mysql+pymysql://user@127.0.0.1:1/db?password={}",
    "sqlite:////nosuch/progress.db?password={}",
]  # fmt: skip


@pytest.mark.parametrize("url", REACHED)
@pytest.mark.parametrize("password", ["Zq7KxVw9Jp", quote("Zq7Kx@/[]#?:Vw9Jp", safe="")])
def test_what_is_reported_of_a_server_that_does_not_answer_hides_the_password(url: str, password: str) -> None:
    url = url.replace("{}", password)
    with logged() as logs:
        assert hidden(shown_text(lambda: first_use(url)))
    assert hidden(logs.getvalue())


def first_use(url: str) -> None:
    kit = Kit(url, flush_seconds=0.2)
    try:
        job = kit.observe("job")
        messages = [
            shown_text(lambda: kit.get("job")),
            shown_text(lambda: kit.list(limit=1)),
            shown_text(lambda: kit.cancel("job")),
        ]
        messages += [
            shown_text(job.succeed),
            shown_text(lambda: kit.flush(0.2)),
            shown_text(lambda: kit.warn_unshared("a page")),
        ]
        assert hidden("".join(messages)), messages
        assert any("Error" in message or "Unavailable" in message for message in messages)
    finally:
        kit.close()


@pytest.mark.parametrize("url", [*REACHED, "redis://:{}/x@127.0.0.1:1/0", "u:{}@127.0.0.1:6379/0", "memory://u:{}@x"])
@pytest.mark.parametrize("json", [False, True])
def test_doctor_hides_the_password(url: str, json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    url = url.replace("{}", quote("Zq7Kx@/[]#?:Vw9Jp", safe=""))
    with logged() as logs:
        assert doctor.run(argparse.Namespace(url=url, json=json)) != 0
    written = capsys.readouterr()
    assert written.out
    assert hidden(written.out + written.err + logs.getvalue())


@settings(max_examples=60, deadline=None)
@given(url=urls())
def test_doctor_hides_the_password_of_a_url_that_cannot_be(url: str) -> None:
    output = StringIO()
    with pytest.MonkeyPatch.context() as patch, logged() as logs:
        patch.setattr(doctor, "_checkup", lambda worker, viewer: iter(()))  # nothing is connected
        patch.setattr("sys.stdout", output)
        doctor.run(argparse.Namespace(url=url, json=False))
    assert output.getvalue()
    assert hidden(output.getvalue() + logs.getvalue())


def test_the_fuzz_knows_every_scheme_of_the_table() -> None:
    assert {scheme.partition("+")[0] for scheme in SCHEMES} >= BACKENDS.keys()


@pytest.mark.parametrize(
    "result_backend",
    [
        "redis://:Zq7Kx@Vw9Jp@127.0.0.1:1/0",
        "redis://user:Zq7KxVw9Jp@127.0.0.1:1/0",
        "db+postgresql+psycopg://user:Zq7Kx@Vw9Jp@127.0.0.1:1/db",
        "db+postgresql+psycopg://user:Zq7KxVw9Jp@127.0.0.1:1/db",
        "sentinel://:Zq7Kx@127.0.0.1:1;sentinel://:Vw9Jp@127.0.0.1:2",
        "user:Zq7Kx@Vw9Jp@127.0.0.1:1/db",
        "nosuch://user:Zq7Kx@Vw9Jp",
    ],
)
def test_the_result_backend_of_a_celery_app_keeps_its_password(result_backend: str) -> None:
    url = address(
        result_backend,
        result_backend_transport_options={"master_name": "main"},
        database_create_tables_at_setup=False,
    )

    def use() -> None:
        backend = CeleryBackend.from_url(url, Settings(url=url))
        try:
            backend.read(["job"])
        finally:
            backend.close()

    with logged("progresskit") as logs:  # what Celery logs of its result backend is Celery's
        message = shown_text(use)
    assert message != "None"
    assert hidden(message.rpartition("progresskit.errors.")[2] + logs.getvalue())


def test_an_engine_that_was_given_keeps_its_password() -> None:
    from sqlalchemy import create_engine

    for url in ("u:Zq7KxVw9Jp@127.0.0.1:1/db", "u:Zq7Kx@Vw9Jp@127.0.0.1:1/db"):
        engine = create_engine(f"postgresql+psycopg://{url}")
        backend = SQLBackend(engine)
        message = shown_text(lambda backend=backend: backend.read(["job"]))  # type: ignore[misc]
        assert "BackendUnavailable" in message
        assert hidden(message.rpartition("progresskit.errors.")[2])
        engine.dispose()
