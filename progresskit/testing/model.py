"""The model of a backend: its required behaviour without storage or concurrency."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from progresskit.decoding import decode
from progresskit.progress import Effect, Progress, Stored, Write, ask_to_cancel, fold, fold_report, is_stalled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from progresskit.parts import Part, Report


class Kept(NamedTuple):
    """The stored record of a job, and its times on the model's clock."""

    stored: Stored
    heard: float
    lease: float
    expires: float
    parts: dict[str, Part]


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
        return self.write_with_reports(batch, ())[0]

    def write_with_reports(
        self, batch: Sequence[Write], reports: Sequence[Report]
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Fold each write in, then each report; return the runs stored now, and the tokens of those that must be."""
        now, runs, bound = self._clock(), {}, set[str]()
        for write in batch:
            kept = self._living(write.id)
            stored, effect = fold(kept and kept.stored, write, now)
            if stored is not None and effect is not Effect.IGNORED:
                parts = kept.parts if kept and kept.stored.run == stored.run else {}
                self._kept[write.id] = Kept(stored, now, write.lease, now + write.ttl, parts)
            if stored is not None:
                runs[write.id] = stored.run
                if write.declaration is not None:
                    bound.add(write.id)
        for report in reports:
            if self._take(report, now):
                bound.add(report.parent)
        return runs, {id: token for id in bound if (token := _run_token(self._kept[id].stored))}

    def _take(self, report: Report, now: float) -> bool:
        kept = self._living(report.parent)
        before = kept.parts.get(report.name) if kept else None
        stored, part, effect = fold_report(kept and kept.stored, before, report, now)
        if effect is Effect.IGNORED or part is None:
            return False
        if kept is None:
            kept = Kept(stored, now, report.lease, now, {})
        parts = {**kept.parts, report.name: part}
        self._kept[report.parent] = kept._replace(
            stored=stored, parts=parts, expires=max(kept.expires, now + report.ttl)
        )
        return True

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the records that exist and have not expired."""
        now, found = self._clock(), {id: kept for id in ids if (kept := self._living(id))}
        return {
            id: decode(kept.stored, is_stalled(kept.stored, kept.heard, kept.lease, now)) for id, kept in found.items()
        }

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Mark those that are known and not done."""
        accepted = {id for id in ids if (kept := self._living(id)) and not kept.stored.state.final}
        for id in accepted:
            kept = self._kept[id]
            self._kept[id] = kept._replace(stored=ask_to_cancel(kept.stored, self._clock()))
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


def _run_token(stored: Stored) -> str | None:
    return stored.tally.run_token if stored.tally else None
