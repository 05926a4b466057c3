"""The records that were decoded last, by job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

from progresskit.decoding import decode_each
from progresskit.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

Arguments = ParamSpec("Arguments")
Decoded = TypeVar("Decoded")

SIZE = 2_048
"""How many records are kept."""

BYTES = 2**23
"""The length of all these together, as they are stored; a record takes about twice as much memory."""


class Cache(Generic[Decoded]):
    """
    Keeps what was last decoded of each job, so that a value that is read again unchanged is not decoded again.

    Several threads may use it at once.
    """

    def __init__(self) -> None:
        self.clear()

    def get(
        self,
        id: str,
        stored: object,
        decode: Callable[Arguments, Decoded],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Decoded | None:
        """Return the record of a stored value, from `decode` unless an equal value was decoded; None if that fails."""
        known = self._records.get(id)
        if known is not None and known[0] == stored:
            return known[1]
        record = decode_each(id, decode, *arguments, **options)
        if record is not None:
            self._keep(id, stored, record)
        return record

    def _keep(self, id: str, stored: object, record: Decoded) -> None:
        if len(self._records) >= SIZE or self._bytes >= BYTES:
            self.clear()
        length = _length(stored)
        replaced = self._records.get(id)
        self._records[id] = stored, record, length
        # Threads that do this at once may miscount, until all records are forgotten.
        self._bytes += length - (0 if replaced is None else replaced[2])

    def __len__(self) -> int:
        return len(self._records)

    def clear(self) -> None:
        """Forget all records."""
        self._records: dict[str, tuple[object, Decoded, int]] = {}
        self._bytes = 0


class DecodeCache(Cache[Progress]):
    """Keeps the last record of each job as users get it."""


def _length(stored: object) -> int:
    """Return the length of a stored text, or of the texts in a stored row."""
    if isinstance(stored, bytes | str):
        return len(stored)
    length = 0
    for value in stored if isinstance(stored, tuple) else ():
        kind = type(value)
        if kind is str or kind is bytes:
            length += len(value)
        elif isinstance(value, tuple):
            length += _length(value)
    return length
