"""The backend: what is the same for every store."""

from __future__ import annotations

import json
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from progresskit.abc import Backend, Subscription, SupportsCancelPush, SupportsPush
from progresskit.backends import DecodeCache
from progresskit.decoding import decode_each
from progresskit.errors import ConfigurationError
from progresskit.progress import ID_LENGTH, Effect, State, fold, percentage
from progresskit_celery.window import entered

from .address import app_of
from .kept import Kept
from .store import PROGRESS, Change, Meta
from .stores import store_class

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import Self

    from progresskit.config import Settings
    from progresskit.progress import Progress, Write
    from progresskit_celery.window import Window

    from .store import Edit

MIRRORED_OVER = frozenset(("PENDING", "RECEIVED", "STARTED", "RETRY", PROGRESS))
"""The states of a task that PROGRESS may replace: none that says how it came out, and none that is the site's own."""

MOMENT_SECONDS = 0.001
"""How long a store need keep what has expired."""


class CeleryBackend(Backend):
    """
    Keeps each record as a result of its own, `<prefix>-<id>`, in the result backend of a Celery app.

    `app` is the app, or its URL. While the function of a task runs, the task's own state is PROGRESS, and its `info`
    has `current` and `total`. `clock` (seconds since the epoch) takes the place of the store's clock. Where the store
    pushes, what is made is of the subclass that does.
    """

    imports_site_code = True

    def __new__(cls, app: Any, **options: Any) -> Self:
        """Make the subclass that the app's result backend has the capabilities of."""
        store = store_class(app_of(app))
        if cls is CeleryBackend and hasattr(store, "follow"):
            return super().__new__(PushingCeleryBackend)  # type: ignore[return-value]
        return super().__new__(cls)

    def __init__(self, app: Any, *, prefix: str = "progresskit", clock: Callable[[], float] | None = None) -> None:
        self._app = app_of(app)
        self._prefix = prefix
        self._store = store_class(self._app)(self._app, clock)
        self._decoded = DecodeCache()
        self.shared = self._store.shared
        longest = self._store.longest
        if longest is not None and len(prefix) + 1 + ID_LENGTH > longest:
            raise ConfigurationError(f"the prefix {prefix!r} is too long for a result backend whose ids have {longest}")

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> CeleryBackend:
        """Make the backend of the app that the URL names: it is imported, but nothing is connected."""
        return cls(url, prefix=settings.prefix)

    def _name(self, id: str) -> str:
        return self._store.name(f"{self._prefix}-{id}")

    # The record.

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in, and mirror what it says of tasks that run in this process."""
        if not batch:
            return {}
        runs, heard = dict[str, int](), set[str]()
        edits: dict[str, Edit] = {self._name(write.id): partial(_fold, write, runs, heard) for write in batch}
        running = {write.id: write for write in batch if write.state is State.RUNNING}
        with entered(self._app, running) if self._store.mirrors else nullcontext(dict[str, "Window"]()) as windows:
            for id, window in windows.items():
                edits.setdefault(window.task_id, partial(_mirror, running[id], window.request, heard))
            self._store.change(edits)
        return runs

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return those that are known and have not expired."""
        found, now = self._kept(ids)
        records = {id: self.progress(id, text, kept, now) for id, (text, kept) in found.items()}
        return {id: record for id, record in records.items() if record is not None}

    def _kept(self, ids: Collection[str]) -> tuple[dict[str, tuple[str, Kept]], float]:
        if not ids:
            return {}, 0.0
        found, now = self._store.read(dict.fromkeys(map(self._name, ids)))
        kept = {}
        for id in ids:
            meta = found.get(self._name(id))
            alive = _living(id, meta, now)
            if meta is not None and alive is not None:
                kept[id] = meta.result, alive
        return kept, now

    def progress(self, id: str, text: str, kept: Kept, now: float) -> Progress | None:
        """Return the record of a text that was loaded; None where it cannot be decoded."""
        return self._decoded.get(id, (text, kept.stalled(now)), kept.progress, id, now)

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Mark those that are known and not done."""
        accepted = set[str]()
        if ids:
            self._store.change({self._name(id): partial(_cancel, id, accepted) for id in ids})
        return accepted

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        return {id for id, (_, kept) in self._kept(ids)[0].items() if kept.stored.cancel_requested}

    def forget(self, ids: Collection[str]) -> set[str]:
        """Store in the place of those that are done or stalled what has expired, so that each store removes it."""
        gone = set[str]()
        if ids:
            self._store.change({self._name(id): partial(_forget, id, gone) for id in ids})
        return gone

    def close(self) -> None:
        """Close what was opened beside Celery's own connections; a later call opens it again."""
        self._store.close()
        self._decoded = DecodeCache()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's."""
        self._store.after_fork_in_child()
        self._decoded = DecodeCache()


