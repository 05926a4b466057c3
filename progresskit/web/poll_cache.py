"""
Recently read records, so that frequent polls are answered from memory.

Where the backend pushes, a job that is polled repeatedly is watched while the polls continue, by one viewer for all
jobs. Where the backend is polled, each request reads it: a page that has seen a newer record by a stream must not get
an older one. A job without a record is read each time.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from progresskit import background
from progresskit.abc import SupportsPush

from .events import RenderedRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from progresskit.hub import Hub, Viewer
    from progresskit.kit import Kit
    from progresskit.progress import Progress, Version

AGAIN_SECONDS = 3.0
"""A job that is polled again within this time is watched."""

KEEP_SECONDS = 10.0
"""A job that was not polled for this long is watched no longer."""

SURE_SECONDS = 3.0
"""Longest time between two reads of the backend: a lost connection for pushes may not have been noticed yet."""

SWEEP_SECONDS = 1.0

MOST = 1_000
"""Jobs that are kept, those that were asked for last."""

MOST_BYTES = 2**23
"""So long their JSON is together; a job takes some five times its own in memory."""


class _Entry:
    """One job: as it was read last, and as it was pushed last."""

    __slots__ = ("_measured", "asked_at", "heard", "read_at", "rendered", "shown_at", "size", "watched")

    def __init__(self, rendered: RenderedRecord, read_at: float, now: float) -> None:
        self.rendered, self.shown_at = rendered, now
        self.read_at = self.asked_at = read_at
        self.heard: Progress | None = None
        self.watched = False
        self.size = 0
        self._measured: RenderedRecord | None = None

    def measure(self, exposed: bool) -> int:
        """Return how much longer the record's JSON is than when this was asked before."""
        if self._measured is self.rendered:
            return 0
        before, self.size, self._measured = self.size, len(self.rendered.text(False, exposed)), self.rendered
        return self.size - before

    def show(self, record: Progress, now: float) -> None:
        self.shown_at = now
        if record != self.rendered.record:
            self.rendered = RenderedRecord(record)

    def is_fresh(self, now: float) -> bool:
        """Return whether this record may be shown without reading the backend."""
        return self.is_current(now) and now - self.read_at < SURE_SECONDS

    def is_current(self, now: float) -> bool:
        """
        Return whether the record is the one that was pushed last, or take that if it is newer.

        Otherwise the push is behind, or the job has begun another life: only the backend knows.
        """
        heard, rendered = self.heard, self.rendered.record
        if heard is None:
            return False
        if heard is rendered:
            return True
        if heard.life == rendered.life and heard.version > rendered.version:
            self.show(heard, now)
        elif heard.cursor != rendered.cursor:
            return False
        self.heard = self.rendered.record  # the same state, and the next poll finds that out by identity
        return True


