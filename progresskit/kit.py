"""The Kit: the calls of workers and viewers. `Resources` opens and closes the parts that they use."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import forks, scope, unseen, validation
from .abc import SupportsListing, SupportsParts
from .arguments import checked, checked_kind, checked_states, length_of, message, owner_key, part_name
from .errors import InvalidValue, Unsupported
from .loops import AsyncLoop, EitherLoop, count_loop
from .observer import IgnoredObserver, JoinedObserver, ProgressObserver, StepObserver, job_of, null_job, stage_of
from .progress import Details, Failure, Role, State, check_id
from .remote import RemoteSubject
from .resources import Resources
from .snapshots import Identity, PartIdentity, declaration, external_update, failure
from .start_tokens import new_token
from .urls import redact

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
    from logging import Logger

    from .abc import Backend
    from .config import Settings
    from .hub import Hub, Viewer
    from .job import Job
    from .progress import JobId, Progress
    from .publisher import Publisher
    from .remote_runs import Accepted, Conflict, RemoteReport, RemoteRun

Item = TypeVar("Item")


class Kit:
    """
    Jobs, viewers and the one backend between them.

    `url` and the settings are those of `progresskit.config`; a given `backend` is used instead of the URL's, and never
    closed. `clock` and `threaded` are for tests: `clock` returns seconds that never go back, and is the time of day
    too; with `threaded=False` only `publisher.step()` writes, and only `hub.step()` reads. Raises ConfigurationError
    for wrong settings.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        backend: Backend | None = None,
        clock: Callable[[], float] | None = None,
        threaded: bool = True,
        **settings: Any,
    ) -> None:
        self._cancellers: tuple[Callable[[list[str]], Callable[[], None]], ...] = ()
        self._control_exceptions: dict[type[BaseException], State] = {}
        self._warned: set[str] = set()  # the problems already logged: each warning is logged once
        self._resources = Resources(clock, threaded, self._control_exceptions)
        if url is not None or settings or backend is not None:
            self.configure(url, backend=backend, **settings)

    # Set-up.

    def configure(self, url: str | None = None, *, backend: Backend | None = None, **settings: Any) -> None:
        """
        Choose the backend by its URL and change other settings; the earlier configuration is replaced.

        Open parts are flushed and closed. Raises ConfigurationError, at once, for wrong settings.
        """
        self._resources.configure(settings if url is None else {"url": url, **settings}, backend)

    def host_settings(self, settings: Mapping[str, Any], *, check: bool = True) -> None:
        """
        Take the settings of a web framework; the environment and `configure()` have precedence.

        Raises ConfigurationError for wrong settings, and keeps the earlier ones; without the `check`, the first use of
        the kit raises it.
        """
        self._resources.host_settings(settings, check)

    def check(self, *, site_loaded: bool = False) -> Settings:
        """
        Raise ConfigurationError for wrong settings, so that a mistake is reported at the start; else return them.

        A backend is made for that, without a connection, and discarded: the environment may change until the kit is
        used. One that `imports_site_code` is made only with `site_loaded`, when the site's own code is imported.
        """
        return self._resources.check(site_loaded)

    @property
    def settings(self) -> Settings:
        """The settings that hold."""
        return self._resources.settings

    @property
    def backend(self) -> Backend:
        """The backend, made when it is first asked for."""
        return self._resources.backend

    @property
    def publisher(self) -> Publisher:
        """The publisher, which writes for all jobs of this process."""
        return self._resources.publisher

    @property
    def hub(self) -> Hub:
        """The hub, which watches for all viewers of this process."""
        unseen.note_viewer()
        return self._resources.hub

    def close(self) -> None:
        """
        Store pending reports, for `flush_seconds` at most, and end threads and connections.

        Using the kit again opens them again.
        """
        self._resources.close()

    def warn_unshared(self, where: str) -> None:
        """Warn, once, where the backend cannot be seen by the other processes that matter to `where`."""
        problem = None if "unshared" in self._warned else unseen.why_unseen(self.settings.url, self.backend.shared)
        if problem is not None:
            self._warned.add("unshared")
            unseen.note_viewer()
            unseen.warn(where, problem)

    # For workers.

    def observe(
        self,
        id: JobId | None = None,
        *,
        total: float | None = None,
        description: str | None = None,
        unit: str | None = None,
        kind: str | None = None,
        meta: Mapping[str, Any] | None = None,
        cancellable: bool = False,
        owner: Any = None,
        steps: Mapping[str, int] | Iterable[str] | None = None,
        parts: int | None = None,
        part_of: JobId | None = None,
        weight: int = 1,
    ) -> ProgressObserver:
        """
        Open a job, or join the surrounding one where `id` is None or its own.

        A job that was opened here is ended here: by leaving the `with` block, or by `succeed` or `fail`. One that was
        joined is only reported to. With another id inside a job, a child of it is opened. Without an id and a
        surrounding job the id is a fresh one of 128 random bits.

        `owner` is the user of the job, for `progresskit.web.owner_only`: a user object of the web framework, or the key
        of one. A child has its parent's by default, and a job that is joined keeps its own. It is never sent to a page.

        `steps` are the names of the steps with their weights (whole numbers from 1 to 1,000,000), or the names alone,
        for equal ones: up to 32. The job then counts by them only, see `ProgressObserver.step`.

        `parts` is how many parts the job has, which other workers report: it then counts by them only, see `part`. With
        `part_of`, the job itself is a part of that job, in which it counts with this `weight` (a whole number from 1 to
        1,000,000). Where the backend cannot add up parts, both are logged once, and the job runs without.

        Raises InvalidId for an invalid id, and InvalidValue for an `owner` who is not signed in; for other bad values
        in strict mode only.
        """
        forks.notice()
        id = None if id is None else check_id(id)
        part = None if part_of is None else PartIdentity(check_id(part_of), "", weight)
        if not (parts is None and part is None) and not self._counts_parts():
            parts = part = None
        job = scope.current_job()
        joining = self._joining(id) if part_of is None else None
        if joining is not None:
            joined = JoinedObserver(joining)
            self._declare(joined, steps, parts)
            joined.update(total=total, description=description, unit=unit, meta=meta)
            return joined
        parent = None if job is None else job_of(job).label
        if job is not None and owner is None:
            owner = job.owner
        opened = self._open_job(id, kind=kind, parent=parent, cancellable=cancellable, owner=owner, part=part)
        with self._publishing(opened):
            self._declare(opened, steps, parts)
            opened.update(total=total, description=description, unit=unit, meta=meta)
        return opened

    @contextmanager
    def _publishing(self, opened: ProgressObserver) -> Iterator[None]:
        """Publish a job after the block that gives it its values, unless one is refused."""
        try:
            yield
        except InvalidValue:
            job_of(opened).detach()
            raise
        self.publisher.register(job_of(opened))

    def _declare(
        self, observer: ProgressObserver, steps: Mapping[str, int] | Iterable[str] | None, parts: int | None
    ) -> None:
        job, stage = job_of(observer), stage_of(observer)
        job.declare(stage, steps, StepObserver)
        job.declare_parts(stage, parts)

    def _counts_parts(self) -> bool:
        """Return whether the backend can add up parts; log it once where it cannot."""
        if isinstance(self.backend, SupportsParts):
            return True
        if "parts" not in self._warned:
            self._warned.add("parts")
            _log().warning("%s cannot add up the parts of jobs: they are not counted", redact(self.settings.url))
        return False

    def part(
        self,
        parent: JobId,
        name: JobId,
        *,
        total: float | None = None,
        unit: str | None = None,
        description: str | None = None,
        weight: int = 1,
        cancellable: bool = False,
    ) -> ProgressObserver:
        """
        Open a part of a job, under a name of at most 200 characters, without a record of its own.

        It is reported to and ended like a job, in any process; only the sums over all parts are stored, with the job.
        A part that is opened again under its name, because a queue has delivered its task again, counts once. `weight`
        (a whole number from 1 to 1,000,000) is how much it counts among the others.

        A request to cancel the job is one to cancel its parts. Raises InvalidId for an invalid id or name. Where the
        backend cannot add up parts, that is logged once, and reports are ignored.
        """
        forks.notice()
        id, text = check_id(parent), part_name(name)
        if not self._counts_parts():
            return JoinedObserver(null_job())
        share = PartIdentity(id, text, weight, has_record=False)
        job = scope.current_job()
        owner = None if job is None else job.owner
        opened = self._open_job(f"{id}/{text}", cancellable=cancellable, owner=owner, part=share)
        with self._publishing(opened):
            opened.update(total=total, unit=unit, description=description)
        return opened

    def group(
        self,
        id: JobId | None = None,
        *,
        size: int | None = None,
        weight: int | None = None,
        unit: str | None = None,
        description: str | None = None,
        kind: str | None = None,
        meta: Mapping[str, Any] | None = None,
        owner: Any = None,
    ) -> str:
        """
        Declare a job that is made of parts and has no worker of its own, or change it; return its id.

        It is pending until a part starts, and ends by itself once `size` parts are final: failed if one of them failed,
        else cancelled if one was cancelled, else succeeded. `weight` is the total weight of the parts, by default
        `size`. Parts may report before their number is known, and another call may change it: a `size` or `weight` of
        None stays as it was, and so do the texts where none is given. After the job's end it begins the next run.

        Returns once that is stored, after `flush_seconds` at most; during an outage it is sent later. Raises
        Unsupported where the backend cannot add up parts, InvalidId for an invalid id, and InvalidValue for other
        invalid arguments.
        """
        forks.notice()
        self._check_parts()
        id = os.urandom(16).hex() if id is None else check_id(id)
        details = Details(
            kind=checked_kind(kind),
            unit=None if unit is None else checked("unit", validation.text, unit),
            description=None if description is None else checked("description", validation.text, description),
            meta={} if meta is None else checked("meta", validation.meta, meta),
        )
        self._declare_group(id, os.urandom(8).hex(), size, weight=weight, details=details, owner=owner)
        return id

    def _check_parts(self) -> None:
        """Raise Unsupported where the backend cannot add up parts."""
        if not isinstance(self.backend, SupportsParts):
            raise Unsupported(f"the backend of {redact(self.settings.url)} cannot add up the parts of jobs")

    def _declare_group(
        self, id: str, token: str, size: int | None, *, weight: int | None, details: Details | None = None, owner: Any
    ) -> None:
        """Declare how many parts a job has; a run that begins by this has that token."""
        self.publisher.declare(
            declaration(
                self.publisher,
                id,
                token,
                None if size is None else checked("size", validation.size, size),
                weight=None if weight is None else checked("weight", validation.size, weight),
                details=details or Details(),
                owner=None if owner is None else owner_key(owner),
            )
        )

    async def agroup(self, id: JobId | None = None, **about: Any) -> str:
        """Call `group` without blocking the event loop."""
        return await self._resources.call_in_thread(lambda id: self.group(id, **about), id)

    def _joining(self, id: str | None) -> ProgressObserver | None:
        """Return the job that is joined, and not opened, under that id or under none."""
        job = scope.current_job()
        if job is not None:
            return job if id in (None, job.id) else None
        return null_job() if id is None and scope.is_orphaned() else None

    @overload
    def track(
        self,
        items: Iterable[Item],
        *,
        id: JobId | None = None,
        total: float | None = None,
        description: str | None = None,
        unit: str | None = None,
        kind: str | None = None,
        meta: Mapping[str, Any] | None = None,
        cancellable: bool = False,
        owner: Any = None,
    ) -> Iterator[Item]: ...

    @overload
    def track(
        self,
        items: AsyncIterable[Item],
        *,
        id: JobId | None = None,
        total: float | None = None,
        description: str | None = None,
        unit: str | None = None,
        kind: str | None = None,
        meta: Mapping[str, Any] | None = None,
        cancellable: bool = False,
        owner: Any = None,
    ) -> AsyncIterator[Item]: ...

    def track(
        self,
        items: Any,
        *excess: Any,
        id: JobId | None = None,
        total: float | None = None,
        unit: str | None = None,
        **about: Any,
    ) -> Any:
        """
        Iterate over the items while a job counts them; the arguments are those of `observe`.

        The job is opened or joined as by `observe`. One that was opened has succeeded when the items are used up, and
        is cancelled when the loop is left before. It is the surrounding job of the loop's body. `total` is `len(items)`
        where that is known.
        """
        if excess:
            raise TypeError(f"track() takes the id by its name, as in track(items, id={excess[0]!r:.80})")
        if total is None:
            total = length_of(items)
        count: Callable[..., Any]
        if not hasattr(items, "__aiter__"):
            count, items = count_loop, iter(items)  # an object that is not iterable raises before there is a job
        else:
            count = EitherLoop if hasattr(items, "__iter__") else AsyncLoop
        id = None if id is None else check_id(id)
        joins = self._joining(id) is not None
        # Of a loop that joins a job the unit holds if it counts, which only the outer one of nested loops does.
        job = self.observe(id, unit=None if joins else unit, **about)
        return count(items, job, total, unit if joins else None, not joins)

    def current(self) -> ProgressObserver:
        """Return the surrounding job, to report to, or a silent one where there is none."""
        forks.notice()
        job = scope.current_job()
        if job is not None:
            return JoinedObserver(job)
        return IgnoredObserver(self._warn_of_thread) if self._is_suspicious() else JoinedObserver(null_job())

    def step(self, name: str, *, total: float | None = None, unit: str | None = None) -> StepObserver:
        """Return a step of the surrounding job, or of the step that surrounds this code: `current().step(…)`."""
        return self.current().step(name, total=total, unit=unit)

    def _is_suspicious(self) -> bool:
        """Return True in a thread without a job while others have one: it was not handed a context, perhaps."""
        publisher = self._resources.open_publisher
        if "thread" in self._warned or publisher is None or not publisher.has_jobs or scope.is_orphaned():
            return False
        return current_thread() is not main_thread()

    def _warn_of_thread(self) -> None:
        if "thread" not in self._warned:
            self._warned.add("thread")
            _log().warning(
                "The thread %s has no job, while others have: its reports are ignored. If it works for a job, start "
                "it with contextvars.copy_context().run, or pass it the observer",
                current_thread().name,
            )

    def flush(self, timeout: float | None = None) -> None:
        """
        Return when all that was reported until now is stored.

        Raises FlushTimeout if that takes over `timeout` seconds (`flush_seconds` unless given), and BackendError if a
        part of it, since the flush before, is not stored because the backend refuses it or was down for too long.
        """
        forks.notice()
        publisher = self._resources.open_publisher
        if publisher is not None:
            publisher.flush(self.settings.flush_seconds if timeout is None else timeout)

    # For progresskit.integrations.

    def _open_job(
        self,
        id: str | None = None,
        *,
        kind: str | None = None,
        parent: str | None = None,
        attempt: int = 1,
        cancellable: bool = False,
        owner: Any = None,
        part: PartIdentity | None = None,
        start: Role = Role.START,
    ) -> ProgressObserver:
        """
        Make a job, in any context, which is published once it is given to `publisher.register`.

        `start` is the role of its first record. A `part` with a record has the job's id as its name; one without has
        one made of its parent's and its name.
        """
        if id is None:
            id = os.urandom(16).hex()
        if part is not None and part.has_record:
            part = part._replace(name=id)
        return ProgressObserver(
            self.publisher,
            Identity(
                str(id),
                token=new_token(),
                kind=kind,
                parent=parent,
                attempt=attempt,
                owner=None if owner is None else owner_key(owner),
                part=part,
                whole=None if part is None else self._surrounding(part.parent),
                start=start,
            ),
            cancellable=cancellable,
        )

    def _surrounding(self, id: str) -> Job | None:
        """Return the job of that id, if it surrounds this code and may have parts."""
        jobs = map(job_of, scope.surrounding_jobs())
        return next((job for job in jobs if job.id == id and job.may_have_parts(self.publisher)), None)

    def _update_externally(
        self,
        id: str,
        state: State,
        *,
        kind: str | None = None,
        attempt: int = 1,
        error: BaseException | str | None = None,
        owner: Any = None,
        part: PartIdentity | None = None,
    ) -> None:
        """
        Publish the state of a job that is not from its worker: `pending`, or how it ended.

        The `owner` holds until a worker starts the job, which has to name it again. The end of a job that is a `part`
        is one of that part too.
        """
        if part is not None:
            part = part._replace(name=id) if self._counts_parts() else None
        publisher = self.publisher
        build = partial(
            external_update,
            publisher,
            id,
            state,
            kind=checked_kind(kind),
            attempt=attempt,
            error=failure(error),
            made=publisher.wall(),
            owner=None if owner is None else owner_key(owner),
            part=part,
        )
        publisher.submit(build, at_once=state.final)

    # For progresskit.web.

    def _report(self, run: RemoteRun | str, report: RemoteReport) -> Accepted | Conflict:
        """Store a report of a program elsewhere, of its run, or the first one of a new run of that id."""
        from .remote_runs import RemoteRuns  # its hash takes 2 ms to import, which no worker needs

        runs = RemoteRuns(self.backend, self.publisher)
        return runs.start(run, report) if isinstance(run, str) else runs.go_on(run, report)

    async def _areport(self, run: RemoteRun | str, report: RemoteReport) -> Accepted | Conflict:
        """Call `_report` without blocking the event loop."""
        return await self._resources.call_in_thread(lambda run: self._report(run, report), run)

    # For viewers.

    def get(self, id: JobId) -> Progress | None:
        """Return the newest record of a job; None if it was never reported. Raises the errors of `get_many`."""
        id = check_id(id)
        return self.get_many((id,)).get(id)

    def get_many(self, ids: Collection[JobId]) -> dict[str, Progress]:
        """
        Return the newest records of those jobs that have been reported.

        Raises InvalidId for an invalid id, BackendUnavailable where the backend cannot be reached, and BackendError for
        its other failures.
        """
        unseen.note_viewer()
        return self.backend.read([check_id(id) for id in ids]) if ids else {}

    async def aget(self, id: JobId) -> Progress | None:
        """Call `get` without blocking the event loop."""
        id = check_id(id)
        return (await self.aget_many((id,))).get(id)

    async def aget_many(self, ids: Collection[JobId]) -> dict[str, Progress]:
        """Call `get_many` without blocking the event loop."""
        if not ids:
            return {}
        wanted = [check_id(id) for id in ids]
        unseen.note_viewer()
        records = await self._resources.read_in_thread(wanted)
        return {id: records[id] for id in wanted if id in records}

    def watch(self, *ids: JobId) -> Iterator[Progress]:
        """
        Iterate over the records of jobs: first as they are, then each change, the newest state only.

        Ends when all of them are done, or when the kit is closed. Jobs that do not exist yet are waited for, and so is
        a backend that cannot be reached. Raises InvalidId for an invalid id.
        """
        return self._watch({check_id(id) for id in ids})

    def _watch(self, waiting: set[str]) -> Iterator[Progress]:
        with self.hub.view(waiting) as viewer:
            while waiting and not viewer.closed:
                for progress in viewer.get().values():
                    yield progress
                    if progress.done:
                        waiting.discard(progress.id)

    def awatch(self, *ids: JobId) -> AsyncIterator[Progress]:
        """Iterate like `watch` without blocking the event loop."""
        return self._awatch({check_id(id) for id in ids})

    async def _awatch(self, waiting: set[str]) -> AsyncIterator[Progress]:
        with self.hub.view(waiting) as viewer:
            while waiting and not viewer.closed:
                for progress in (await viewer.aget()).values():
                    yield progress
                    if progress.done:
                        waiting.discard(progress.id)

    def viewer(self, *ids: JobId) -> Viewer:
        """
        Return the viewer that `watch` and `awatch` read from; it outlives the end of a job, which may run again.

        Close it after use; it is a context manager. Raises InvalidId for an invalid id.
        """
        return self.hub.view({check_id(id) for id in ids})

    def subject(self, id: JobId) -> RemoteSubject:
        """Return the Subject of a job, wherever it runs. Raises InvalidId for an invalid id."""
        return RemoteSubject(self, check_id(id))

    def cancel(self, id: JobId) -> bool:
        """
        Ask a job to stop; return False where it is unknown or done. Raises the errors of `get_many`.

        A job that this process has begun or sent just now is known: its reports are stored first, where need be.

        A `stalled` job has no worker that could stop, so it ends as cancelled at once. Later writes of its worker, if
        that should return, are ignored.
        """
        id = check_id(id)
        return self._request_cancel(id, lambda: self._end_stalled(id))

    def _request_cancel(self, id: str, end: Callable[[], None], *, asks: bool = True) -> bool:
        """Ask a job to stop and call `end`; return False where it is not known or is done."""
        accepted = [*self.backend.request_cancel((id,))] if asks else [id]
        if not accepted and (publisher := self._resources.open_publisher) is not None and publisher.settle():
            accepted = [*self.backend.request_cancel((id,))]
        if not accepted:
            return False
        removals = [canceller(accepted) for canceller in self._cancellers]
        try:
            end()
        finally:
            for remove in removals:  # only now: they end jobs that still wait as cancelled
                remove()
        return True

    def _end_stalled(self, id: str) -> None:
        record = self.backend.read((id,)).get(id)
        if record is not None and record.stalled:
            self._override(id, record, State.CANCELLED)

    def _override(self, id: str, record: Progress | None, state: State, error: Failure | None = None) -> None:
        parent, publisher = None if record is None else record.part_of, self.publisher
        part = PartIdentity(parent, id) if parent is not None and isinstance(self.backend, SupportsParts) else None
        made = publisher.wall()
        publisher.override(
            external_update(publisher, id, state, kind=None, attempt=1, error=error, made=made, part=part)
        )

    async def acancel(self, id: JobId) -> bool:
        """Call `cancel` without blocking the event loop."""
        return await self._resources.call_in_thread(self.cancel, id)

    def end(self, id: JobId, failed: str | None = None) -> bool:
        """
        End a job from outside: as cancelled, or as failed with that text; return False where it is unknown or done.

        Returns when the end is stored. All viewers of the job can read the text. A worker that still runs is asked to
        stop, and its later writes are ignored: `cancel` leaves the end to the worker, where there is one.

        Raises the errors of `get_many`, BackendUnavailable also where the end is not stored within `flush_seconds`, and
        InvalidValue for a text that is not a string.
        """
        id = check_id(id)
        error = None if failed is None else Failure("Error", checked("failed", message, failed), public=True)
        state = State.CANCELLED if error is None else State.FAILED
        record = self.backend.read((id,)).get(id)
        # A request to cancel would end a group of which no part runs, as cancelled.
        asks = error is None or not _is_idle_group(record)
        return self._request_cancel(id, lambda: self._override(id, record, state, error), asks=asks)

    async def aend(self, id: JobId, failed: str | None = None) -> bool:
        """Call `end` without blocking the event loop."""
        return await self._resources.call_in_thread(lambda id: self.end(id, failed), id)

    def forget(self, id: JobId) -> bool:
        """
        Remove the record of a job that is done or stalled; return False where it is unknown, or neither.

        Afterwards the id is unknown. Present viewers are not notified of that, and see its next run. Raises the errors
        of `get_many`.
        """
        id = check_id(id)
        gone = bool(self.backend.forget((id,)))
        if gone:
            self._resources.forget(id)
        return gone

    async def aforget(self, id: JobId) -> bool:
        """Call `forget` without blocking the event loop."""
        return await self._resources.call_in_thread(self.forget, id)

    def list(
        self,
        *,
        kind: str | None = None,
        state: State | str | Collection[State | str] | None = None,
        part_of: JobId | None = None,
        limit: int = 100,
    ) -> builtins.list[Progress]:
        """
        Return at most `limit` jobs, the most recently written first; only those of the kind and states, if given.

        With `part_of`, only the jobs that are parts of that job; a part without a record of its own is not listed.

        Raises InvalidValue for an invalid kind, state or limit, InvalidId for an invalid id, Unsupported where the
        backend cannot list, and the errors of `get_many`.
        """
        states = None if state is None else checked("state", checked_states, state)
        kind, limit = checked_kind(kind), checked("limit", validation.limit, limit)
        parent = None if part_of is None else check_id(part_of)
        backend = self.backend
        unseen.note_viewer()
        if not isinstance(backend, SupportsListing):
            raise Unsupported(f"the backend of {redact(self.settings.url)} cannot list jobs")
        return backend.list(kind=kind, states=states, limit=limit, part_of=parent)


def _is_idle_group(record: Progress | None) -> bool:
    """Return whether the job is a live one with parts, of which none is running."""
    return record is not None and not record.done and record.parts is not None and not record.parts.running


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
