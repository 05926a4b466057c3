"""What goes wrong with a broker is told as `BackendUnavailable`, in time, and the same object works again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from threading import Event, Thread
from time import perf_counter
from typing import NoReturn

import pytest

from progresskit.backoff import Backoff
from progresskit.progress import State
from progresskit.testing import RecordingObserver
from progresskit.testing.helpers import read, until
from progresskit.testing.writes import LIFE, start, update
from progresskit_rabbitmq import RabbitMQBackend
from tests.services import patience
from tests.services.patience import HASTY_SECONDS, be_hasty
from tests.services.proxy import Proxy
from tests.services.rabbitmq import RabbitMQ
from tests.services.refusals import refused, succeeds
from tests.services.waiting import PATIENCE

IN_TIME = HASTY_SECONDS + 3
"""Seconds within which a call has to end, whatever the broker does; generous, for a busy machine."""


@pytest.fixture(scope="module")
def harmed(missing_service: Callable[..., NoReturn]) -> Iterator[RabbitMQ]:
    """Give a broker that the tests of this file may do to whatever they like, if they leave it running."""
    if why := RabbitMQ.missing():
        missing_service("rabbitmq", why)
    with RabbitMQ() as broker:
        yield broker


@pytest.fixture
def url(harmed: RabbitMQ) -> str:
    return harmed.fresh()


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., RabbitMQBackend]]:
    with ExitStack() as stack:
        yield lambda url=url, **options: stack.enter_context(closing(RabbitMQBackend(url, **options)))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    be_hasty(patience.RABBITMQ, monkeypatch)


@pytest.fixture
def proxy(harmed: RabbitMQ) -> Iterator[Proxy]:
    with Proxy(harmed.port) as proxy:
        yield proxy


def test_a_killed_broker_remembers_all_that_was_confirmed_and_everybody_comes_back_and_asks_to_cancel(
    harmed: RabbitMQ, url: str, opened: Callable[..., RabbitMQBackend]
) -> None:
    worker, viewer, observer, lost = opened(), opened(), RecordingObserver(), Event()
    viewer.subscribe(observer.notify_all, lost.set).add(["running", "ended", "again"])
    asked, cancels_lost = list[str](), Event()
    worker.subscribe_cancels(asked.extend, cancels_lost.set).add(["asked"])
    with closing(RabbitMQBackend(url)) as gone:
        gone.write([start("ended"), start("again")])
        gone.write([update("ended", 2, state=State.SUCCEEDED, current=9), start("again", token="next")])
        gone.request_cancel(["again"])
    worker.write([start("running"), start("asked")])
    worker.write([update("running", 2, current=2)])
    observer.wait_for(lambda progress: progress.current == 2)
    harmed.kill()
    refused(lambda: worker.write([update("running", 3, current=3)]))
    refused(lambda: viewer.read(["running"]))
    harmed.start()
    until(succeeds(lambda: viewer.request_cancel(["asked"])))
    until(lambda: asked == ["asked"] or (cancels_lost.is_set() and worker.cancel_requested(["asked"]) == {"asked"}))
    until(succeeds(lambda: worker.write([update("running", 3, current=3)])))
    assert lost.wait(60), "who listens is told to look anew"
    until(lambda: read(viewer, "running").current == 3)
    worker.write([update("running", 4, current=4)])
    observer.wait_for(lambda progress: progress.current == 4)
    worker.write([update("running", 4, current=4)])  # a heartbeat
    late, ids = opened(), ["running", "ended", "again"]
    # What is older than the recent part of the journal is known when that was read whole.
    until(succeeds(lambda: late.read(ids)))
    until(lambda: late.read(ids).keys() == set(ids))
    for backend in (viewer, late):
        records = backend.read(ids)
        assert {id: (job.cursor, job.state.value) for id, job in records.items()} == {
            "running": (f"{LIFE}-1.1.4", "running"),
            "ended": (f"{LIFE}-1.1.2", "succeeded"),
            "again": (f"{LIFE}-2.1.1c", "running"),
        }


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_a_paused_broker_is_not_waited_for_long(harmed: RabbitMQ, opened: Callable[..., RabbitMQBackend]) -> None:
    worker, viewer = opened(), opened()
    worker.write([start("job")])
    read(viewer, "job")
    harmed.pause()
    try:
        refused(lambda: worker.write([update("job", 2, current=2)]), IN_TIME)
        refused(lambda: worker.write([start("other")]), IN_TIME)
        refused(lambda: viewer.read(["job"]), IN_TIME)
        refused(lambda: worker.request_cancel(["job"]), IN_TIME)
        refused(lambda: opened().read(["job"]), IN_TIME)
    finally:
        harmed.resume()
    until(succeeds(lambda: worker.write([update("job", 3, current=3)])))
    until(succeeds(lambda: viewer.read(["job"])))
    until(lambda: read(viewer, "job").current == 3)


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_closing_does_not_wait_for_a_paused_broker(harmed: RabbitMQ, url: str) -> None:
    backend = RabbitMQBackend(url)
    backend.write([start("job")])
    backend.write([update("job", 2)])
    harmed.pause()
    try:
        began = perf_counter()
        backend.close()
        assert perf_counter() - began < IN_TIME
    finally:
        harmed.resume()


@pytest.mark.parametrize("count", [8, 100, 400, 430])
def test_a_connection_cut_while_it_is_opened_is_no_refusal(
    opened: Callable[..., RabbitMQBackend], url: str, proxy: Proxy, harmed: RabbitMQ, count: int
) -> None:
    backend = opened(url.replace(f":{harmed.port}/", f":{proxy.port}/"))
    cut = proxy.cut_after(count)
    refused(lambda: backend.write([start("job")]))
    assert cut.wait(PATIENCE)
    until(succeeds(lambda: backend.write([start("job")])))


def test_a_start_that_was_cut_off_and_is_sent_again_is_one_run(
    url: str, harmed: RabbitMQ, proxy: Proxy, opened: Callable[..., RabbitMQBackend]
) -> None:
    worker = opened(url.replace(str(harmed.port), str(proxy.port)))
    worker.write([start("first")])
    for number in range(10):
        begin = start(f"job-{number}", token="the same")
        cutting = Thread(target=proxy.cut)
        cutting.start()
        until(succeeds(lambda begin=begin: worker.write([begin])))  # type: ignore[misc]
        cutting.join()
        until(succeeds(lambda begin=begin: worker.write([begin])))  # type: ignore[misc]
        assert read(opened(), begin.id).version.run == 1


def test_a_broker_that_refuses_connections_is_tried_at_once_when_somebody_calls(
    url: str,
    harmed: RabbitMQ,
    proxy: Proxy,
    opened: Callable[..., RabbitMQBackend],
) -> None:
    worker = opened(url.replace(str(harmed.port), str(proxy.port)))
    worker.node.manager._backoff = Backoff(60.0, 60.0)  # nor does a try of its own come in between
    worker.write([start("job")])
    proxy.refuse()
    proxy.cut()
    for seq in range(2, 8):
        refused(lambda seq=seq: worker.write([update("job", seq)]))  # type: ignore[misc]
    proxy.accept()
    assert worker.write([update("job", 9, current=9)]) == {"job": 1}


def test_a_broker_out_of_memory_is_reported_and_can_still_be_asked_for_what_is_known(
    harmed: RabbitMQ, opened: Callable[..., RabbitMQBackend]
) -> None:
    worker, viewer = opened(), opened()
    worker.write([start("job")])
    assert read(viewer, "job").state is State.RUNNING
    harmed.limit_memory(0.000001)
    try:
        refused(lambda: worker.write([update("job", 2, current=2)]))
        refused(lambda: worker.write([start("other")]))
        assert read(viewer, "job").current == 0
    finally:
        harmed.limit_memory()
    until(succeeds(lambda: worker.write([update("job", 3, current=3)])))
    until(lambda: read(viewer, "job").current == 3)
    assert not worker.node.streams.outcomes, "what was refused is waited for, and there may be much of it"
