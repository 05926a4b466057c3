"""The model of a backend: its required behaviour without storage or concurrency."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from progresskit.decoding import decode
from progresskit.progress import Effect, Progress, Stored, Write, fold

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


class Kept(NamedTuple):
    """The stored record of a job, and its times on the model's clock."""

    stored: Stored
    heard: float
    lease: float
    expires: float


class Model:
    """
    The fold, a lease and a ttl alone: no lock, no cleanup, no optimisation.

    Histories are run against a backend and against this model; the visible states must be the same.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, Kept] = {}

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Fold each write in; return the runs stored now."""
        now, runs = self._clock(), {}
        for write in batch:
            kept = self._living(write.id)
            stored, effect = fold(kept and kept.stored, write, now)
            if stored is not None and effect is not Effect.IGNORED:
                self._kept[write.id] = Kept(stored, now, write.lease, now + write.ttl)
            if stored is not None:
                runs[write.id] = stored.run
        return runs

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the records that exist and have not expired."""
        found = {id: kept for id in ids if (kept := self._living(id))}
        return {id: decode(kept.stored, abs(self._clock() - kept.heard) >= kept.lease) for id, kept in found.items()}

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Mark those that are known and not done."""
        accepted = {id for id in ids if (kept := self._living(id)) and not kept.stored.state.final}
        for id in accepted:
            kept = self._kept[id]
            self._kept[id] = kept._replace(stored=kept.stored._replace(cancel_requested=True))
        return accepted

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        return {id for id in ids if (kept := self._living(id)) and kept.stored.cancel_requested}

    def forget(self, ids: Collection[str]) -> set[str]:
        """Remove those that are done or stalled."""
        gone = {id for id, progress in self.read(ids).items() if progress.done or progress.stalled}
        for id in gone:
            del self._kept[id]
        return gone

    def _living(self, id: str) -> Kept | None:
        kept = self._kept.get(id)
        return kept if kept is not None and self._clock() < kept.expires else None
