"""
The interface between progresskit and queues: every integration uses it, and it alone.

An integration makes one `Integration` per app of its queue and calls it from the queue's hooks:

| process | hook | call |
|---|---|---|
| sender | a task was enqueued | `enqueued` |
| worker | a task starts | `start`, which returns a `Run` |
| worker | a task ends | `succeed`, `fail`, `cancel` or `retry` of the run |
| supervisor | a worker was killed, a task expired or was revoked | `end_externally` |
| any | a job was cancelled with `progresskit.cancel` | the queue's own function `remove` is called |

No call but the end of a run waits for the backend, and that one at most `flush_seconds`. Ids of tasks that are not
well-formed job ids are replaced by a hash, see `fit_id`.
"""

from __future__ import annotations

from functools import cache
from threading import Thread
from typing import TYPE_CHECKING, Any, Self, TypeVar

from . import capturing, scope, validation
from .abc import SupportsListing
from .arguments import checked, owner_key
from .default_kit import default
from .errors import BackendError, ConfigurationError, FlushTimeout, InvalidValue
from .observer import JoinedObserver, job_of, null_job
from .progress import Role, State, check_id, fit_id
from .snapshots import PartIdentity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from logging import Logger
    from types import TracebackType

    from .kit import Kit
    from .observer import ProgressObserver
    from .progress import JobId, Progress

    Argument = TypeVar("Argument")
    Result = TypeVar("Result")
    Remove = Callable[[list[str]], Collection[str] | None]
    RemoveParts = Callable[[list[str], bool], None]

__all__ = [
    "OWNER_HEADER",
    "PART_HEADER",
    "WAITING",
    "Integration",
    "PartIdentity",
    "Run",
    "RunObserver",
    "current_run",
    "fit_id",
    "inherit_owner",
    "keep_in_queue",
    "owned_by",
    "owner_of",
    "part_headers",
    "part_of",
    "part_weight",
]

WAITING = frozenset((State.PENDING, State.RETRYING))
"""The states of a job while its task is in the queue."""

OWNER_HEADER = "progresskit_owner"
"""The header of a task that holds the key of its owner."""

PART_HEADER = "progresskit_part"
"""The header of a task that is a part of a job; see `part_headers`."""

LISTED = 10_000
"""The most parts of a cancelled job that end before a worker finds their tasks removed."""


