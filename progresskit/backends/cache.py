"""The records that were decoded last, by job."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec

from progresskit.decoding import decode_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.progress import Progress

Arguments = ParamSpec("Arguments")

SIZE = 2_048
"""How many records are kept."""

BYTES = 2**23
"""The length of all these together, as they are stored; a record takes about twice as much memory."""


class DecodeCache:
    """
    Keeps the last decoded record of each job, so that one that is read again unchanged is not decoded again.

    Several threads may use it at once.
    """

    def __init__(self) -> None:
        self.clear()

    def get(
        self,
        id: str,
        stored: object,
        decode: Callable[Arguments, Progress],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Progress | None:
        """Return the record of a stored value, from `decode` unless an equal value was decoded; None if that fails."""
        known = self._records.get(id)
        if known is not None and known[0] == stored:
            return known[1]
        record = decode_each(id, decode, *arguments, **options)
        if record is not None:
            self._keep(id, stored, record)
        return record

    def _keep(self, id: str, stored: object, record: Progress) -> None:
        if len(self._records) >= SIZE or self._bytes >= BYTES:
            self.clear()
        length = len(stored) if isinstance(stored, bytes) else _length(stored)
        replaced = self._records.get(id)
        self._records[id] = stored, record, length
        # Threads that do this at once may miscount, until all records are forgotten.
        self._bytes += length - (0 if replaced is None else replaced[2])

    def __len__(self) -> int:
        return len(self._records)

    def clear(self) -> None:
        """Forget all records."""
        self._records: dict[str, tuple[object, Progress, int]] = {}
        self._bytes = 0


def _length(stored: object) -> int:
    """Return the length of a stored text, or of the texts in a stored row."""
    parts = stored if isinstance(stored, tuple) else (stored,)
    return sum(len(part) for part in parts if isinstance(part, bytes | str))
