"""Processes that have nothing but a fanout exchange of Kombu's between them."""

# mypy: allow-untyped-calls
from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, NoReturn

import pytest
from kombu.connection import Connection
from kombu.entity import Exchange
from kombu.messaging import Producer

from progresskit import BackendUnavailable, ConfigurationError, State
from progresskit.backends.changes import Changes
from progresskit.backends.replica import Stamp
from progresskit.config import Settings
from progresskit.errors import MissingPackage
from progresskit.progress import Write
from progresskit.registry import backend_class
from progresskit.testing import external_update, start, update
from progresskit_kombu import KombuBackend
from progresskit_kombu.messages import Act, Message
from tests.services import missing, patience, server
from tests.services.forking import Child, needs_fork
from tests.services.patience import be_patient
from tests.services.rabbitmq import RabbitMQ
from tests.services.redis import Redis
from tests.services.waiting import wait_until

SERVICES = {"memory": None, "redis": "redis", "amqp": "rabbitmq"}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(patience.KOMBU, monkeypatch)


@pytest.fixture(params=SERVICES)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(transport: str, missing_service: Callable[[str], NoReturn]) -> str:
    service = SERVICES[transport]
    if service is None:
        return "kombu+memory://"
    if missing(service):
        missing_service(service)
    return f"kombu+{server(service).fresh()}"


