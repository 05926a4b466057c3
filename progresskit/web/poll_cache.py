"""
The newest records of jobs that are polled often, so that their polls are answered from memory.

Where the backend pushes, a job that is read again soon is watched while the polls continue, by one viewer for all jobs.
Where the backend is polled, each request reads it: a page that has seen a newer record by a stream must not get an
older one. Without this, a poll of `serve` on a kept connection takes 2.0 to 4.6 times an empty application on the same
server, with it 1.0 to 1.5 times (Redis, benchmarks/polling.py).
"""

from __future__ import annotations

import os
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from progresskit import background
from progresskit.abc import SupportsPush

from .rendering import RenderedRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from progresskit.hub import Hub, Viewer
    from progresskit.kit import Kit
    from progresskit.progress import Progress, Version

SURE_SECONDS = 3.0
"""
Longest time between two reads of the backend: a lost connection for pushes may not have been noticed yet.

A job that is read again within this time is watched.
"""

KEEP_SECONDS = 10.0
"""A job that was not read for this long is watched no longer."""

SWEEP_SECONDS = 1.0

MOST = 250
"""Jobs that are kept; the polls of others are read."""


class _Kept:
    """One job: the newest record that was shown, and when the backend was read for it."""

    __slots__ = ("is_watched", "read_at", "rendered")

    def __init__(self, rendered: RenderedRecord, read_at: float) -> None:
        self.rendered, self.read_at, self.is_watched = rendered, read_at, False


class PollCache:
    """
    The polled jobs of one hub; may be used by many threads.

    Its thread and its viewer exist only while jobs are polled, and end when the kit is closed.
    """

    def __init__(self, kit: Kit) -> None:
        self._hub = kit.hub
        # A backend inside this process is as quick to read as the cache, and never behind.
        self._keeps = kit.backend.shared and isinstance(kit.backend, SupportsPush)
        self._process = os.getpid()
        self._lock = Lock()
        self._kept: dict[str, _Kept] = {}  # those that were read last at the end
        self._viewer: Viewer | None = None

    def serves(self, hub: Hub) -> bool:
        """Return whether this is the cache of that hub, in this process: kits are reconfigured, processes forked."""
        return hub is self._hub and self._process == os.getpid()

    def fresh(self, ids: Iterable[str]) -> dict[str, RenderedRecord]:
        """Return the records that need not be read."""
        since = monotonic() - SURE_SECONDS
        found: dict[str, RenderedRecord] = {}
        for id in ids:
            kept = self._kept.get(id)
            if kept is not None and kept.is_watched and kept.read_at > since:
                rendered = self._pushed(kept)
                if rendered is not None:
                    found[id] = rendered
        return found

    def _pushed(self, kept: _Kept) -> RenderedRecord | None:
        """
        Return the record that was pushed last, if it is as new as the one that was shown.

        Otherwise the push is behind, or the job has begun another life: only the backend knows.
        """
        rendered = kept.rendered
        shown, pushed = rendered.record, self._hub.latest(rendered.record.id)
        if pushed is None or pushed is shown:
            return None if pushed is None else rendered
        if pushed.life == shown.life and pushed.version > shown.version:
            rendered = kept.rendered = RenderedRecord(pushed)
            return rendered
        return rendered if pushed.cursor == shown.cursor else None

    def seen(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the last records of those jobs seen by this process, which may be old; reads and keeps none."""
        seen = {id: kept.rendered.record for id in ids if (kept := self._kept.get(id)) is not None}
        for id in ids:
            watched = self._hub.latest(id)
            if watched is not None and (id not in seen or watched.version > seen[id].version):
                seen[id] = watched
        return seen

    def keep(self, ids: Collection[str], found: Mapping[str, Progress]) -> dict[str, RenderedRecord]:
        """Keep the records that were read of these jobs, for the next polls, and return them."""
        if not self._keeps:
            return {id: RenderedRecord(record) for id, record in found.items()}
        now = monotonic()
        with self._lock:
            for id in ids:
                if id not in found:
                    self._forget(id)
            rendered = {id: self._keep(id, record, now) for id, record in found.items()}
            self._trim(now)
        return rendered

    def _keep(self, id: str, record: Progress, now: float) -> RenderedRecord:
        kept = self._kept.pop(id, None)
        if kept is None:
            rendered = RenderedRecord(record)
            if len(self._kept) < MOST:
                self._kept[id] = _Kept(rendered, now)
            return rendered
        self._kept[id] = kept
        if now - kept.read_at <= SURE_SECONDS and not kept.is_watched:
            self._watch(id, kept)
        kept.read_at = now
        shown = kept.rendered.record
        if record == shown:
            return kept.rendered
        rendered = RenderedRecord(record)
        if record.life != shown.life or _age(record) >= _age(shown):  # this read may have begun before that one
            kept.rendered = rendered
        return rendered

    def _watch(self, id: str, kept: _Kept) -> None:
        kept.is_watched = True
        if self._viewer is None:
            viewer = self._viewer = self._hub.view((id,))
            background.start(self._sweep, "progresskit-polled", viewer.close, (viewer,))
        else:
            self._viewer.add((id,))

    def _forget(self, id: str) -> None:
        kept = self._kept.pop(id, None)
        if kept is not None and kept.is_watched and self._viewer is not None:
            self._viewer.drop((id,))

    def _trim(self, now: float) -> None:
        for id, kept in list(self._kept.items()):
            if now - kept.read_at < KEEP_SECONDS:
                break
            self._forget(id)

    def _sweep(self, viewer: Viewer) -> None:
        while not viewer.closed:
            viewer.get(SWEEP_SECONDS)  # the hub keeps the records
            with self._lock:
                self._trim(monotonic())
                if not any(kept.is_watched for kept in self._kept.values()):
                    self._viewer = None
                    viewer.close()
                    return


def _age(record: Progress) -> tuple[Version, bool]:
    return record.version, record.cancel_requested
