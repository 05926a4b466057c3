"""What NATS alone can do wrong: addresses, TLS, passwords, buckets of other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest

from progresskit.config import Settings
from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError
from progresskit.registry import backend_class
from progresskit.testing import record, start, update
from progresskit_nats import NATSBackend
from tests.services.nats import NATS


@pytest.fixture(scope="module", autouse=True)
def installed(missing_service: Callable[..., NoReturn]) -> None:
    if reason := NATS.missing():
        missing_service("nats", reason)


@pytest.fixture
def nats() -> Iterator[NATS]:
    with NATS() as server:
        yield server


def stream_of(nats: NATS) -> Any:
    return nats.call(lambda client: client.jetstream().stream_info("KV_progresskit"))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nats://", "the URL of NATS looks like"),
        ("nats://host/bucket", "the URL of NATS looks like"),
        ("nats://token@host:port", "the URL of NATS looks like"),
        ("NATS://token@host,", "the URL of NATS looks like"),
        ("nats://host?tls_ca=/etc/hosts", "no option tls_ca"),
        ("tls://host?bucket=a", "no option bucket"),
        ("tls://host?tls_ca=/no/such/file", "No such file"),
        ("tls://host?tls_ca=/etc/hosts", "NO_CERTIFICATE_OR_CRL_FOUND"),
        ("nats://alice:s3c@ret@host", "Percent-encode"),
    ],
)
def test_a_url_that_cannot_work_is_refused_at_once(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as error:
        backend_class(url).from_url(url, Settings())
    assert "s3c" not in str(error.value)


def test_over_tls_the_certificate_is_checked() -> None:
    with NATS(tls=True) as nats:
        with closing(NATSBackend(nats.url)) as backend:
            backend.write([start("job")])
        with (
            closing(NATSBackend(nats.url.partition("?")[0])) as other,
            pytest.raises(BackendUnavailable, match="CERTIFICATE_VERIFY"),
        ):
            other.write([start("job")])


def test_a_server_without_tls_gets_no_password() -> None:
    with NATS(password="s3cret") as nats, closing(NATSBackend(nats.url.replace("nats://", "tls://"))) as backend:
        with pytest.raises(BackendUnavailable, match="the server offers no TLS"):
            backend.write([start("job")])
        assert nats.connections() == 0


def test_a_wrong_password_is_no_outage_and_is_not_shown() -> None:
    with NATS(password="right") as nats, closing(NATSBackend(nats.url.replace("right", "wr0ng"))) as backend:
        with pytest.raises(BackendError, match="Authorization Violation") as error:
            backend.write([start("job")])
        assert not isinstance(error.value, BackendUnavailable)
        assert "wr0ng" not in str(error.value)


def test_one_of_several_servers_is_enough(nats: NATS) -> None:
    with closing(NATSBackend(nats.url.replace("nats://", "nats://127.0.0.1:1,"))) as backend:
        assert backend.write([start("job")]) == {"job": 1}


def test_the_server_keeps_values_for_the_longest_ttl(nats: NATS) -> None:
    with closing(NATSBackend(nats.url)) as one, closing(NATSBackend(nats.url)) as other:
        one.write([start("job")])
        assert stream_of(nats).config.max_age == 86_400
        other.write([start("long")._replace(ttl=500_000.0)])
        one.write([start("shorter")._replace(ttl=100_000.0)])
        assert stream_of(nats).config.max_age == 500_000
        assert set(one.read(["job", "long", "shorter"])) == {"job", "long", "shorter"}


def test_a_bucket_of_another_program_is_refused(nats: NATS) -> None:
    nats.call(lambda client: client.jetstream().create_key_value(bucket="progresskit"))
    with closing(NATSBackend(nats.url)) as backend, pytest.raises(BackendError, match="made by another program"):
        backend.write([start("job")])


def test_ids_that_differ_in_punctuation_are_different_jobs(nats: NATS) -> None:
    ids = ["a.b", "a:b", "a-b", "a_b", "a..b", "a."]
    with closing(NATSBackend(nats.url)) as backend:
        backend.write([start(id, description=id) for id in ids])
        assert {id: found.description for id, found in backend.read(ids).items()} == dict(zip(ids, ids, strict=True))


def test_a_key_that_somebody_deleted_is_written_again(nats: NATS) -> None:
    async def delete(client: Any) -> None:
        await (await client.jetstream().key_value("progresskit")).delete("job")

    with closing(NATSBackend(nats.url)) as backend:
        backend.write([start("job")])
        nats.call(delete)
        assert backend.read(["job"]) == {}
        backend.write([update("job", 2, current=2)])
        assert backend.read(["job"])["job"].current == 2


def test_what_a_process_remembers_of_a_job_decides_nothing_alone(nats: NATS) -> None:
    with closing(NATSBackend(nats.url)) as one, closing(NATSBackend(nats.url)) as other:
        one.write([start("job", state=record("job").state, current=1)])
        other.write([start("job", token="second")])
        assert one.write([update("job", 5, current=5)]) == {"job": 2}
        assert one.read(["job"])["job"].current == 0


def test_a_record_over_the_servers_limit_is_refused_for_good(nats: NATS) -> None:
    with closing(NATSBackend(nats.url)) as backend:
        write = start("job")
        with pytest.raises(BackendError) as error:
            backend.write([write._replace(body=write.body + " " * 1_100_000)])
        assert not isinstance(error.value, BackendUnavailable)
        assert backend.write([start("other")]) == {"other": 1}


def test_a_file_of_credentials_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        NATSBackend(f"nats://host?credentials={tmp_path}/none.creds")