@pytest.fixture
def join(url: str) -> Iterator[Callable[[], KombuBackend]]:
    """Give a function that returns one more participant, as a process of its own would be."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(KombuBackend(url)))


Join = Callable[[], KombuBackend]


def fold(backend: KombuBackend, *writes: Write) -> None:
    """Fold records in one process alone."""
    with backend.node.changed:
        backend.node.replica.fold(Changes(writes), Stamp(backend.node.now(), backend.node.now()))


# Who knows what


def test_one_who_comes_late_sees_what_runs_and_what_has_ended_from_any_reporter(join: Join) -> None:
    worker, watcher = join(), join()
    watcher.read(["any"])
    worker.write([external_update("running", kind="mail"), start("ended"), start("asked")])
    worker.write([start("running", kind="mail", description="Zürich"), update("ended", 2, state=State.SUCCEEDED)])
    worker.request_cancel(["asked"])
    ids = ["running", "ended", "asked"]
    known = worker.read(ids)
    late = join()
    wait_until(lambda: late.read(ids) == known, "the late one knows all of it", 60)
    worker.close()
    later = join()
    wait_until(lambda: later.read(ids) == known, "somebody who heard of it lives", 60)
    assert later.cancel_requested(ids) == {"asked"}
    assert later.write([start("ended", token="again")]) == {"ended": 2}
    assert {progress.id for progress in later.list(kind=None, states=None, limit=9)} == set(ids)


def test_what_nobody_knows_any_more_is_absent(join: Join) -> None:
    worker = join()
    worker.write([start("job")])
    worker.close()
    assert join().read(["job"]) == {}
    assert worker.read(["job"]) == {}, "a closed one begins anew"


def test_a_thousand_records_reach_one_who_comes_late(join: Join) -> None:
    worker = join()
    ids = [f"job-{number}" for number in range(1_000)]
    worker.write([start(id, meta={"text": "x" * 1_000}) for id in ids])
    late = join()
    wait_until(lambda: late.read(ids).keys() == set(ids), "all of them arrive", 60)


def test_two_who_disagree_about_the_owner_come_to_agree_by_themselves(join: Join) -> None:
    one, other = join(), join()
    one.write([start("job", token="x")])
    other.read(["job"])
    # As if a broker had shown a second start, made at the same moment, to each of them in another order.
    fold(one, start("job", token="y"))
    fold(other, start("job", token="a"), start("unrelated"))
    fold(other, start("job", token="y"), start("unrelated", token="b"))
    seq = 2

    def agree() -> bool:
        nonlocal seq
        seq += 1
        for backend in (one, other):
            backend.write([update("job", seq, token="y", current=seq)])
        records = one.read(["job"]), other.read(["job"])
        return records[0] == records[1] and records[0]["job"].current == seq

    wait_until(agree, "both show the same record", 60)


# What goes wrong


def speak(url: str, *messages: str | Message) -> None:
    """Say something to all as a process does that nobody knows."""
    with Connection(url.removeprefix("kombu+")) as connection:
        exchange = Exchange("progresskit.kombu", type="fanout", durable=False)
        producer = Producer(connection.channel(), exchange)
        for message in messages:
            text = message.pack().decode() if isinstance(message, Message) else message
            producer.publish(text, content_type="application/json", content_encoding="utf-8")


def test_a_message_that_is_missing_is_noticed_and_what_it_said_is_asked_for(url: str, join: Join) -> None:
    knows, misses = join(), join()
    knows.write([start("job", description="known")])
    wait_until(lambda: "job" in misses.read(["job"]), "it has heard of it", 60)
    lost = list[int]()
    misses.subscribe(lambda records: None, lambda: lost.append(1))
    with misses.node.changed:
        del misses.node.replica.entries["job"]
    said = Message("another", 7, Act.CHANGES, [*Changes([start("other")]).pack(), {}])
    speak(url, said, said._replace(number=8))
    wait_until(lambda: "other" in misses.read(["other"]), "it listens", 60)
    assert not lost
    assert misses.read(["job"]) == {}
    speak(url, said._replace(number=10))
    wait_until(lambda: lost, "it has asked what it missed", 60)
    wait_until(lambda: "job" in misses.read(["job"]), "it was told", 60)


def test_nonsense_from_others_harms_nobody(url: str, join: Join, caplog: pytest.LogCaptureFixture) -> None:
    worker, watcher = join(), join()
    worker.write([start("job")])
    watcher.read(["job"])
    speak(
        url,
        "nonsense",
        "[]",
        '[9,"a",1,"changes",[]]',
        Message("a", 1, Act.CHANGES, [[["job"]], [], [], {}]),
        Message("a", 2, Act.SNAPSHOT, None),
        Message("a", 3, Act.CHANGES, [[], 5, [], {}]),
        Message("a", 4, Act.CHANGES, [[], [], [], []]),
        Message("b", "x", Act.CHANGES, []),  # type: ignore[arg-type]
    )
    worker.write([update("job", 2)])
    assert watcher.read(["job"])["job"].version.seq == 2
    assert "discarded a malformed message" in caplog.text


# What it holds, and leaves behind


def test_closing_ends_the_thread_and_the_connections(url: str) -> None:
    others = set(threading.enumerate())

    def ours() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in others]

    def files() -> int:
        gc.collect()  # Kombu leaves it to that to close a poller
        return len(os.listdir("/proc/self/fd"))

    def use() -> None:
        with closing(KombuBackend(url)) as backend:
            backend.write([start("job")])
            assert backend.read(["job"])
            assert [thread.name for thread in ours()] == ["progresskit-kombu"]
        wait_until(lambda: not ours(), "the thread has ended", 60)

    use()  # the first time, a library may open something for good
    before = files()
    for _ in range(3):
        use()
        # What tests before this one have left may come to its end meanwhile.
        wait_until(lambda: files() <= before, "the connections are closed", 60)


def test_the_limits_of_everybody_elses_sockets_are_let_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[float | None] = []  # each of which other threads see, and two at once may leave it as it was not
    monkeypatch.setattr(socket, "setdefaulttimeout", changes.append)
    with closing(KombuBackend(url)) as backend:
        backend.write([start("job")])
        assert backend.read(["job"])
    assert changes == []


def test_a_connection_that_is_given_is_neither_used_nor_closed(url: str) -> None:
    with Connection(url.removeprefix("kombu+")) as connection:
        connection.connect()
        with closing(KombuBackend(connection)) as backend, closing(KombuBackend(url)) as other:
            other.read(["job"])
            backend.write([start("job")])
            assert "job" in other.read(["job"])
        assert connection.connected
        with closing(connection.SimpleQueue("queue", queue_opts={"durable": True})) as queue:
            queue.put("still of use")
            assert queue.get(timeout=60).payload == "still of use"
            queue.clear()


def test_an_address_with_another_prefix_is_another_world(url: str, join: Join) -> None:
    with closing(KombuBackend(url, prefix="site:two")) as other:
        join().write([start("job")])
        assert other.read(["job"]) == {}
        assert other.write([start("job")]) == {"job": 1}


def test_redis_keeps_nothing_for_who_has_gone(missing_service: Callable[[str], NoReturn]) -> None:
    if missing("redis"):
        missing_service("redis")
    redis = server("redis")
    assert isinstance(redis, Redis)
    url = redis.fresh()
    with closing(KombuBackend(f"kombu+{url}")) as backend:
        backend.write([start("job")])
        with closing(redis.client(db=int(url.rpartition("/")[2]))) as client:
            assert all(key.startswith(b"_kombu.binding") for key in client.scan_iter())
    with closing(redis.client(db=int(url.rpartition("/")[2]))) as client:
        assert set(client.scan_iter()) <= {b"_kombu.binding_deadlines"}, "one entry an exchange, of Kombu's own"


def test_rabbitmq_bounds_what_waits_for_a_process_and_removes_it_with_the_connection(
    missing_service: Callable[[str], NoReturn],
) -> None:
    if missing("rabbitmq"):
        missing_service("rabbitmq")
    broker = server("rabbitmq")
    assert isinstance(broker, RabbitMQ)
    url = broker.fresh()
    with closing(KombuBackend(f"kombu+{url}")) as backend:
        backend.write([start("job")])
        (queue,) = wait_until(lambda: broker.queues(url), "the queue is listed", 60)
        assert queue["exclusive"]
        assert {"x-max-length", "x-max-length-bytes"} <= {*queue["arguments"]}
    wait_until(lambda: not broker.queues(url), "the queue is gone", 60)


def test_memory_keeps_nothing_for_who_has_gone() -> None:
    from kombu.transport.memory import Channel, Transport

    with closing(KombuBackend("kombu+memory://")) as one, closing(KombuBackend("kombu+memory://")) as other:
        one.write([start("job")])
        other.read(["job"])
    assert not [name for name in Channel.queues if name.startswith("progresskit.kombu")]
    exchange: Any = Transport.global_state.exchanges
    assert not exchange["progresskit.kombu"]["table"]


# Forks


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_takes_part_by_itself_and_its_parent_goes_on(transport: str, join: Join) -> None:
    parent, watcher = join(), join()
    parent.write([start("parent")])
    watcher.read(["parent"])
    shared = transport != "memory"

    def work() -> None:
        watcher.after_fork_in_child()
        parent.after_fork_in_child()
        parent.write([start("child")])
        for seq in range(2, 30):
            parent.write([update("child", seq)])
            assert parent.read(["child"])["child"].version.seq == seq
        if shared:
            wait_until(lambda: "parent" in parent.read(["parent"]), "the child is told of what there is", 60)
        else:
            assert parent.read(["parent"]) == {}
        parent.close()

    assert Child(work).succeeds()
    for seq in range(2, 30):
        parent.write([update("parent", seq)])
    assert watcher.read(["parent"])["parent"].version.seq == 29
    assert ("child" in watcher.read(["child"])) is shared


# What cannot be configured


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("kombu+sqla+sqlite:///broker.db", "no fanout"),
        ("kombu+filesystem:///tmp/queue", "sqlite:///"),
        ("kombu+nonsense://localhost", "no transport"),
        ("kombu+://localhost", "no transport"),
        ("redis://localhost", "kombu\\+redis"),
    ],
)
def test_what_cannot_carry_progress_is_refused_with_what_to_do(wrong: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        KombuBackend(wrong)


def test_a_transport_whose_package_is_missing_names_it() -> None:
    with pytest.raises(MissingPackage, match=r"kombu\[azureservicebus\]") as raised:
        KombuBackend("kombu+AzureServiceBus://key:hunter2@")
    assert "hunter2" not in str(raised.value)


def test_what_is_neither_a_url_nor_a_connection_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Connection"):
        KombuBackend(5)  # type: ignore[arg-type]


def test_no_connection_is_made_before_it_is_needed_and_no_password_is_shown() -> None:
    url = "kombu+redis://user:hunter2@127.0.0.1:1/0"
    backend = backend_class(url).from_url(url, Settings(url=url))
    for call in (lambda: backend.write([start("job")]), lambda: backend.read(["job"])):
        with pytest.raises(BackendUnavailable) as raised:
            call()
        assert "hunter2" not in str(raised.value)
    backend.close()
