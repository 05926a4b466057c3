"""A broker that is killed, hangs or is cut off: calls are refused in time, and all goes on when it is back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import NoReturn

import pytest

from progresskit import BackendUnavailable, Kit, State
from progresskit.testing import RecordingObserver, start, update
from progresskit_kombu import KombuBackend
from tests.services import patience
from tests.services.patience import HASTY_SECONDS, be_hasty
from tests.services.proxy import Proxy
from tests.services.rabbitmq import RabbitMQ
from tests.services.redis import Redis
from tests.services.refusals import refused
from tests.services.server import Server
from tests.services.waiting import wait_until

PATIENCE = 60.0


@pytest.fixture(params=[Redis, RabbitMQ], scope="module")
def broker(request: pytest.FixtureRequest, missing_service: Callable[[str], NoReturn]) -> Iterator[Server]:
    """Give a broker of this module's own, which runs."""
    kind: type[Server] = request.param
    if kind.missing():
        missing_service(kind.__name__.lower())
    with kind() as broker:
        yield broker


class Pair:
    """One who writes and one who watches."""

    def __init__(self, stack: ExitStack, url: str) -> None:
        self.writer, self.watcher = (stack.enter_context(closing(KombuBackend(url))) for _ in range(2))
        self.observer, self.losses = RecordingObserver(), 0
        self.watcher.subscribe(self.observer.notify_all, self._lost).add(["job"])
        self.writer.write([start("job")])
        self.seq = 1

    def _lost(self) -> None:
        self.losses += 1

    def write(self) -> None:
        self.seq += 1
        self.writer.write([update("job", self.seq)])

    def refused(self, within: float | None = None) -> None:
        """Expect both to be refused."""
        for call in (self.write, lambda: self.watcher.read(["job"]), lambda: self.writer.request_cancel(["job"])):
            assert "guest:guest" not in refused(call, within)

    def recovers(self) -> None:
        """One writes and the other sees it, told or read."""

        def written() -> bool:
            try:
                self.write()
            except BackendUnavailable:
                return False
            return True

        wait_until(written, "it can be written again", PATIENCE)
        # The watcher may still be on its way, so that the news may be among what it has lost.
        wait_until(self._is_seen, "it is seen", PATIENCE)
        self.write()
        self.observer.wait_for(lambda progress: progress.version.seq == self.seq, PATIENCE)

    def _is_seen(self) -> bool:
        try:
            return self.watcher.read(["job"])["job"].version.seq == self.seq
        except BackendUnavailable:
            return False


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    be_hasty(patience.KOMBU, monkeypatch)


@pytest.fixture
def pair(broker: Server) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack, f"kombu+{broker.fresh()}")


def test_a_broker_that_is_killed_and_started_again_is_used_again_and_who_joins_is_shown_what_others_know(
    broker: Server,
) -> None:
    url = f"kombu+{broker.fresh()}"
    with ExitStack() as stack:
        pair = Pair(stack, url)
        for number in range(2):
            ended = start(f"ended-{number}", state=State.SUCCEEDED)
            pair.writer.write([ended])
            losses = pair.losses
            broker.kill()
            pair.refused()
            late = stack.enter_context(closing(KombuBackend(url)))
            broker.start()

            def is_known(late: KombuBackend = late, id: str = ended.id) -> bool:
                try:
                    return id in late.read([id])
                except BackendUnavailable:
                    return False

            wait_until(is_known, "who joins while the others connect again is told", PATIENCE)
            pair.recovers()
            wait_until(lambda losses=losses: pair.losses > losses, "the watcher is told that it missed something")  # type: ignore[misc]


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_a_broker_that_hangs_is_not_waited_for_and_used_again(broker: Server, pair: Pair) -> None:
    broker.pause()
    try:
        pair.refused(2 * HASTY_SECONDS + 2)
    finally:
        broker.resume()
    pair.recovers()


def test_a_killed_broker_harms_no_job_and_its_end_is_seen(broker: Server) -> None:
    url = f"kombu+{broker.url}"
    with closing(Kit(url)) as worker, closing(Kit(url)) as viewer:
        seen = viewer.subject("job")
        observer = RecordingObserver()
        detach = seen.attach(observer)
        with worker.observe("job") as job:
            job.advance()
            observer.wait_for(lambda progress: progress.current == 1)
            broker.kill()
            for _ in range(100):
                job.advance()
            broker.start()
            job.advance()
            observer.wait_for(lambda progress: progress.current == 102, PATIENCE)
        observer.wait_for(lambda progress: progress.state is State.SUCCEEDED, PATIENCE)
        detach()
        versions = [progress.version for progress in observer.records]
        assert versions == sorted(versions)


def test_a_connection_that_is_cut_at_any_moment_is_made_again(broker: Server) -> None:
    url = broker.fresh()
    with Proxy(broker.port) as proxy, ExitStack() as stack:
        pair = Pair(stack, f"kombu+{url.replace(str(broker.port), str(proxy.port))}")
        for number in range(12):
            if number % 3:
                proxy.cut_after(number * 40)
            else:
                proxy.cut()
            pair.recovers()


def test_a_broker_that_refuses_connections_is_tried_until_it_does_not(broker: Server) -> None:
    url = broker.fresh()
    with Proxy(broker.port) as proxy, ExitStack() as stack:
        pair = Pair(stack, f"kombu+{url.replace(str(broker.port), str(proxy.port))}")
        proxy.refuse()
        proxy.cut()
        pair.refused()
        proxy.accept()
        pair.recovers()