class PushingCeleryBackend(CeleryBackend, SupportsPush, SupportsCancelPush):
    """The backend of an app whose results are in Redis, which tells of each that is stored."""

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Follow the channels on which Celery's own waiting for results relies."""
        store: Any = self._store

        def told(results: dict[str, Meta]) -> None:
            now = store.now()
            alive = [(id, meta.result, kept) for id, meta in results.items() if (kept := _living(id, meta, now))]
            records = (self.progress(id, text, kept, now) for id, text, kept in alive)
            on_update([record for record in records if record is not None])

        followed: Subscription = store.follow(self._name, told, on_gap)
        return followed

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Follow channels on which nothing is said but that somebody asks a job to stop."""
        store: Any = self._store
        followed: Subscription = store.subscribe_cancels(self._name, on_cancel, on_gap)
        return followed


# The edits.


def _living(id: str, meta: Meta | None, now: float) -> Kept | None:
    if meta is None:
        return None
    kept = decode_each(id, Kept.load, meta.result)
    return kept if kept is not None and now < kept.expires else None


def _fold(write: Write, runs: dict[str, int], heard: set[str], meta: Meta | None, now: float) -> Change | None:
    kept = _living(write.id, meta, now)
    stored, effect = fold(kept and kept.stored, write, now)
    heard.discard(write.id)
    if stored is not None:
        runs[write.id] = stored.run
    if stored is None or effect is Effect.IGNORED:
        return None
    heard.add(write.id)
    expires = now + write.ttl
    return Change(Kept(stored, now, write.lease, expires).dump(), write.ttl, expires)


def _mirror(write: Write, request: Any, heard: set[str], meta: Meta | None, now: float) -> Change | None:
    if write.id not in heard or (meta is not None and meta.status not in MIRRORED_OVER):
        return None
    body = json.loads(write.body)
    about = {name: body[name] for name in ("current", "total", "description")}
    return Change({**about, "percent": percentage(body["current"], body["total"])}, request=request)


def _forget(id: str, gone: set[str], meta: Meta | None, now: float) -> Change | None:
    kept = _living(id, meta, now)
    gone.discard(id)
    if kept is None:
        return None
    state = kept.stored.state
    if not (state.final or (state is State.RUNNING and kept.stalled(now))):
        return None
    gone.add(id)
    # Expired long ago, also by the clock of a process that is behind.
    nothing = kept._replace(stored=kept.stored._replace(body="{}", verdict=None), expires=0.0)
    return Change(nothing.dump(), MOMENT_SECONDS, now)


def _cancel(id: str, accepted: set[str], meta: Meta | None, now: float) -> Change | None:
    kept = _living(id, meta, now)
    accepted.discard(id)
    if kept is None or kept.stored.state.final:
        return None
    accepted.add(id)
    if kept.stored.cancel_requested:
        return None
    marked = kept._replace(stored=kept.stored._replace(cancel_requested=True))
    return Change(marked.dump(), kept.expires - now, kept.expires, cancelling=True)
