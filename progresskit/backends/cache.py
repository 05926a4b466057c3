"""What was decoded last of each job."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec

from progresskit.decoding import decode_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.progress import Progress

Arguments = ParamSpec("Arguments")

SIZE = 2_048
"""How many records are kept."""


class DecodeCache:
    """
    Keeps the last decoded record of each job, so that one that is read again unchanged is not decoded again.

    Several threads may use it at once.
    """

    def __init__(self) -> None:
        self._records: dict[str, tuple[object, Progress]] = {}

    def get(
        self,
        id: str,
        stored: object,
        decode: Callable[Arguments, Progress],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Progress | None:
        """Return the record of what is stored, from `decode` unless an equal value was decoded; None if that fails."""
        known = self._records.get(id)
        if known is not None and known[0] == stored:
            return known[1]
        record = decode_each(id, decode, *arguments, **options)
        if record is not None:
            if len(self._records) >= SIZE:
                self._records.clear()
            self._records[id] = stored, record
        return record

    def __len__(self) -> int:
        return len(self._records)

    def clear(self) -> None:
        """Forget all records."""
        self._records = {}
