"""The backend: records are results of the app, and the state of a running task mirrors its record."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from progresskit.abc import Subscription, SupportsCancelPush, SupportsPush
from progresskit.backends.parts import PartsBackend, are_parts_kept
from progresskit.backends.stores import StoreBackend, load_record, load_records
from progresskit.decoding import decode_each
from progresskit.errors import ConfigurationError
from progresskit.parts import Part
from progresskit.progress import ID_LENGTH, State
from progresskit_celery.write_gate import enter_gates, mirror

from .address import app_of
from .store import PROGRESS, Change, Meta
from .stores import store_class

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Self

    from progresskit.backends.parts import DecideParts
    from progresskit.backends.stores import Decide, StoredRecord
    from progresskit.progress import Progress, Write

    from .store import Edit

    Answer = tuple[dict[str, int], dict[str, str]]

MIRRORED_OVER = frozenset(("PENDING", "RECEIVED", "STARTED", "RETRY", PROGRESS))
"""The states of a task that PROGRESS may replace: neither a final one, nor a custom one of the site's."""

SHORTEST_TTL = 0.001
"""How long a store keeps a record that has expired, in seconds."""


class CeleryBackend(StoreBackend):
    """
    Keeps each record as a result of its own, `<prefix>-<id>`, in the result backend of a Celery app.

    `app` is the app, or its URL. While the function of a task runs, the task's own state is PROGRESS, and its `info`
    has `current` and `total`. `clock` (seconds since the epoch) replaces the store's clock. On Redis the object is of
    the subclass that supports push and parts.
    """

    imports_site_code = True

    def __new__(cls, app: Any, **options: Any) -> Self:
        """Choose the class by the capabilities of the app's result backend."""
        store = store_class(app_of(app))
        if cls is CeleryBackend and hasattr(store, "follow"):
            return super().__new__(RedisCeleryBackend)  # type: ignore[return-value]
        return super().__new__(cls)

    def __init__(self, app: Any, *, prefix: str = "progresskit", clock: Callable[[], float] | None = None) -> None:
        super().__init__()
        self._app = app_of(app)
        self._prefix = prefix
        self._store = store_class(self._app)(self._app, clock)
        self.shared = self._store.shared
        if self._store.mirrors:
            mirror(self._app)
        longest = self._store.longest
        if longest is not None and len(prefix) + 1 + ID_LENGTH > longest:
            raise ConfigurationError(f"the prefix {prefix!r} is too long for a result backend whose ids have {longest}")

    def _name(self, id: str) -> str:
        return self._store.name(f"{self._prefix}-{id}")

    def load(self, ids: Collection[str]) -> tuple[dict[str, StoredRecord], float]:
        """Read the results."""
        found, now = self._store.read(dict.fromkeys(map(self._name, ids)))
        results = {id: meta for id in ids if (meta := found.get(self._name(id))) is not None}
        return records_of(results), now

    def transact(self, ids: Collection[str], decide: Decide) -> None:
        """Edit the results."""
        self._store.change(self._edits(ids, decide, set()))

    def transact_writes(self, writes: Mapping[str, Write], decide: Decide) -> None:
        """Edit the results, and mirror those of tasks that run in this process."""
        changed = set[str]()
        edits = self._edits(writes, decide, changed)
        with self._mirroring(writes, edits, changed):
            self._store.change(edits)

    def _mirroring(
        self, writes: Mapping[str, Write], edits: dict[str, Edit], changed: AbstractSet[str]
    ) -> AbstractContextManager[object]:
        running = {id: write for id, write in writes.items() if write.state is State.RUNNING}
        return _Mirroring(self._app, running, edits, changed) if running and self._store.mirrors else nullcontext()

    def _edits(self, ids: Collection[str], decide: Decide, changed: set[str]) -> dict[str, Edit]:
        return {self._name(id): partial(_edit, id, decide, changed) for id in ids}

    def close(self) -> None:
        """Close the connections that are not Celery's own; a later call opens them again."""
        self._store.close()
        super().close()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's."""
        self._store.after_fork_in_child()
        super().after_fork_in_child()