class Integration:
    """
    Turns the tasks of one queue into jobs of a kit, the default one unless it is given.

    `control_exceptions` are exceptions with which a task controls its queue and which are not failures (Celery's
    `Retry`); each maps to the state of a job that it ends, also of one that `observe()` opened inside the task.

    `remove` is called with the ids of waiting jobs that were cancelled in this process, and takes their tasks out of
    the queue. `terminate` is called in its place, with the ids of all cancelled jobs, where the setting `terminate` is
    on: it kills running tasks too. Both run in a thread of their own, so that the caller of `cancel()` does not wait
    for the queue; their exceptions are logged. Jobs that still wait afterwards end as cancelled: all of them, or those
    that the function returns the ids of. A task that a worker starts all the same is stopped at once.

    `remove_parts` is called, in that thread, with the tokens of runs that were cancelled and have parts, and with True
    where running tasks are to be killed: it removes the tasks whose `PartIdentity.run_token` is one of these.

    With `capture`, bars that a task draws with tqdm or rich count for its job, see `progresskit.capture`.
    """

    def __init__(
        self,
        kit: Kit | None = None,
        *,
        control_exceptions: Mapping[type[BaseException], State] | None = None,
        remove: Remove | None = None,
        terminate: Remove | None = None,
        remove_parts: RemoveParts | None = None,
        capture: bool = False,
    ) -> None:
        self.kit, self.capture = kit or default(), capture
        self._remove, self._terminate, self._remove_parts = remove, terminate, remove_parts
        self.kit._control_exceptions.update(control_exceptions or {})
        if any(removes is not None for removes in (remove, terminate, remove_parts)):
            self.kit._cancellers += (self._remove_cancelled,)

    def withdraw(self) -> None:
        """Stop removing cancelled jobs from the queue: another integration replaces this one."""
        self.kit._cancellers = tuple(one for one in self.kit._cancellers if one != self._remove_cancelled)

    # In the process that sends tasks.

    def enqueued(
        self, id: JobId, *, kind: str | None = None, owner: Any = None, part: PartIdentity | None = None
    ) -> None:
        """
        Report that a task is in the queue: its job is pending.

        Call it after the task was sent. A worker that has started the task meanwhile takes precedence. A process that
        only sends tasks need not be able to use the backend: a ConfigurationError is logged once and not raised. Raises
        InvalidValue if `kind` is not a string or the `owner` is not signed in.
        """
        try:
            self.kit._update_externally(fit_id(id), State.PENDING, kind=kind, owner=owner, part=part)
        except ConfigurationError as problem:
            _warn_once(str(problem))

    # In the process that executes tasks.

    def cancelled_before_start(self, id: JobId, attempt: int = 1) -> bool:
        """
        Return whether the job was cancelled while it waited for this attempt, so that its task is to be skipped.

        For a queue that cannot remove tasks. It reads the store, unless that is known to be down.
        """
        before = self._stored(id)
        return before is not None and _was_cancelled_before(before, attempt)

    def attempt_of(self, id: JobId, delivery: int) -> int:
        """
        Return the number of the attempt that starts, for a queue that counts only how often it has delivered a task.

        `delivery` counts from 1. A task that has lost its worker, so that its job is stalled, starts the same attempt
        again, in a new run. Of later deliveries than the first it reads the store, unless that is known to be down.
        """
        before = self._stored(id) if delivery > 1 else None
        if before is None or not (before.stalled or before.state is State.RETRYING):
            return delivery
        return before.attempt if before.stalled else before.attempt + 1

    async def aattempt_of(self, id: JobId, delivery: int) -> int:
        """Call `attempt_of` without blocking the event loop."""
        if delivery == 1:
            return delivery
        return await self.in_thread(lambda delivery: self.attempt_of(id, delivery), delivery)

    def _stored(self, id: JobId) -> Progress | None:
        try:
            return None if self.kit.publisher.down else self.kit.get(fit_id(id))
        except BackendError:
            return None

    def start(
        self,
        id: JobId,
        *,
        kind: str | None = None,
        attempt: int = 1,
        cancellable: bool = False,
        owner: Any = None,
        queued: bool = True,
        inline: bool = False,
        part: PartIdentity | None = None,
    ) -> Run:
        """
        Report that a task starts, and return its run, which is not entered yet.

        `attempt` counts from 1 and increases with each retry. With `cancellable`, reporting raises `Cancelled` once the
        job was cancelled: only where the queue survives a BaseException. `queued=False` is for a task that no queue has
        delivered; with True, one that was cancelled while it waited is not begun again: it is asked to stop.
        `inline` is True for a task that runs inside of the call that enqueued it: the surrounding job is its parent,
        and gives it its owner unless an `owner` is given. The job is a `part` of another one if the headers of its
        task say so, see `part_of`.
        """
        outer = scope.current_job() if inline else None
        if outer is not None and owner is None:
            owner = outer.owner
        observer = self.kit._open_job(
            fit_id(id),
            kind=kind,
            parent=None if outer is None else outer.id,
            attempt=attempt,
            cancellable=cancellable,
            owner=owner,
            part=part if part is None or self.kit._counts_parts() else None,
            start=Role.DEQUEUE if queued else Role.START,
        )
        self.kit.publisher.register(job_of(observer), is_queued=True)
        return Run(self, observer)

    # In a process that supervises workers.

    def end_externally(
        self,
        id: JobId,
        state: State,
        *,
        kind: str | None = None,
        error: BaseException | str | None = None,
        attempt: int = 1,
        part: PartIdentity | None = None,
    ) -> None:
        """
        Report how a job ended in place of its worker, which was killed, or before a worker had the task.

        A job that has ended already does not change. The text of an `error` is not shown to viewers, unless it is a
        `PublicError`. The job of which it is a `part` counts the end as well. Raises InvalidValue for a state that is
        not final.
        """
        if not state.final:
            raise InvalidValue(f"state must be final, not {state}")
        self.kit._update_externally(fit_id(id), state, kind=kind, error=error, attempt=attempt, part=part)

    # The life of processes.

    def in_thread(self, function: Callable[[Argument], Result], argument: Argument) -> Awaitable[Result]:
        """
        Call a function that waits for the backend in one of the kit's threads, for a coroutine that awaits it.

        The threads of the event loop may all be busy with tasks of the queue.
        """
        return self.kit._resources.call_in_thread(function, argument)

    def check(self, where: str) -> None:
        """
        Raise ConfigurationError for a kit that cannot work, to be called when a worker starts.

        Also warns, once, if other processes cannot see the jobs of this one; `where` names it ("an RQ worker"). The
        observers of all jobs are made here, so that the text of a process without jobs is written above their bars.
        """
        self.kit.warn_unshared(where)
        self.kit._resources.observers  # noqa: B018 (this makes them)

    def flush(self) -> None:
        """
        Wait until all reports are stored, at most `flush_seconds`, to be called when a worker ends.

        Raises no error: records that the backend refuses are logged, and the rest is sent once more at the exit of the
        process.
        """
        try:
            self.kit.flush()
        except (BackendError, FlushTimeout):
            pass

    def close(self) -> None:
        """Flush, and end threads and connections, to be called in a process that ends without running `atexit`."""
        self.kit.close()

    def exit(self) -> None:
        """Flush, to be called right before `os._exit`: threads and connections end with the process."""
        self.kit.close()

    # Jobs that were cancelled.

    def _remove_cancelled(self, ids: list[str]) -> Callable[[], None]:
        """Look which of the cancelled jobs wait; return a function that removes them from the queue, in a thread."""
        runs: dict[str, str] = {}
        try:
            records = self.kit.backend.read(ids)
        except BackendError:
            waiting = ids
        else:
            waiting = [id for id, record in records.items() if record.state in WAITING]
            if self._remove_parts is not None:
                runs = {id: record.tally.run_token for id, record in records.items() if record.tally is not None}

        def remove() -> None:
            if not (waiting or runs or self._terminates()):
                return
            # Not a daemon, so that a script which cancels and exits has cancelled.
            arguments = (ids, waiting, runs)
            thread = Thread(target=self._try_to_remove, args=arguments, name="progresskit-remove", daemon=False)
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends, or allows no threads
                self._try_to_remove(*arguments)

        return remove

    def _try_to_remove(self, ids: list[str], waiting: list[str], runs: Mapping[str, str]) -> None:
        try:
            self._remove_from_queue(ids, waiting, runs)
        except Exception:
            _log().warning(
                "Could not remove %s from the queue; the task stops when a worker starts it",
                ", ".join(ids),
                exc_info=True,
            )

    def _remove_from_queue(self, ids: list[str], waiting: list[str], runs: Mapping[str, str]) -> None:
        ended = waiting
        try:
            if runs and self._remove_parts is not None:
                self._remove_parts([*runs.values()], self.kit.settings.terminate)
                self._end_waiting_parts(runs)
            if self._terminate is not None and self._terminates():
                removed = self._terminate(ids)
            else:
                removed = () if self._remove is None else self._remove(waiting)
            if removed is not None:
                ended = [id for id in waiting if id in removed]
        finally:
            for id, record in self.kit.backend.read(ended).items():
                if record.state in WAITING:  # one that has started meanwhile stops by itself
                    part = None if record.part_of is None else PartIdentity(record.part_of, id)
                    self.end_externally(id, State.CANCELLED, part=part)

    def _end_waiting_parts(self, parents: Iterable[str]) -> None:
        """End the waiting parts of cancelled jobs now: a worker may come late to a task that was removed."""
        backend = self.kit.backend
        if isinstance(backend, SupportsListing):
            for parent in parents:
                for record in backend.list(kind=None, states=WAITING, limit=LISTED, part_of=parent):
                    self.end_externally(record.id, State.CANCELLED, part=PartIdentity(parent, record.id))

    def _terminates(self) -> bool:
        return self._terminate is not None and self.kit.settings.terminate


