"""What RabbitMQ makes possible and what it makes hard: late comers, lost updates, a journal with an end, bounds."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event
from time import monotonic, time
from typing import Any, NoReturn

import pika
import pytest

from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError
from progresskit.progress import State
from progresskit.testing import FakeClock
from progresskit.testing.helpers import read, until
from progresskit.testing.process import Act, Process
from progresskit.testing.writes import LIFE, external_update, start, update
from progresskit_rabbitmq import RabbitMQBackend, streams
from progresskit_rabbitmq.failures import Failed
from tests.services import missing
from tests.services.rabbitmq import RabbitMQ
from tests.services.refusals import refused, succeeds

from .gates import Gate


@pytest.fixture
def channel(url: str) -> Iterator[Any]:
    """Give a channel of somebody who looks after the broker."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        yield connection.channel()


# Late comers.


def test_who_comes_late_sees_running_jobs_and_those_that_ended_at_the_first_look(
    opened: Callable[..., RabbitMQBackend],
) -> None:
    worker = opened()
    ids = [f"job-{number}" for number in range(1_000)]
    worker.write([start(id) for id in ids])
    worker.write([update(id, 2, current=2, state=State.SUCCEEDED) for id in ids[:500]])
    records = opened().read(ids)
    assert [records[id].state for id in ids] == [State.SUCCEEDED] * 500 + [State.RUNNING] * 500


def test_what_ended_is_known_when_every_process_has_gone(opened: Callable[..., RabbitMQBackend], url: str) -> None:
    with closing(RabbitMQBackend(url)) as worker:
        worker.write([start("again"), start("job"), external_update("sent")])
        worker.write([start("again", token="next"), update("job", 2, state=State.FAILED)])
        worker.request_cancel(["again"])
    late = opened()
    records = late.read(["again", "job", "sent"])
    assert {id: (str(job.version), job.state.value) for id, job in records.items()} == {
        "again": ("2.1.1", "running"),
        "job": ("1.1.2", "failed"),
        "sent": ("1.1.0", "pending"),
    }
    assert late.cancel_requested(records) == {"again"}


def test_the_newest_record_of_a_process_that_closes_is_kept(opened: Callable[..., RabbitMQBackend], url: str) -> None:
    with closing(RabbitMQBackend(url)) as worker:
        worker.write([start("job")])
        for seq in range(2, 50):
            worker.write([update("job", seq, current=seq)])
    assert read(opened(), "job").current == 49


def test_an_update_that_nobody_kept_is_reported_to_who_comes_by_those_at_work(
    opened: Callable[..., RabbitMQBackend],
) -> None:
    worker, late = opened(), opened()
    worker.write([start("job")])
    worker.write([update("job", 2, current=2)])
    until(lambda: read(late, "job").current == 2)


def test_a_busy_job_is_kept_now_and_then(opened: Callable[..., RabbitMQBackend]) -> None:
    clock = FakeClock()
    worker = opened(clock=clock)
    worker.write([start("job")])
    for seq in range(2, 30):
        clock.advance(1)
        worker.write([update("job", seq, current=seq)])
    assert read(opened(clock=clock), "job").current >= 20


def test_the_job_of_a_dead_worker_is_stalled_for_those_who_come_after_its_lease(
    opened: Callable[..., RabbitMQBackend], url: str
) -> None:
    with Process(Act.WRITE, url, ids=["job"], count=10**9) as worker:
        early = opened()
        worker.go()
        until(lambda: any(progress.version.seq > 5 for progress in early.read(["job"]).values()))
        worker.kill()
    assert read(opened(), "job").state is State.RUNNING
    early.write([start("short", lease=0.5)])
    until(lambda: read(early, "short").stalled)
    late = opened()  # its clock, and early's, may at first be wrong by half a second, either way
    until(lambda: read(late, "short").stalled)


