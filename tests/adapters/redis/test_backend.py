"""What the addresses of Redis may say, which clients can be given, and what is stored under which keys."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from progresskit.config import Settings
from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError, MissingPackage
from progresskit.parts import Report
from progresskit.progress import State
from progresskit.testing import FakeClock, RecordingObserver, external_update, start, update
from progresskit.testing.writes import CREATED, declare
from progresskit_redis import RedisBackend
from progresskit_redis.address import parsed
from tests.services import server
from tests.services.redis import Redis, RedisCluster, Sentinel

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def redis() -> Redis:
    found = server("redis")
    assert isinstance(found, Redis)
    return found


@pytest.fixture
def url(redis: Redis) -> str:
    return redis.fresh()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def raw(redis: Redis, url: str) -> Iterator[Any]:
    """Give a client of what the address leads to."""
    with closing(redis.client(db=int(urlsplit(url).path[1:]), decode_responses=True)) as client:
        yield client


def works(backend: RedisBackend, id: str = "job") -> None:
    """Go once through all that a backend does."""
    with closing(backend):
        observer, asked = RecordingObserver(), list[str]()
        heard = backend.subscribe_cancels(asked.extend, lambda: None)
        heard.add([id])
        backend.subscribe(observer.notify_all, lambda: None).add([id])
        assert backend.write([start(id, description="Zürich")]) == {id: 1}
        assert backend.read([id])[id].description == "Zürich"
        assert backend.request_cancel([id]) == backend.cancel_requested([id]) == {id}
        assert observer.wait_for(lambda progress: progress.cancel_requested).description == "Zürich"
        assert [progress.id for progress in backend.list(kind=None, states=None, limit=1)] == [id]


# Addresses.


def test_every_form_of_an_address_is_taken_apart() -> None:
    plain = parsed("redis://alice:p%40ss@[::1]:7000/3?client_name=web&socket_timeout=1.5")
    assert (plain.db, plain.options["host"], plain.options["port"]) == (3, "::1", 7000)
    assert (plain.options["username"], plain.options["password"]) == ("alice", "p@ss")
    assert (plain.options["client_name"], plain.options["socket_timeout"]) == ("web", 1.5)
    sentinels = parsed("redis+sentinel://:pw@one,two:26380,[::1]:7/main/2?sentinel_password=other")
    assert sentinels.hosts == (("one", 26379), ("two", 26380), ("::1", 7))
    assert (sentinels.service, sentinels.db, sentinels.options["password"]) == ("main", 2, "pw")
    assert sentinels.sentinel_options["password"] == "other"
    cluster = parsed("rediss+cluster://one:7000,two")
    assert cluster.hosts == (("one", 7000), ("two", 6379))
    assert parsed("unix:///run/redis.sock?db=4").db == 4


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:s3cret@host/nought", "number of a database"),
        ("redis://:s3cret@host:port/0", "[Pp]ort"),
        ("redis://:s3cret@host/0?socket_timeot=1", "socket_timeot"),
        ("redis://:s3cret@host/0?socket_timeout=soon", "socket_timeout"),
        ("redis://:s3cret@host/0?ssl_ca_certs=/etc/passwd", "rediss://"),
        ("rediss://:s3cret@host/0?ssl_ca_certs=/no/such.pem", "there is no /no/such.pem"),
        ("redis+sentinel://:s3cret@host:26379", "service"),
        ("redis+sentinel://:s3cret@host:26379/main/x", "number of a database"),
        ("redis+sentinel://:s3cret@/main", "no host"),
        ("redis+cluster://:s3cret@host,", "not a host"),
        ("redis+cluster://:s3cret@host/1", "no databases"),
        ("redis+cluster://:s3cret@host?socket_timeot=1", "socket_timeot"),
        ("redis+proxy://:s3cret@host", "redis\\+cluster://"),
    ],
)
def test_a_wrong_address_is_refused_at_once_and_shows_no_password(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        RedisBackend.from_url(url, Settings())
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_prefix_that_would_choose_the_slot_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        RedisBackend(NOWHERE, prefix="{all}")


def test_making_a_backend_opens_no_connection() -> None:
    for url in (NOWHERE, "redis+sentinel://127.0.0.1:1/main", "redis+cluster://127.0.0.1:1"):
        with closing(RedisBackend.from_url(url, Settings())) as backend:
            with pytest.raises(BackendUnavailable):
                backend.read(["job"])
            with pytest.raises(BackendUnavailable):
                backend.write([start("job")])
            with pytest.raises(BackendUnavailable):
                backend.subscribe(lambda records: None, lambda: None).add(["job"])


def test_a_socket_is_an_address(redis: Redis, url: str) -> None:
    works(RedisBackend(f"unix://{redis.socket}?db={urlsplit(url).path[1:]}"))


def test_databases_of_one_server_do_not_hear_each_other(redis: Redis) -> None:
    with closing(RedisBackend(redis.fresh())) as one, closing(RedisBackend(redis.fresh())) as other:
        observer = RecordingObserver()
        one.subscribe(observer.notify_all, lambda: None).add(["job"])
        other.write([start("job", description="of the other")])
        one.write([start("job", description="of the one")])
        observer.wait_for(lambda progress: progress.description == "of the one")
        assert len(observer.records) == 1


# Passwords, rights, TLS.

RIGHTS = (
    "~progresskit:* resetchannels &progresskit:* "
    "-@all +eval +evalsha +hget +hmget +hset +del +pexpire +pttl +zadd +zrem +zrangebyscore +zrevrange +time +info "
    "+publish +spublish +subscribe +unsubscribe +ssubscribe +sunsubscribe +ping +select +cluster|slots "
    "+asking"
)
"""What docs/how-to/redis.md says a user needs."""


def test_the_rights_that_the_page_names_are_enough(stack: ExitStack) -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "redis.md"
    assert f"ACL SETUSER progress on >s3cret {RIGHTS}" in page.read_text().replace("\\\n  ", "")
    redis = stack.enter_context(Redis(acl=[f"progress on >s3cret {RIGHTS}"], password="root's"))
    works(RedisBackend(f"redis://progress:s3cret@127.0.0.1:{redis.port}/2"))
    works(RedisBackend(redis.url), "by-password")
    with closing(RedisBackend(f"redis://progress:s3cret@127.0.0.1:{redis.port}/3")) as backend:
        part = Report("group", "part", "token", None, State.SUCCEEDED, 1, 10_000, lease=30, ttl=60)
        _, tokens = backend.write_with_reports([declare("group", 1, token="group")], [part])
        assert tokens == {"group": "group"}
        assert backend.forget(["group"]) == {"group"}
    with closing(redis.client()) as client:
        refused = {entry["object"].partition("|")[0] for entry in client.acl_log()}
    assert refused <= {"client"}, "the library says what it is called; it may be refused"


@pytest.mark.parametrize("credentials", ["progress:wr0ng@", "", ":wr0ng@", "reader:s3cret@"])
def test_who_is_refused_is_shown_what_to_check_and_no_password(stack: ExitStack, credentials: str) -> None:
    acl = [f"progress on >s3cret {RIGHTS}", "reader on >s3cret ~* &* -@all +ping"]
    redis = stack.enter_context(Redis(acl=acl, password="root's"))
    backend = stack.enter_context(closing(RedisBackend(f"redis://{credentials}127.0.0.1:{redis.port}/0")))
    listener = backend.subscribe(lambda records: None, lambda: None)
    for call in (lambda: backend.write([start("job")]), lambda: backend.read(["job"]), lambda: listener.add(["job"])):
        with pytest.raises(BackendError, match="check the user, the password and the rights") as raised:
            call()
        assert not isinstance(raised.value, BackendUnavailable)
        assert not {"wr0ng", "s3cret"} & {*str(raised.value).replace(":", " ").replace("@", " ").split()}


def test_tls_works_and_a_certificate_of_nobody_known_is_refused(stack: ExitStack) -> None:
    redis = stack.enter_context(Redis(tls=True, password="s3cret"))
    works(RedisBackend(redis.url))
    stranger = stack.enter_context(closing(RedisBackend(redis.url.partition("?")[0])))
    with pytest.raises(BackendUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.write([start("job")])
    for number, name in enumerate(("none", "CERT_NONE")):
        works(RedisBackend(f"{redis.url.partition('?')[0]}?ssl_cert_reqs={name}"), f"unchecked-{number}")


def test_many_messages_over_tls_all_arrive(stack: ExitStack) -> None:
    redis = stack.enter_context(Redis(tls=True))
    backend = stack.enter_context(closing(RedisBackend(redis.url)))
    ids = [f"job-{number}" for number in range(500)]
    observer = RecordingObserver()
    backend.subscribe(observer.notify_all, lambda: None).add(ids)
    for seq in range(1, 6):
        backend.write([update(id, seq, current=seq, meta={"x": "y" * 500}) for id in ids])
    observer.wait_for(
        lambda progress: {(p.id, p.version.seq) for p in observer.records}.issuperset((i, 5) for i in ids)
    )


# Clients that are given.


def test_a_client_can_be_given_and_is_never_closed(redis: Redis, url: str, raw: Any) -> None:
    client = import_module("redis").Redis.from_url(url, decode_responses=True, encoding="latin-1")
    with closing(client):
        client.ping()
        (connection,) = client.connection_pool._available_connections
        works(RedisBackend(client))
        assert connection._sock is not None
        assert client.ping()
    (body,) = raw.hmget("progresskit:job:job", "body")
    assert "Zürich" in body, "in UTF-8, whatever the encoding of the client"


def test_a_client_of_a_cluster_can_be_given(stack: ExitStack) -> None:
    cluster = stack.enter_context(RedisCluster())
    host, port = cluster.url.removeprefix("redis+cluster://").split(":")
    client = stack.enter_context(closing(import_module("redis").RedisCluster(host, int(port), decode_responses=True)))
    works(RedisBackend(client))
    assert client.ping()


def test_a_client_of_valkey_can_be_given(stack: ExitStack, url: str) -> None:
    import valkey

    client = stack.enter_context(closing(valkey.Valkey.from_url(url)))
    works(RedisBackend(client))
    assert client.ping()
    away = stack.enter_context(closing(valkey.Valkey.from_url(NOWHERE)))
    with closing(RedisBackend(away)) as backend, pytest.raises(BackendUnavailable):
        backend.read(["job"])
    cluster = stack.enter_context(RedisCluster())
    host, port = cluster.url.removeprefix("redis+cluster://").split(":")
    works(RedisBackend(stack.enter_context(closing(valkey.ValkeyCluster(host, int(port))))))


def test_what_is_no_client_or_one_for_asyncio_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="asyncio"):
        RedisBackend(import_module("redis.asyncio").Redis())
    with pytest.raises(ConfigurationError, match="not a client"):
        RedisBackend(object())


# Keys.


def test_all_keys_begin_with_the_prefix_and_none_stays_for_ever(url: str, raw: Any) -> None:
    with closing(RedisBackend(url, prefix="site-1")) as backend:
        backend.write(
            [start("job", ttl=60), external_update("sent", ttl=600), start("ended", state=State.FAILED, ttl=300)]
        )
        backend.write([update("job", 2, ttl=60), external_update("sent", State.FAILED, ttl=600)])
        backend.request_cancel(["job", "unknown"])
        backend.cancel_requested(["unknown"])
        backend.list(kind=None, states=None, limit=5)
    left = {key: raw.ttl(key) for key in raw.scan_iter()}
    jobs = {f"site-1:job:{id}" for id in ("job", "sent", "ended")}
    assert left.keys() == {*jobs, "site-1:jobs", "site-1:expiring"}
    assert 0 < left["site-1:job:job"] <= 60 < left["site-1:job:ended"] <= 300
    assert all(300 < left[key] <= 600 for key in ("site-1:job:sent", "site-1:jobs", "site-1:expiring"))


def test_what_has_expired_leaves_the_index_with_the_next_write(url: str, raw: Any) -> None:
    clock = FakeClock()
    with closing(RedisBackend(url, clock=clock)) as backend:
        backend.write([start(f"job-{number}", ttl=60) for number in range(50)])
        backend.write([start("long", ttl=600)])
        clock.advance(61)
        for number in range(5):
            backend.write([update("long", 2 + number, ttl=600)])
    assert raw.zrange("progresskit:jobs", 0, -1) == raw.zrange("progresskit:expiring", 0, -1) == ["long"]


def test_a_ttl_without_end_is_stored_and_a_tiny_one_is_over_at_once(url: str, raw: Any) -> None:
    with closing(RedisBackend(url)) as backend:
        backend.write([start("for-ever", ttl=1e300)])
        backend.write([start("tiny", ttl=1e-9)])
        assert backend.read(["for-ever", "tiny"]).keys() == {"for-ever"}
    assert raw.ttl("progresskit:job:for-ever") > 10**9


def test_a_job_costs_the_server_little_more_than_its_record(url: str, raw: Any) -> None:
    write = start("import-42", description="Importing rows", total=1_000)
    with closing(RedisBackend(url)) as backend:
        backend.write([write])
    used = raw.memory_usage("progresskit:job:import-42")
    assert used < len(write.body) + 600, "as docs/how-to/redis.md says"


def test_the_record_keeps_the_time_of_its_body_whatever_meta_is_called(url: str) -> None:
    meta = {"created_at": "2001-01-01T00:00:00.000Z", "x": '"created_at":"2002-02-02T00:00:00.000Z"'}
    with closing(RedisBackend(url)) as backend:
        backend.write([start("job", created_at=None, meta=meta), start("kind", kind="a\x1fb c\n", meta=meta)])
        backend.write([update("job", 2, created_at=None, meta=meta), update("kind", 2, kind="a\x1fb c\n", meta=meta)])
        records = backend.read(["job", "kind"])
        assert records["job"].created_at is None
        assert (records["kind"].created_at, records["kind"].kind) == (CREATED, "a\x1fb c\n")


DAMAGE = {
    "no head": lambda raw, key: raw.hdel(key, "head"),
    "another head": lambda raw, key: raw.hset(key, "head", "garbage"),
    "another life": lambda raw, key: raw.hset(key, "life", "garbage"),
    "no life": lambda raw, key: raw.hdel(key, "life"),
    "a lease that is no number": lambda raw, key: raw.hset(key, "life", "1 x 99999999999"),
    "no body": lambda raw, key: raw.hdel(key, "body"),
    "bytes that are no text": lambda raw, key: raw.hset(key, "body", b"\xff\xfe\x1f"),
    "an unknown state": lambda raw, key: raw.hset(key, "head", raw.hget(key, "head").replace("running", "paused")),
    "another type": lambda raw, key: (raw.delete(key), raw.set(key, "text")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_key_that_holds_no_job_is_absent_stops_nothing_and_is_written_over(
    damage: Callable[[Any, bytes], object], url: str, raw: Any
) -> None:
    observer = RecordingObserver()
    with closing(RedisBackend(url)) as backend:
        backend.write([start("bad"), start("good")])
        backend.subscribe(observer.notify_all, lambda: None).add(["bad", "good"])
        damage(raw, backend._shards.of("bad").job("bad"))
        assert backend.read(["bad", "good"]).keys() == {"good"}
        assert [progress.id for progress in backend.list(kind=None, states=None, limit=9)] == ["good"]
        assert backend.request_cancel(["bad", "good"]) >= {"good"}
        assert backend.cancel_requested(["bad", "good"]) >= {"good"}
        runs = backend.write([update("good", 2, current=5), start("bad", token="next", current=7)])
        assert runs["bad"] >= 1
        assert {id: progress.current for id, progress in backend.read(["bad", "good"]).items()} == {"bad": 7, "good": 5}
        observer.wait_for(lambda progress: progress.id == "bad" and progress.current == 7)


def test_a_time_of_a_body_that_is_none_does_not_damage_the_head(url: str) -> None:
    with closing(RedisBackend(url)) as backend:
        for number, time in enumerate(("a b", "", "\x1f", "1 1 1", '"')):
            id, body = f"job-{number}", json.dumps({"created_at": time})
            backend.write([start(id)._replace(body=body)])
            backend.write([start(id, token="next", current=3)])
            assert backend.read([id])[id].current == 3


def test_a_sentinel_leads_to_the_server(stack: ExitStack) -> None:
    master = stack.enter_context(Redis())
    sentinel = stack.enter_context(Sentinel(master))
    works(RedisBackend(f"{sentinel.url.rpartition('/')[0]}/3"))
    astray = stack.enter_context(closing(RedisBackend(sentinel.url.replace("main", "other"))))
    with pytest.raises(BackendUnavailable, match="other"):
        astray.read(["job"])


def test_without_the_library_the_address_names_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "redis" or name.startswith("redis.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "progresskit_redis.address")
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingPackage, match=r'pip install "progresskit\[redis\]"'):
        RedisBackend.from_url("redis://:s3cret@host/0", Settings())