class Run:
    """
    The execution of a task, from its start to its end, made by `Integration.start`.

    As a context manager (`async with` too) it makes the job the surrounding one, and ends it by the exception that
    leaves the block. A queue with separate hooks for start and end calls `enter` and `leave` instead, both in the
    context in which the task's function is called. The first end counts, later ones are ignored.
    """

    __slots__ = ("_captured", "_integration", "_job", "_observer", "_scope")

    def __init__(self, integration: Integration, observer: ProgressObserver) -> None:
        self._integration, self._observer = integration, observer
        self._job = job_of(observer)
        self._scope: scope.Scope | None = None
        self._captured: AbstractContextManager[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @property
    def id(self) -> str:
        """The id of the job."""
        return self._job.id

    @property
    def job(self) -> RunObserver:
        """The job as the task's code sees it: it reports, and does not end the job."""
        return RunObserver(self)

    def enter(self) -> Self:
        """Make the job the surrounding one of this context, until `leave`."""
        self.leave()
        self._scope = scope.enter(self._observer, self)
        if self._integration.capture:
            self._captured = capturing.capture()
            self._captured.__enter__()
        return self

    def leave(self) -> None:
        """Make the job the surrounding one no longer; it does not end."""
        entered, self._scope = self._scope, None
        captured, self._captured = self._captured, None
        if captured is not None:
            captured.__exit__(None, None, None)
        if entered is not None:
            entered.leave()

    def succeed(self, result: Any = None) -> None:
        """End the job as succeeded; the record has the result where `expose_results` is on and JSON can hold it."""
        try:
            self._observer.succeed(self._shown(result))
        except InvalidValue:  # strict mode: the queue can carry results that JSON cannot
            self._observer.succeed()

    def _shown(self, result: Any) -> Any:
        return result if self._integration.kit.settings.expose_results else None

    def fail(self, error: BaseException | str) -> None:
        """End the job as failed; the text of the error is not shown to viewers, unless it is a `PublicError`."""
        self._job.end(State.FAILED, error=error)

    def cancel(self) -> None:
        """End the job as cancelled."""
        self._job.end(State.CANCELLED)

    def retry(self, next_retry_at: datetime | None = None) -> None:
        """
        End this attempt: the task is in the queue again, for the aware `next_retry_at` where it is known.

        Call it before the task is sent again, or another worker may start the next attempt first.
        """
        self._job.end(State.RETRYING, next_retry_at=next_retry_at)

    async def aend(
        self,
        state: State,
        *,
        result: Any = None,
        error: BaseException | str | None = None,
        next_retry_at: datetime | None = None,
    ) -> None:
        """End the job as `succeed`, `fail`, `cancel` or `retry` does, without blocking the event loop."""
        try:
            await self._job.aend(state, result=self._shown(result), error=error, next_retry_at=next_retry_at)
        except InvalidValue:  # as in `succeed`
            await self._job.aend(state)

    async def aend_by(self, error: BaseException | None) -> None:
        """Do as `end_by` does, without blocking the event loop."""
        await self._job.aend_by(error)

    def end_by(self, error: BaseException | None) -> None:
        """End the job by the exception of the task, if any: `control_exceptions` and cancelling are not failures."""
        self._job.end_by(error)

    def detach(self) -> None:
        """
        Stop reporting and leave the end to a supervisor: this process ends, and only the supervisor knows the reason.

        Reports are stored before this returns; a start that is stored after the supervisor's report would be a new run.
        """
        self._integration.flush()
        self._job.detach()

    def __enter__(self) -> Self:
        return self.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        self.end_by(error)

    async def __aenter__(self) -> Self:
        return self.enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        await self.aend_by(error)


def _was_cancelled_before(record: Progress, attempt: int) -> bool:
    """Return whether the record is of a job that was cancelled while it waited for an attempt."""
    waited = record.started_at is None or record.attempt < attempt
    return record.cancel_requested and waited and record.state in {State.CANCELLED, *WAITING}


class RunObserver(JoinedObserver):
    """Reports to the job of a run and does not end it; without a run it accepts reports and ignores them."""

    def __init__(self, run: Run | None) -> None:
        super().__init__(null_job() if run is None else run._observer)


def current_run(id: JobId | None = None) -> Run | None:
    """Return the innermost run that was entered in this context, with an id that of its job; None without one."""
    wanted = None if id is None else fit_id(id)
    for run in scope.current_runs():
        if wanted in (None, run.id):
            return run
    return None


def keep_in_queue(ids: list[str]) -> None:
    """
    Remove no task: the `remove` of a queue that cannot. Their jobs end as cancelled.

    The worker of such a queue asks `cancelled_before_start` for each task, and skips it.
    """


# The owner of a task goes with its message, in a header: through retries and redeliveries too.


def owned_by(user: Any) -> dict[str, str]:
    """
    Return the headers that make a task the job of a user: a web framework's user object, or the key of one.

    Raises InvalidValue for a user who is not signed in.
    """
    return {OWNER_HEADER: owner_key(user)}


def owner_of(headers: Mapping[str, Any] | None) -> str | None:
    """Return the owner that the headers of a task name; None if there is none, or it cannot be one."""
    owner = (headers or {}).get(OWNER_HEADER)
    try:
        return None if owner is None else owner_key(owner)
    except InvalidValue:
        return None


def inherit_owner(headers: MutableMapping[str, Any]) -> None:
    """Add the owner of the surrounding job to the headers of a task that is sent inside of it, unless they name one."""
    job = scope.current_job()
    if job is not None and job.owner is not None:
        headers.setdefault(OWNER_HEADER, job.owner)


# A task of a canvas or batch is a part of the job that stands for all of it, by a header as well.


def part_headers(part: PartIdentity) -> dict[str, str]:
    """Return the headers that make a task a part of a job; its name there is the id of its own job."""
    return {PART_HEADER: f"{part.parent} {part.weight} {part.run_token or '-'}"}


def part_weight(weight: Any) -> int:
    """Return how much a part counts, a whole number from 1 to 1,000,000; raises InvalidValue for another value."""
    return checked("weights", validation.weight, weight)


def part_of(headers: Mapping[str, Any] | None) -> PartIdentity | None:
    """Return the part that the headers of a task name; None if there is none, or it cannot be one."""
    text = (headers or {}).get(PART_HEADER)
    if not isinstance(text, str):
        return None
    try:
        parent, weight, run_token = text.split(" ")
        identity = PartIdentity(check_id(parent), "", part_weight(int(weight)))
    except ValueError:
        return None
    return identity._replace(run_token=None if run_token == "-" else run_token)


@cache
def _warn_once(problem: str) -> None:
    _log().warning("Tasks are not reported as waiting: %s", problem)


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