class PollCache:
    """
    The polled jobs of one hub; may be used by many threads.

    Its thread and its viewer exist only while jobs are polled, and end when the kit is closed.
    """

    def __init__(self, kit: Kit, clock: Callable[[], float] = monotonic) -> None:
        self._hub = kit.hub
        self._clock = clock
        # A backend inside this process is as quick to read as the cache, and never behind.
        self._is_kept_current = kit.backend.shared and isinstance(kit.backend, SupportsPush)
        self._process = os.getpid()
        self._lock = Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0
        self._exposed = kit.settings.expose_errors
        self._viewer: Viewer | None = None

    def serves(self, hub: Hub) -> bool:
        """Return whether this is the cache of that hub, in this process: kits are reconfigured, processes forked."""
        return hub is self._hub and self._process == os.getpid()

    def now(self) -> float:
        """Return when a read begins, as `keep` wants to know it."""
        return self._clock()

    def seen(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the last records of those jobs seen by this process, which may be old; reads and keeps none."""
        with self._lock:
            seen = {id: entry.rendered.record for id in ids if (entry := self._entries.get(id)) is not None}
        for id in ids:
            watched = self._hub.latest(id)
            if watched is not None and (id not in seen or watched.version > seen[id].version):
                seen[id] = watched
        return seen

    def current(self, ids: Iterable[str]) -> dict[str, Progress]:
        """Return the records that `known` would, without counting a poll: the request may not be authorised yet."""
        now = self._clock()
        with self._lock:
            entries = [(id, self._entries.get(id)) for id in ids] if self._is_kept_current else []
            return {id: entry.rendered.record for id, entry in entries if entry is not None and entry.is_fresh(now)}

    def fresh(self, id: str) -> RenderedRecord | None:
        """Return the record that `known` would; without one, nothing is counted as a poll."""
        if not self._is_kept_current:
            return None
        now = self._clock()
        with self._lock:
            entry = self._entries.get(id)
            return (
                entry.rendered if entry is not None and entry.is_fresh(now) and self._is_known(id, entry, now) else None
            )

    def known(self, ids: Iterable[str]) -> dict[str, RenderedRecord]:
        """Return those that need not be asked for."""
        if not self._is_kept_current:
            return {}
        known: dict[str, RenderedRecord] = {}
        now = self._clock()
        with self._lock:
            for id in ids:
                entry = self._entries.get(id)
                if entry is not None and self._is_known(id, entry, now):
                    known[id] = entry.rendered
        return known

    def keep(self, ids: Collection[str], found: Mapping[str, Progress], begun: float) -> dict[str, RenderedRecord]:
        """Keep the records of a read of these jobs that began at `begun`, for the next polls, and return them."""
        now = self._clock()
        with self._lock:
            for id in ids:
                if id not in found:
                    self._forget(id)
            rendered = {id: self._keep(id, record, begun, now) for id, record in found.items()}
            self._trim(begun)
        return rendered

    def _is_known(self, id: str, entry: _Entry, now: float) -> bool:
        """Return whether the kept record may be shown; watch the job if it is polled often."""
        self._entries.move_to_end(id)
        again, entry.asked_at = now - entry.asked_at <= AGAIN_SECONDS, now
        if again and not entry.watched:
            self._watch(id, entry)
        is_fresh = entry.is_fresh(now)
        self._size += entry.measure(self._exposed)
        return is_fresh

    def _keep(self, id: str, record: Progress, begun: float, now: float) -> RenderedRecord:
        entry = self._entries.get(id)
        if entry is None:
            entry = self._entries[id] = _Entry(RenderedRecord(record), begun, now)
        elif begun >= entry.shown_at or _seen(record, begun) > _seen(entry.rendered.record, entry.read_at):
            entry.read_at = max(entry.read_at, begun)
            entry.show(record, now)
        # Otherwise a newer record was shown during this read, and pages must not get an older one.
        self._size += entry.measure(self._exposed)
        return entry.rendered

    def _watch(self, id: str, entry: _Entry) -> None:
        entry.watched = True
        if self._viewer is None:
            viewer = self._viewer = self._hub.view((id,))
            background.start(self._listen, "progresskit-polled", viewer.close, (viewer,))
        else:
            self._viewer.add((id,))

    def _forget(self, id: str) -> None:
        entry = self._entries.pop(id, None)
        if entry is None:
            return
        self._size -= entry.size
        if entry.watched and self._viewer is not None:
            self._viewer.drop((id,))

    def _trim(self, now: float) -> None:
        """Forget the jobs that were not polled lately; the least recently polled is first."""
        while self._entries:
            id, entry = next(iter(self._entries.items()))
            is_full = len(self._entries) > MOST or self._size > MOST_BYTES
            if not is_full and now - entry.asked_at < KEEP_SECONDS:
                return
            self._forget(id)

    def _listen(self, viewer: Viewer) -> None:
        while not viewer.closed:
            news = viewer.get(SWEEP_SECONDS)
            with self._lock:
                for id, record in news.items():
                    entry = self._entries.get(id)
                    if entry is not None and entry.watched:
                        entry.heard = record
                self._trim(self._clock())
                if not any(entry.watched for entry in self._entries.values()):
                    self._viewer = None
                    viewer.close()
                    return


def _seen(record: Progress, read_at: float) -> tuple[Version, bool, float]:
    """Return a sort key by which the newer of two overlapping reads is the greater."""
    return record.version, record.cancel_requested, read_at