class _Mirroring:
    """A block in which the states of tasks that run in this process are edited too; a generator would take longer."""

    def __init__(
        self, app: Any, running: Mapping[str, Write], edits: dict[str, Edit], changed: AbstractSet[str]
    ) -> None:
        self._app, self._running, self._edits, self._changed = app, running, edits, changed

    def __enter__(self) -> None:
        self._gates = enter_gates(self._app, self._running)
        for id, gate in self._gates.items():
            self._edits.setdefault(gate.request.id, partial(_mirror, self._running[id], gate.request, self._changed))

    def __exit__(self, *_: object) -> None:
        for gate in self._gates.values():
            gate.leave()


class RedisCeleryBackend(CeleryBackend, PartsBackend, SupportsPush, SupportsCancelPush):
    """The backend of an app with its results in Redis: it publishes each that is stored, and has parts beside them."""

    def transact_with_parts(
        self, writes: Mapping[str, Write], names: Mapping[str, Sequence[str]], decide: DecideParts
    ) -> None:
        """Edit the results with the parts beside them, and mirror those of tasks that run in this process."""
        store, changed = self._redis, set[str]()
        jobs = {id: self._name(id) for id in (*writes, *names)}
        edits: dict[str, Edit] = {name: partial(_edit_with_parts, id, decide, changed) for id, name in jobs.items()}
        with self._mirroring(writes, edits, changed):
            store.change_with_parts(edits, {jobs[id]: those for id, those in names.items()})

    @property
    def _redis(self) -> Any:
        """The store, with the methods that only that of Redis has."""
        return self._store

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Subscribe to the channels on which Celery's own waiting for results relies."""
        store = self._redis

        def on_results(results: dict[str, Meta]) -> None:
            on_update(self.progress_of(records_of(results), store.now()).values())

        subscription: Subscription = store.follow(self._name, on_results, on_gap)
        return subscription

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Subscribe to channels that carry only requests to cancel."""
        store = self._redis
        subscription: Subscription = store.follow_cancels(self._name, on_cancel, on_gap)
        return subscription


def records_of(results: Mapping[str, Meta]) -> dict[str, StoredRecord]:
    """Return the records that are stored as results, by id; undecodable ones are left out."""
    return load_records({id: meta.result for id, meta in results.items()})


def _record(id: str, meta: Meta | None) -> StoredRecord | None:
    return None if meta is None else meta.record or load_record(id, meta.result)


def _edit(id: str, decide: Decide, changed: set[str], meta: Meta | None, now: float) -> Change | None:
    before = _record(id, meta)
    after = decide(id, before, now)
    changed.discard(id)
    if after is None:
        return None
    changed.add(id)
    return _change(before, after, {}, now)


def _edit_with_parts(id: str, decide: DecideParts, changed: set[str], meta: Meta | None, now: float) -> Change | None:
    before = _record(id, meta)
    texts = meta.parts if meta is not None else {}
    found = {name: decode_each(id, Part.load, text) for name, text in texts.items()}
    job = decide(id, before, {name: part for name, part in found.items() if part is not None}, now)
    changed.discard(id)
    if job is None:
        return None
    if job.is_written:
        changed.add(id)
    parts = {name: part.dump() for name, part in job.parts.items()}
    return _change(before, job.record, parts, now)._replace(is_pushed=job.is_new)


def _change(before: StoredRecord | None, after: StoredRecord, parts: Mapping[str, str], now: float) -> Change:
    counts = after.stored.tally is not None or (before is not None and before.stored.tally is not None)
    return Change(
        after.dump(),
        ttl=max(after.expires_at - now, SHORTEST_TTL),
        expires=max(after.expires_at, now),
        cancelling=after.stored.cancel_requested and not (before and before.stored.cancel_requested),
        parts=parts if counts else None,
        keeps_parts=counts and are_parts_kept(before, after, now),
        record=after,
        is_running=after.stored.state is State.RUNNING,
    )


def _mirror(write: Write, request: Any, changed: AbstractSet[str], meta: Meta | None, now: float) -> Change | None:
    if write.id not in changed or (meta is not None and meta.status not in MIRRORED_OVER):
        return None
    body = json.loads(write.body)
    about = {name: body[name] for name in ("current", "total", "description", "percent")}
    return Change(about, request=request, is_running=True)