def test_while_the_journal_is_read_what_is_new_is_known_already(
    opened: Callable[..., RabbitMQBackend], gates: dict[str, Gate]
) -> None:
    worker = opened()
    worker.write([start("running"), start("ended")])
    worker.write([start("running", token="next"), update("ended", 2, state=State.SUCCEEDED)])
    worker.write([update("running", 1, token="next", run=2)])
    gates["first"] = gate = Gate()  # as if there were hours of it
    late, again = opened(), Event()
    late.subscribe(lambda records: None, again.set).add(["running"])
    assert late.read(["running"])["running"].state is State.RUNNING
    assert late.write([start("new")]) == {"new": 1}
    assert not again.is_set()
    gate.open()
    worker.write([start("later")])
    assert again.wait(60), "those who listen are notified to read again when all is known"
    assert {str(job.version) for job in late.read(["running", "ended"]).values()} == {"2.1.1", "1.1.2"}


def test_a_write_is_answered_though_the_whole_journal_takes_the_place_of_the_recent_part_meanwhile(
    opened: Callable[..., RabbitMQBackend], gates: dict[str, Gate]
) -> None:
    opened().write([start("before")])
    gates |= {"first": Gate(), streams.RECENT: Gate()}
    gates[streams.RECENT].open()
    late = opened()
    assert late.write([start("first")]) == {"first": 1}
    gates[streams.RECENT].shut()
    gates["first"].open()
    assert late.write([start("second")]) == {"second": 1}
    gates[streams.RECENT].open()
    assert late.read(["before", "first", "second"]).keys() == {"before", "first", "second"}


def test_the_whole_journal_answers_only_when_it_has_come_to_what_was_answered_already(
    opened: Callable[..., RabbitMQBackend], gates: dict[str, Gate]
) -> None:
    gates["first"] = gate = Gate()
    late = opened()
    assert late.write([start("job")]) == {"job": 1}
    assert late.request_cancel(["job"]) == {"job"}
    until(lambda: len(gate.kept) == 3)  # the marker, the start and the request
    while gate.kept:
        gate.pass_one()
        assert late.cancel_requested(["job"]) == {"job"}


