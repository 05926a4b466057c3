"""When records were made, by the viewer's clock."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from .bars import Seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.progress import Progress


class Arrivals:
    """
    Dates records by their `updated_at`, so that an old one that is read late is counted down from when it was made.

    The clocks of two hosts may differ. The least delay of the records that came while watching is taken to be that
    difference.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, wall: Callable[[], float] = time) -> None:
        self._clock, self._wall = clock, wall
        self._difference: float | None = None

    def see(self, before: Seen, progress: Progress | None) -> Seen:
        """Return the state of a display after this record has arrived."""
        now = self._clock()
        if progress is None or progress.updated_at is None:
            return Seen(before.id, progress, now)
        delay = self._wall() - progress.updated_at.timestamp()
        # Another record than before was made a moment ago; the first one may be of any age, but not from the future.
        live = before.progress is not None and before.progress.version != progress.version
        if live or delay < 0:
            self._difference = delay if self._difference is None else min(self._difference, delay)
        return Seen(before.id, progress, now - max(delay - (self._difference or 0), 0))
