"""The reference backend: one process, a dict, and the fold itself."""

from __future__ import annotations

from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from .abc import Backend, Listener, Lists, Pushes
from .progress import FINAL_STATES, Effect, State, Stored, decode, fold

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from .config import Settings
    from .progress import Progress, Write

SWEEP_SECONDS = 60.0
"""How often records that have expired are removed, beside those that are come across."""


class _Entry(NamedTuple):
    stored: Stored
    kind: str | None
    heard: float
    lease: float
    expires: float


class MemoryBackend(Backend, Pushes, Lists):
    """Keeps the records of this process; `clock` returns seconds and never goes back."""

    shared = False

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._entries: dict[str, _Entry] = {}
        self._listeners: list[_MemoryListener] = []
        self._swept = clock()

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> MemoryBackend:
        """Make an empty one; the URL says nothing more."""
        return cls()

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in, and tell the listeners."""
        now = self._clock()
        with self._lock:
            self._sweep(now)
            heard = [write.id for write in batch if self._take(write, now)]
            runs = {write.id: self._entries[write.id].stored.run for write in batch}
            self._tell(heard, now)
        return runs

    def _take(self, write: Write, now: float) -> bool:
        entry = self._entry(write.id, now)
        stored, effect = fold(entry.stored if entry else None, write)
        if effect is Effect.IGNORED or stored is None:
            return False
        # The kind goes with the body, so that a list by kind agrees with what its records show.
        kind = entry.kind if entry and entry.stored.body is stored.body else write.kind
        self._entries[write.id] = _Entry(stored, kind, now, write.lease, now + write.ttl)
        return True

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return those that are known and have not expired."""
        now = self._clock()
        with self._lock:
            return self._read(ids, now)

    def _read(self, ids: Collection[str], now: float) -> dict[str, Progress]:
        found = ((id, self._entry(id, now)) for id in ids)
        return {id: _progress(entry, now) for id, entry in found if entry is not None}

    def cancel(self, ids: Collection[str]) -> set[str]:
        """Mark those that are known and not done."""
        now = self._clock()
        with self._lock:
            accepted = set()
            for id in ids:
                entry = self._entry(id, now)
                if entry is not None and entry.stored.state not in FINAL_STATES:
                    self._entries[id] = entry._replace(stored=entry.stored._replace(cancel_requested=True))
                    accepted.add(id)
            self._tell(accepted, now)
        return accepted

    def cancels(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        now = self._clock()
        with self._lock:
            found = ((id, self._entry(id, now)) for id in ids)
            return {id for id, entry in found if entry is not None and entry.stored.cancel_requested}

    def list(self, *, kind: str | None, states: Collection[State] | None, limit: int) -> list[Progress]:
        """Return the jobs written last, newest first."""
        now = self._clock()
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: entry.heard, reverse=True)
        wanted = (
            entry
            for entry in entries
            if now < entry.expires
            and (kind is None or entry.kind == kind)
            and (states is None or entry.stored.state in states)
        )
        return [_progress(entry, now) for entry, _ in zip(wanted, range(limit), strict=False)]

    def listen(self, tell: Callable[[Iterable[Progress]], None], lost: Callable[[], None]) -> Listener:
        """Call `tell` from within each write; nothing is ever lost."""
        listener = _MemoryListener(self, tell)
        with self._lock:
            self._listeners.append(listener)
        return listener

    def forget(self, listener: _MemoryListener) -> None:
        """Stop telling the listener."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._listeners.clear()

    def forked(self) -> None:
        """Begin empty: the records are the parent's, which this process can no longer reach."""
        self._lock = Lock()
        self._entries = {}
        self._listeners = []

    def _entry(self, id: str, now: float) -> _Entry | None:
        entry = self._entries.get(id)
        if entry is not None and entry.expires <= now:
            del self._entries[id]
            return None
        return entry

    def _sweep(self, now: float) -> None:
        if now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            self._entries = {id: entry for id, entry in self._entries.items() if now < entry.expires}

    def _tell(self, ids: Collection[str], now: float) -> None:
        for listener in self._listeners:
            changed = self._read([id for id in ids if id in listener.ids], now)
            if changed:
                listener.tell(changed.values())


def _progress(entry: _Entry, now: float) -> Progress:
    return decode(entry.stored, stalled=now - entry.heard >= entry.lease)


class _MemoryListener(Listener):
    def __init__(self, backend: MemoryBackend, tell: Callable[[Iterable[Progress]], None]) -> None:
        self.ids: set[str] = set()
        self.tell = tell
        self._backend = backend

    def watch(self, ids: Collection[str]) -> None:
        self.ids = self.ids.union(ids)

    def unwatch(self, ids: Collection[str]) -> None:
        self.ids = self.ids.difference(ids)

    def close(self) -> None:
        self._backend.forget(self)
