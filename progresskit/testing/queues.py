"""
The suite that every integration of a queue has to pass, with real workers; a test is named after each promise.

With pytest installed (`progresskit[testing]`), this is the whole proof of an integration:

    import pytest
    from progresskit.testing import QueueContract

    class TestMine(QueueContract):
        concurrencies = ("thread", "process")    # the kinds of workers that the queue has
        lacks = {"redelivers": "the queue loses the task of a killed worker"}

        @pytest.fixture(scope="class")
        @classmethod
        def queue(cls, tmp_path_factory):        # a private queue, see `QueueUnderTest`
            with my_queue(tmp_path_factory.mktemp("queue")) as queue:
                yield queue

The workers register the functions of `progresskit.testing.queue_tasks` by name, and use the backend of the kit with
which the test sends and watches. A power that the queue lacks is named with the reason, which pytest prints.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import wraps
from itertools import count
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from progresskit.progress import FINAL_STATES, State
from progresskit.registry import needs_extra

from .doubles import RecordingObserver
from .helpers import PATIENCE, until
from .queue_tasks import calls

with needs_extra("progresskit.testing", "testing"):
    import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from progresskit.kit import Kit
    from progresskit.progress import Progress

POWERS = {
    "ids": "the sender chooses the id of a task",
    "retries": "a task that raises is executed again",
    "removes": "a waiting task is taken out of the queue",
    "redelivers": "the task of a worker that was killed is executed again, within a minute",
    "results": "what a task returns can be read",
    "time limits": "a task that takes too long is ended",
    "parallel": "one worker executes several tasks at the same time",
}
"""What a queue can do, and the contract therefore tests."""

MANY = 1_000
NUMBERS = count(1)


class WorkerUnderTest(Protocol):
    """One real worker: a process with all that it has started."""

    @property
    def pid(self) -> int:
        """The process that a service manager would have started."""

    def kill(self) -> None:
        """End all of it as SIGKILL does."""

    def stop(self) -> None:
        """Let it end as SIGTERM does."""

    def output(self) -> str:
        """Return all that it has written, for messages."""


class QueueUnderTest(Protocol):
    """A queue with the integration installed; no other test uses the queue or the services behind it."""

    @property
    def kit(self) -> Kit:
        """The kit of the process that sends and watches; the workers have the same backend."""

    def send(
        self,
        task: str,
        *args: Any,
        id: str | None = None,
        owner: str | None = None,
        retries: int = 0,
        delay: float = 0.0,
        time_limit: float | None = None,
    ) -> str:
        """
        Send a task by its name in `queue_tasks`; return the id of its job.

        `id` is what the id has to be, where the sender can choose it. A task that raises is executed again, so many
        times, each after a `delay` in seconds. `time_limit` is how long it may take, in seconds.
        """

    def worker(
        self, concurrency: str, *, slots: int = 1, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[WorkerUnderTest]:
        """Run a worker of a kind that executes `slots` tasks at a time; some settings are in its `environment`."""

    def result(self, id: str) -> Any:
        """Return the result of a task that has ended, from the queue; None where it has none."""

    def remaining(self) -> int:
        """Return how many tasks wait in the queue."""


class Sent:
    """A task that was sent, and all that a viewer of its job has seen, from before it was sent where that can be."""

    def __init__(self, kit: Kit, id: str, worker: WorkerUnderTest) -> None:
        self.id, self._worker = id, worker
        self._seen = RecordingObserver()
        self._over = Event()
        self._viewer = kit.viewer(id)
        self._thread = Thread(target=self._watch, name=f"viewer of {id}", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.is_set() and not self._viewer.closed:
            self._seen.notify_all(self._viewer.get(0.1).values())

    def close(self) -> None:
        """Watch no longer."""
        self._over.set()
        self._thread.join(PATIENCE)
        self._viewer.close()

    @property
    def states(self) -> list[State]:
        """The states so far, repetitions removed."""
        return self._seen.states

    @property
    def attempts(self) -> set[int]:
        """The numbers of the attempts so far."""
        return {progress.attempt for progress in self._seen.records}

    def until_seen(self, predicate: Callable[[Progress], object]) -> Progress:
        """Return the first record, past or future, for which the predicate holds."""
        try:
            return self._seen.wait_for(predicate, PATIENCE)
        except TimeoutError as error:
            raise AssertionError(f"{self.id}: {error}; {self.states}\n{self._worker.output()[-4_000:]}") from None

    def until(self, *states: State) -> Progress:
        """Return the first record, past or future, in one of the states."""
        return self.until_seen(lambda progress: progress.state in states)

    def end(self) -> Progress:
        """Return the final record of the newest run."""
        return self.until(*FINAL_STATES)


class SharedWorker:
    """A worker that stays from one test to the next, as long as they want the same kind."""

    def __init__(self, queue: QueueUnderTest) -> None:
        self._queue = queue
        self._running = ExitStack()
        self._worker: tuple[str, WorkerUnderTest] | None = None

    def of(self, concurrency: str, slots: int) -> WorkerUnderTest:
        """Return the running worker of that kind."""
        if self._worker is None or self._worker[0] != concurrency:
            self.close()
            started = self._running.enter_context(self._queue.worker(concurrency, slots=slots))
            self._worker = (concurrency, started)
        return self._worker[1]

    def close(self) -> None:
        """End it."""
        self._worker = None
        self._running.close()


Send = Any
"""The function of the fixture `send`: as `QueueUnderTest.send`, and returns what was `Sent`."""


def needs_power(*powers: str) -> Callable[[Any], Any]:
    """Leave out the test where the queue lacks one of these."""

    def mark(test: Any) -> Any:
        test.powers = powers
        return test

    return mark


class QueueContract:
    """The promises of an integration, for each kind of worker that the queue has."""

    concurrencies: ClassVar[tuple[str, ...]] = ()
    """The kinds of workers, by names that `QueueUnderTest.worker` understands; the first one has the most to do."""

    lacks: ClassVar[Mapping[str, str]] = {}
    """What the queue cannot do, of `POWERS`, each with the reason; `"parallel (solo)"` is about one kind of worker."""

    waits: ClassVar[Mapping[str, str]] = {}
    """The task that waits, for kinds of workers in which that is not `wait`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        known = {*POWERS, *(f"{power} ({kind})" for power in POWERS for kind in cls.concurrencies)}
        assert cls.lacks.keys() <= known, f"{cls.lacks.keys() - known} are not powers of queues"
        for name in dir(QueueContract):
            test = getattr(QueueContract, name)
            lacking = [power for power in getattr(test, "powers", ()) if power in cls.lacks]
            if lacking:
                setattr(cls, name, _left_out(test, cls.lacks[lacking[0]]))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test with each kind of worker, or with the first one."""
        if "concurrency" in metafunc.fixturenames:
            kinds = self.concurrencies[:1] if getattr(metafunc.function, "once", False) else self.concurrencies
            powers = getattr(metafunc.function, "powers", ())
            metafunc.parametrize("concurrency", [self._kind(kind, powers) for kind in kinds], scope="class")

    def _kind(self, kind: str, powers: Collection[str]) -> Any:
        reasons = [self.lacks[lacking] for power in powers if (lacking := f"{power} ({kind})") in self.lacks]
        return pytest.param(kind, marks=[pytest.mark.skip(f"left out: {reason}") for reason in reasons])

    @pytest.fixture(scope="class")
    @classmethod
    def slots(cls, concurrency: str) -> int:
        """Return how many tasks the shared worker executes at a time."""
        return 1 if {"parallel", f"parallel ({concurrency})"} & cls.lacks.keys() else 2

    @pytest.fixture(scope="class")
    @classmethod
    def workers(cls, queue: QueueUnderTest) -> Iterator[SharedWorker]:
        """Give the worker that tests share, started when the first of them asks for it."""
        with closing(SharedWorker(queue)) as workers:
            yield workers

    @pytest.fixture
    def worker(self, workers: SharedWorker, concurrency: str, slots: int) -> WorkerUnderTest:
        """Return the one worker of the queue, which the test leaves unharmed."""
        return workers.of(concurrency, slots)

    @pytest.fixture
    def alone(self, workers: SharedWorker) -> None:
        """Let the queue have no worker but those of the test."""
        workers.close()

    @pytest.fixture
    def send(self, queue: QueueUnderTest, request: pytest.FixtureRequest) -> Iterator[Send]:
        """Give a function that sends a task which is watched."""
        with ExitStack() as viewers:

            def send(task: str, *args: Any, worker: WorkerUnderTest | None = None, **options: Any) -> Sent:
                id = None if "ids" in self.lacks else f"{task.replace('_', '-')}-{next(NUMBERS)}"
                worker = worker or request.getfixturevalue("worker")
                sent = None if id is None else Sent(queue.kit, id, worker)
                given = queue.send(task, *map(_argument, args), id=id, **options)
                assert id in (None, given), "the id of the job is that of the task"
                sent = sent or Sent(queue.kit, given, worker)
                viewers.callback(sent.close)
                return sent

            yield send

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return the folder of a task that waits or counts its calls."""
        (tmp_path / "task").mkdir()
        return tmp_path / "task"

    @pytest.fixture
    def wait(self, concurrency: str) -> str:
        """Return the name of the task that waits."""
        return self.waits.get(concurrency, "wait")

    @pytest.fixture
    def occupied(self, send: Send, wait: str, slots: int, tmp_path: Path) -> Callable[[], AbstractContextManager[None]]:
        """Give a block in which the worker is busy, so that whatever is sent has to wait."""

        @contextmanager
        def occupied() -> Iterator[None]:
            folders = [tmp_path / f"busy-{number}" for number in range(slots)]
            for folder in folders:
                folder.mkdir()
            busy = [send(wait, folder) for folder in folders]
            try:
                for each in busy:
                    each.until(State.RUNNING)
                yield
            finally:
                for folder in folders:
                    (folder / "go").touch()
            for each in busy:
                each.end()

        return occupied

    # The life of a task.

    def test_a_task_is_pending_then_running_then_succeeded(
        self, queue: QueueUnderTest, send: Send, wait: str, occupied: Any, folder: Path
    ) -> None:
        with occupied():
            sent = send(wait, folder)
            pending = sent.until(State.PENDING)
        running = sent.until_seen(lambda progress: progress.state is State.RUNNING and progress.current)
        (folder / "go").touch()
        done = sent.end()
        assert sent.states == [State.PENDING, State.RUNNING, State.SUCCEEDED]
        for record in (pending, running, done):
            assert (record.attempt, record.version.run) == (1, 1)
            assert record.kind is not None
            assert record.kind.endswith(wait)
        assert calls(folder) == 1

    @needs_power("results")
    def test_the_result_is_stored_before_the_job_has_ended(
        self, queue: QueueUnderTest, send: Send, worker: Any
    ) -> None:
        for value in ({"rows": 5}, "text"):
            sent = send("result", value)
            sent.until(State.SUCCEEDED)
            assert queue.result(sent.id) == value

    @pytest.mark.parametrize("task", ["count", "observe_inside", "use_current", "use_steps"])
    def test_what_is_reported_inside_of_a_task_is_reported_to_its_job(self, send: Send, worker: Any, task: str) -> None:
        sent = send(task, 20)
        done = sent.end()
        assert (done.state, done.percent, done.id) == (State.SUCCEEDED, 100, sent.id)
        assert sent.states[-1:] == [State.SUCCEEDED]
        if task == "use_steps":
            assert [step.name for step in done.steps] == ["Read", "Write"]
        else:
            assert (done.current, done.total) == (20, 20)

    def test_a_task_that_raises_is_failed_where_it_was(self, send: Send, worker: Any) -> None:
        done = send("fail", "no such row").end()
        assert (done.state, done.attempt, done.current, done.percent) == (State.FAILED, 1, 29, 29)
        assert done.error == ("ValueError", "no such row", False)

    @needs_power("parallel")
    def test_tasks_that_run_at_the_same_time_report_each_to_its_own_job(
        self, send: Send, wait: str, worker: Any, tmp_path: Path
    ) -> None:
        folders = [tmp_path / name for name in ("first", "second")]
        for folder in folders:
            folder.mkdir()
        both = [send(wait, folder) for folder in folders]
        for sent in both:
            sent.until_seen(lambda progress: progress.current)
        (folders[0] / "go").touch()
        assert both[0].end().state is State.SUCCEEDED
        seen = both[1].until(State.RUNNING).current
        both[1].until_seen(lambda progress: (progress.current or 0) > (seen or 0))
        (folders[1] / "go").touch()
        assert both[1].end().state is State.SUCCEEDED

    # Retries.

    @needs_power("retries")
    def test_a_task_that_is_tried_again_is_seen_by_the_same_viewer_to_its_end(
        self, send: Send, worker: Any, folder: Path
    ) -> None:
        before = datetime.now(UTC)
        sent = send("flaky", 1, folder, retries=1, delay=1)
        retrying = sent.until(State.RETRYING)
        done = sent.end()
        assert retrying.next_retry_at is not None
        assert retrying.next_retry_at > before
        assert (retrying.attempt, retrying.current, retrying.version.run) == (1, 1, 1)
        assert (done.state, done.attempt, done.current, done.version.run) == (State.SUCCEEDED, 2, 2, 1)
        assert calls(folder) == 2
        assert Counter(sent.states)[State.RETRYING] == 1

    @needs_power("retries")
    def test_the_last_attempt_fails_for_good(self, send: Send, worker: Any, folder: Path) -> None:
        sent = send("flaky", 5, folder, retries=2)
        done = sent.end()
        assert (done.state, done.attempt, done.version.run) == (State.FAILED, 3, 1)
        assert done.error == ("ConnectionError", "call 3", False)
        assert calls(folder) == 3

    # Cancelling.

    @needs_power("removes")
    def test_a_task_that_is_cancelled_while_it_waits_is_taken_out_of_the_queue(
        self, queue: QueueUnderTest, send: Send, wait: str, occupied: Any, folder: Path
    ) -> None:
        with occupied():
            sent = send(wait, folder)
            sent.until(State.PENDING)
            assert queue.kit.cancel(sent.id)
            assert sent.end().state is State.CANCELLED
            until(lambda: queue.remaining() == 0, lambda: f"{queue.remaining()} tasks wait")
        assert send("nothing").end().state is State.SUCCEEDED, "the next task is executed"
        assert calls(folder) == 0

    def test_a_task_that_is_cancelled_while_it_waits_is_cancelled_if_a_worker_starts_it_all_the_same(
        self, queue: QueueUnderTest, send: Send, wait: str, occupied: Any, folder: Path
    ) -> None:
        with occupied():
            sent = send(wait, folder)
            sent.until(State.PENDING)
            assert queue.kit.cancel(sent.id)
        assert sent.end().state is State.CANCELLED
        assert send("nothing").end().state is State.SUCCEEDED, "the next task is executed"
        assert sent.states[-1] is State.CANCELLED
        assert calls(folder) <= 1, "it stops at its first report"

    def test_a_task_that_is_cancelled_while_it_runs_stops_and_is_neither_failed_nor_tried_again(
        self, queue: QueueUnderTest, send: Send, wait: str, worker: Any, folder: Path
    ) -> None:
        sent = send(wait, folder, **({} if "retries" in self.lacks else {"retries": 1}))
        sent.until_seen(lambda progress: progress.current)
        assert queue.kit.cancel(sent.id)
        done = sent.end()
        assert send("nothing").end().state is State.SUCCEEDED, "the next task is executed"
        assert (done.state, done.attempt, done.version.run) == (State.CANCELLED, 1, 1)
        assert sent.states[-2:] == [State.RUNNING, State.CANCELLED]
        assert calls(folder) == 1

    # Owners.

    def test_the_owner_goes_with_the_task(
        self, queue: QueueUnderTest, send: Send, wait: str, occupied: Any, folder: Path
    ) -> None:
        (folder / "go").touch()
        with occupied():
            sent = send(wait, folder, owner="ada")
            assert sent.until(State.PENDING).owner == "ada"
        assert sent.end().owner == "ada"
        assert send("nothing").end().owner is None

    # Many.

    def test_all_of_a_thousand_tasks_end(self, queue: QueueUnderTest, worker: WorkerUnderTest) -> None:
        ids = {queue.send("nothing") for _ in range(MANY)}
        assert len(ids) == MANY
        states: Counter[State] = Counter()
        changed = monotonic()
        while sum(states[state] for state in FINAL_STATES) < MANY:
            before = states
            states = Counter(progress.state for progress in queue.kit.get_many(ids).values())
            changed = changed if states == before else monotonic()
            assert monotonic() < changed + PATIENCE, f"{states}\n{worker.output()[-4_000:]}"
            Event().wait(0.1)
        assert states == {State.SUCCEEDED: MANY}

    test_all_of_a_thousand_tasks_end.once = True  # type: ignore[attr-defined]

    # What goes wrong.

    @needs_power("time limits")
    def test_a_task_that_takes_too_long_is_failed(self, send: Send, wait: str, worker: Any, folder: Path) -> None:
        sent = send(wait, folder, time_limit=1)
        assert sent.end().state is State.FAILED
        assert calls(folder) == 1

    def test_the_job_of_a_worker_that_was_killed_is_stalled_until_it_runs_again(
        self, queue: QueueUnderTest, send: Send, alone: None, concurrency: str, wait: str, folder: Path
    ) -> None:
        with queue.worker(concurrency, environment={"PROGRESSKIT_LEASE": "3"}) as doomed:
            sent = send(wait, folder, worker=doomed)
            sent.until_seen(lambda progress: progress.current)
            doomed.kill()
        assert sent.until_seen(lambda progress: progress.stalled).state is State.RUNNING
        if "redelivers" in self.lacks:
            return
        with queue.worker(concurrency):
            again = sent.until_seen(lambda progress: progress.version.run == 2)
            (folder / "go").touch()
            assert again.state is State.RUNNING
            assert sent.until_seen(lambda progress: progress.done).version.run == 2
        assert calls(folder) == 2

    def test_tasks_run_as_before_while_the_backend_is_away(
        self, queue: QueueUnderTest, send: Send, alone: None, concurrency: str, folder: Path, tmp_path: Path
    ) -> None:
        away = {"PROGRESSKIT_URL": "redis://127.0.0.1:1/0", "PROGRESSKIT_FLUSH_SECONDS": "1"}
        (folder / "go").touch()
        with queue.worker(concurrency, environment=away) as worker:
            last = folder if "retries" in self.lacks else tmp_path
            if last is not folder:
                send("flaky", 1, last, worker=worker, retries=1)
                until(lambda: calls(last) == 2, lambda: worker.output()[-4_000:])
            sent = send("result", 7, worker=worker)
            until(lambda: queue.remaining() == 0, lambda: worker.output()[-4_000:])
            if "results" not in self.lacks:
                until(lambda: queue.result(sent.id) == 7, lambda: worker.output()[-4_000:])


def _argument(value: Any) -> Any:
    """Return an argument as every queue can carry it: a path as its text."""
    return str(value) if hasattr(value, "__fspath__") else value


def _left_out(test: Callable[..., None], reason: str) -> Callable[..., None]:
    @wraps(test)
    def left_out(self: Any) -> None:
        pytest.skip(f"left out: {reason}")

    del left_out.__wrapped__  # of which pytest would take the fixtures
    vars(left_out).pop("pytestmark", None)
    return left_out
