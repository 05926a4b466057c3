"""What Dramatiq's middleware does beyond the contract of queues: other middleware, pipelines, wrong settings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AgeLimit, AsyncIO, Middleware, MiddlewareError, SkipMessage
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

import progresskit
from progresskit import Kit, Progress, State
from progresskit.integrations import current_run
from progresskit_dramatiq import ProgressMiddleware, owned_by
from tests.services.waiting import PATIENCE

Message = dramatiq.Message[Any]


def bad() -> None:
    raise OSError("the disk is full")


class Site:
    """A broker in memory, its kit, and a worker of one thread once there is a message to process."""

    def __init__(self, *, cancellable: bool = True) -> None:
        self.kit = Kit("memory://", flush_seconds=PATIENCE)
        self.broker = StubBroker()
        self.broker.add_middleware(ProgressMiddleware(kit=self.kit, cancellable=cancellable))
        self.results = StubBackend()
        self.broker.add_middleware(Results(backend=self.results, store_results=True))
        self.worker: dramatiq.Worker | None = None

    def actor(self, function: Callable[..., Any], **options: Any) -> Any:
        return dramatiq.actor(broker=self.broker, **{"max_retries": 0, **options})(function)

    def work(self) -> None:
        if self.worker is None:
            self.worker = dramatiq.Worker(self.broker, worker_timeout=10, worker_threads=1)
            self.worker.start()

    def end(self, message: Message) -> Progress:
        """Have the message processed; return how its job has ended."""
        self.work()
        for progress in self.kit.watch(message.message_id):
            if progress.done:
                return progress
        raise AssertionError(message)

    def close(self) -> None:
        if self.worker is not None:
            self.worker.stop()
        self.broker.close()
        self.kit.close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


class Recorder(Middleware):
    """Middleware that is added last, with hooks of its own."""

    def __init__(self, before: Callable[[Any], object] = str, enqueue: Callable[[Any], object] = str) -> None:
        self._before, self._enqueue = before, enqueue

    def before_process_message(self, broker: Any, message: Any) -> None:
        self._before(message)

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        self._enqueue(message)


def test_after_a_message_its_job_surrounds_the_thread_no_longer(site: Site) -> None:
    seen: list[object] = []
    site.broker.add_middleware(Recorder(lambda message: seen.append(current_run())))
    actors = [site.actor(lambda: site.kit.current().set_progress(1, 1), actor_name="good")]
    actors.append(site.actor(bad))
    actors.append(site.actor(lambda: site.kit.current().set_progress(2, 2), actor_name="last"))
    ends = [site.end(actor.send()) for actor in actors]
    assert [(end.state, end.current) for end in ends] == [
        (State.SUCCEEDED, 1), (State.FAILED, 0), (State.SUCCEEDED, 2)
    ]  # fmt: skip
    assert [getattr(run, "id", None) for run in seen] == [end.id for end in ends]


def test_a_coroutine_reports_to_its_own_job(site: Site) -> None:
    site.broker.add_middleware(AsyncIO())

    async def count(n: int) -> None:
        await asyncio.sleep(0)
        for _ in site.kit.track(range(n)):
            await asyncio.sleep(0)

    assert site.end(site.actor(count).send(3)).current == 3


def test_a_message_that_other_middleware_skips_is_cancelled_or_where_it_is_rejected_failed(site: Site) -> None:
    def skip(message: Any) -> None:
        if message.args[0] == "reject":
            message.fail()
        raise SkipMessage(message.args[0])

    actor = site.actor(lambda how: None, actor_name="never")
    (age_limit,) = [middleware for middleware in site.broker.middleware if isinstance(middleware, AgeLimit)]
    old = actor.message("old").copy(message_timestamp=0)
    age_limit.max_age = 60_000
    site.broker.enqueue(old)
    assert site.end(old).state is State.FAILED

    site.broker.add_middleware(Recorder(skip))
    assert site.end(actor.send("skip")).state is State.CANCELLED
    assert site.end(actor.send("reject")).state is State.FAILED


def test_a_message_without_an_actor_is_failed(site: Site) -> None:
    actor = site.actor(lambda: None, actor_name="gone")
    message = actor.send()
    del site.broker.actors["gone"]
    end = site.end(message)
    assert end.error is not None
    assert (end.state, end.kind, end.error.type) == (State.FAILED, "gone", "ActorNotFound")


def test_a_message_that_cannot_be_sent_again_is_failed(site: Site) -> None:
    def refuse(message: Any) -> None:
        if message.options.get("retries"):
            raise MiddlewareError("the queue is full")

    site.broker.add_middleware(Recorder(enqueue=refuse))
    end = site.end(site.actor(bad, max_retries=3).send())
    assert end.error is not None
    assert (end.state, end.error.type, end.version.run) == (State.FAILED, "OSError", 1)


def test_a_delayed_message_that_was_cancelled_stays_cancelled_when_its_delay_is_over(site: Site) -> None:
    called = threading.Event()
    actor = site.actor(called.set, actor_name="never")
    message = actor.send_with_options(delay=200)
    site.kit.flush(PATIENCE)
    assert site.kit.cancel(message.message_id)
    site.work()
    site.end(site.actor(lambda: None, actor_name="other").send_with_options(delay=300))
    site.broker.join(actor.queue_name)
    record = site.kit.get(message.message_id)
    assert record is not None
    assert (record.state, record.version.run, called.is_set()) == (State.CANCELLED, 1, False)
    assert site.results.get_result(message, block=True) is None


def test_cancelled_leaves_a_function_that_another_one_calls(site: Site) -> None:
    def inner() -> None:
        raise progresskit.Cancelled

    def outer() -> None:
        try:
            inner_actor()
        except progresskit.Cancelled:
            seen.append("cancelled")
            raise

    seen: list[str] = []
    inner_actor = site.actor(inner)
    assert site.end(site.actor(outer, max_retries=3).send()).state is State.CANCELLED
    assert seen == ["cancelled"]
    with pytest.raises(progresskit.Cancelled):
        inner_actor()


@pytest.mark.parametrize("where", ["actor", "message", "middleware"])
def test_what_must_not_be_interrupted_is_not(where: str) -> None:
    site = Site(cancellable=where != "middleware")
    begun, cancelled = threading.Event(), threading.Event()

    def pay() -> None:
        begun.set()
        assert cancelled.wait(PATIENCE)
        job = site.kit.current()
        while not job.cancel_requested:
            job.advance(0)
        job.advance()

    off = {"progress_cancellable": False}
    try:
        actor = site.actor(pay, **(off if where == "actor" else {}))
        message = actor.send_with_options(**(off if where == "message" else {}))
        site.work()
        assert begun.wait(PATIENCE)
        site.kit.flush(PATIENCE)
        assert site.kit.cancel(message.message_id)
        cancelled.set()
        assert site.end(message).state is State.SUCCEEDED
    finally:
        cancelled.set()
        site.close()


def test_the_next_step_of_a_pipeline_belongs_to_the_same_owner(site: Site) -> None:
    add = site.actor(lambda a, b: a + b, actor_name="add")
    first = add.message_with_options(args=(1, 2), **owned_by("ada"))
    pipe: Any = dramatiq.pipeline([first, add.message(4)], broker=site.broker)
    pipe.run()
    ends = [site.end(message) for message in pipe.messages]
    assert [(end.state, end.owner, end.kind) for end in ends] == [(State.SUCCEEDED, "ada", "add")] * 2
    assert site.results.get_result(pipe.messages[-1], block=True) == 7


def test_a_worker_with_wrong_settings_does_not_start() -> None:
    broker = StubBroker()
    kit = Kit()
    kit.host_settings({"url": "redsi://localhost/0"}, check=False)
    broker.add_middleware(ProgressMiddleware(kit=kit))
    with pytest.raises(MiddlewareError, match="did you mean redis://"):
        dramatiq.Worker(broker).start()