def test_a_read_waits_for_the_journal_to_bring_what_was_sent_to_it_before(
    opened: Callable[..., RabbitMQBackend], gates: dict[str, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progresskit_rabbitmq.node.BEHIND_SECONDS", 60.0)
    worker = opened()
    worker.write([start("before")])
    gates["first"] = gate = Gate()
    gate.open()
    viewer = opened()
    until(lambda: "before" in viewer.read(["before"]) and viewer.node.follow(monotonic() + 60).counts_parts)
    gate.shut()
    worker.write([start("job")])
    until(lambda: len(gate.kept) == 1)
    with ThreadPoolExecutor() as executor:
        reading = executor.submit(viewer.read, ["job"])
        until(lambda: len(viewer.node._arrivals) == 2 or reading.done())
        assert not reading.done()
        gate.pass_one()
        assert reading.result(60).keys() == {"job"}


# The broker's clock.


def test_times_are_the_brokers(opened: Callable[..., RabbitMQBackend], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: time() + 300)
    backend = opened()
    backend.write([start("job")])
    assert abs(backend.node.now() - time()) < 5
    until(lambda: backend.node._clock.uncertainty < 0.3, lambda: "it is not asked again")


# The journal.


def test_a_journal_that_was_lost_is_reported_once_and_filled_again(
    opened: Callable[..., RabbitMQBackend], channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A write that is under way may wait so long for what does not come back.
    monkeypatch.setattr("progresskit.backends.log.CALL_SECONDS", 5.0)
    worker, viewer, again = opened(), opened(), Event()
    viewer.subscribe(lambda records: None, again.set).add(["job"])
    worker.write([start("job")])
    worker.write([update("job", 2, run=1, current=2)])
    assert read(viewer, "job").current == 2
    channel.queue_delete("progresskit.journal")
    channel.queue_delete("progresskit.keyframes")
    refused(lambda: worker.write([update("job", 2, run=1, current=2)]))  # so that the kit sends all again
    until(succeeds(lambda: worker.write([update("job", 2, run=1, current=2)])))
    worker.write([update("job", 2, run=1, current=2)])
    assert again.wait(60)
    for backend in (viewer, opened()):
        until(lambda backend=backend: "job" in backend.read(["job"]))  # type: ignore[misc]
        assert (str(read(backend, "job").version), read(backend, "job").current) == ("1.1.2", 2)


def test_after_a_connection_was_made_again_one_write_fails_so_that_all_is_sent_again_to_the_journal(
    opened: Callable[..., RabbitMQBackend], channel: Any
) -> None:
    worker = opened()
    worker.write([start("job")])
    manager = worker.node.manager
    manager.reset("cut off")
    until(lambda: manager.failures == 1 and manager.is_up)
    assert "all is sent again" in refused(lambda: worker.write([update("job", 2, run=1, current=2)]))
    worker.write([update("job", 2, run=1, current=2)])
    channel.queue_delete("progresskit.keyframes")
    assert read(opened(), "job").current == 2


def test_what_comes_to_a_connection_at_its_very_end_is_refused_at_once_and_leaves_the_next_one_alone(
    opened: Callable[..., RabbitMQBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = opened()
    worker.write([start("job")])
    manager = worker.node.manager
    connection = manager.connection
    assert connection is not None
    hand_over = connection.ioloop.add_callback_threadsafe

    def too_late(act: Callable[[], None]) -> None:
        hand_over(lambda: connection.drop(Failed("cut off")))
        until(lambda: manager.connection is not connection)
        hand_over(act)

    monkeypatch.setattr(connection.ioloop, "add_callback_threadsafe", too_late)
    with pytest.raises(BackendUnavailable, match="the connection is lost"):
        worker.write([update("job", 2)])
    assert worker.write([update("job", 2)]) == {"job": 1}
    assert manager.failures == 1


def test_the_journal_stays_within_its_bound_and_running_jobs_are_known_beyond_it(
    opened: Callable[..., RabbitMQBackend], broker: RabbitMQ, url: str
) -> None:
    worker = opened(journal_bytes=1 << 20)
    worker.write([start("running")])
    result = "x" * 60_000
    for number in range(100):
        worker.write([start(f"job-{number}", state=State.SUCCEEDED, result=result)])
    worker.write([update("running", 1)])
    ids = [f"job-{number}" for number in range(100)]
    known = opened().read([*ids, "running"])
    assert "running" in known
    assert "job-99" in known
    assert "job-0" not in known
    assert len(known) * 60_000 < 3 << 20


def test_a_process_remembers_as_many_jobs_as_it_may(opened: Callable[..., RabbitMQBackend]) -> None:
    backend = opened(jobs=100)
    backend.write([start("running")])
    for number in range(300):
        backend.write([start(f"job-{number}", state=State.SUCCEEDED)])
    known = backend.list(kind=None, states=None, limit=999)
    assert 90 <= len(known) <= 100
    assert {known[0].id, known[-1].id} == {"job-299", "running"}


# What it leaves behind.


def test_a_process_leaves_no_queue_no_thread_and_no_file_behind(
    broker: RabbitMQ, url: str, opened: Callable[..., RabbitMQBackend]
) -> None:
    keeper = opened()
    keeper.write([start("job")])

    def queues() -> set[str]:
        return {queue["name"] for queue in broker.queues(url)}

    until(lambda: len(queues()) == 4)
    before = queues()
    assert sorted(name.split(".")[1] for name in before) == ["clock", "inbox", "journal", "keyframes"]
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    for number in range(20):
        with closing(RabbitMQBackend(url)) as backend:
            backend.write([start(f"job-{number}")])
            backend.subscribe(lambda records: None, lambda: None).add(["job"])
            backend.read(["job"])
    # What tests before this one have left may come to its end meanwhile.
    until(lambda: set(threading.enumerate()) <= threads)
    until(lambda: len(os.listdir("/proc/self/fd")) <= files)
    until(lambda: queues() == before)


def test_a_backend_that_was_never_used_connects_nowhere() -> None:
    backend = RabbitMQBackend("amqp://nobody:secret@127.0.0.1:9/x")
    assert backend.write([]) == {}
    assert backend.read([]) == {}
    backend.close()


def test_a_closed_backend_begins_again(opened: Callable[..., RabbitMQBackend]) -> None:
    backend = opened()
    backend.write([start("job")])
    backend.close()
    assert read(backend, "job").state is State.RUNNING
    backend.close()


# How it is addressed.


def test_pikas_parameters_can_be_given(url: str, opened: Callable[..., RabbitMQBackend]) -> None:
    parameters = pika.URLParameters(url)
    backend = opened(parameters)
    backend.write([start("job")])
    assert read(opened(), "job").state is State.RUNNING


def test_a_url_has_pikas_options_and_two_of_ours(url: str, opened: Callable[..., RabbitMQBackend]) -> None:
    backend = opened(f"{url}?heartbeat=5&journal_bytes=2000000&jobs=200")
    backend.write([start("job")])
    assert backend._address.parameters.heartbeat == 5
    assert (backend._address.journal_bytes, backend._address.jobs) == (2_000_000, 200)


@pytest.mark.parametrize(
    "url",
    [
        "redis://x:secret@localhost",
        "amqp://x:secret@localhost:port/",
        "amqp://x:secret@localhost/?nonsense=1",
        "amqp://x:secret@localhost/?heartbeat=soon",
        "amqp://x:secret@localhost/?jobs=none",
        "amqp://x:secret@localhost/?journal_bytes=-1",
        "amqps://x:secret@localhost/?ssl_options={'cafile':'/no/such/file'}",
        "amqp://x:sec#ret@localhost/",
        "amqp://x@localhost/",
    ],
)
def test_a_wrong_address_is_reported_at_once_and_without_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RabbitMQBackend(url)
    assert "secret" not in str(caught.value)
    assert "sec#ret" not in str(caught.value)


def test_two_prefixes_share_a_virtual_host(opened: Callable[..., RabbitMQBackend]) -> None:
    one, two = opened(prefix="one"), opened(prefix="two")
    one.write([start("job")])
    assert two.read(["job"]) == {}


# Rights.


@pytest.fixture
def user(broker: RabbitMQ, url: str) -> Iterator[Callable[[str], str]]:
    """Give a function that makes a user who may use names that match, and returns the URL with the user's name."""

    def make(pattern: str) -> str:
        broker.add_user("site", "secret", url, pattern)
        return url.replace("guest:guest", "site:secret")

    yield make
    broker.delete_user("site")


def test_rights_to_what_begins_with_the_prefix_are_enough(
    user: Callable[[str], str], opened: Callable[..., RabbitMQBackend]
) -> None:
    backend = opened(user(r"^progresskit\."))
    backend.write([start("job")])
    backend.write([update("job", 2)])
    backend.write([update("job", 2)])
    assert backend.request_cancel(["job"]) == {"job"}
    assert read(backend, "job").cursor == f"{LIFE}-1.1.2c"


@pytest.mark.parametrize("pattern", ["^nothing$", ""])
def test_missing_rights_are_named(
    pattern: str, user: Callable[[str], str], opened: Callable[..., RabbitMQBackend]
) -> None:
    with pytest.raises(BackendError, match="configure, write and read") as caught:
        opened(user(pattern)).write([start("job")])
    assert not isinstance(caught.value, BackendUnavailable)


@pytest.mark.parametrize(("part", "wrong"), [("guest:guest", "guest:secret"), ("store-", "no-store-")])
def test_a_wrong_password_or_virtual_host_is_reported_with_a_hint(
    part: str, wrong: str, url: str, opened: Callable[..., RabbitMQBackend]
) -> None:
    with pytest.raises(BackendError, match=r"password|virtual host") as caught:
        opened(url.replace(part, wrong)).write([start("job")])
    assert not isinstance(caught.value, BackendUnavailable)
    assert "secret" not in str(caught.value)


FILES = {"cacertfile": "ca", "certfile": "cert", "keyfile": "key"}


def test_by_tls(tmp_path: Path, missing_service: Callable[..., NoReturn]) -> None:
    import trustme

    if why := missing("rabbitmq"):
        missing_service("rabbitmq", why)
    from tests.services.ports import free_port

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    port = free_port()
    files = ", ".join(f'{{{name}, "{tmp_path}/{file}.pem"}}' for name, file in FILES.items())
    settings = [f'{{ssl_listeners, [{{"127.0.0.1", {port}}}]}}', f"{{ssl_options, [{files}]}}"]
    with RabbitMQ(settings=settings):
        options = f"{{'cafile':'{tmp_path}/ca.pem','server_hostname':'localhost'}}"
        with closing(RabbitMQBackend(f"amqps://guest:guest@127.0.0.1:{port}/%2F?ssl_options={options}")) as backend:
            backend.write([start("job")])
            assert read(backend, "job").state is State.RUNNING
        unknown = RabbitMQBackend(f"amqps://guest:guest@localhost:{port}/%2F")
        with closing(unknown), pytest.raises(BackendUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            unknown.write([start("job")])
