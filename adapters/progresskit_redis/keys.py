"""The names of the keys, and which of them are in one slot."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

SHARDS = 64
"""Into how many slots of a cluster the jobs are divided: the keys of one script must be in one of them."""


class Shard:
    """
    The jobs that have their keys in one slot, with their index.

    `suffix` ends the names of channels: they, unlike keys, are common to all databases of a server.
    """

    def __init__(self, base: str, suffix: bytes) -> None:
        self._job, self._cancel = f"{base}:job:".encode(), f"{base}:cancel:".encode()
        self.indexes = (f"{base}:jobs".encode(), f"{base}:expiring".encode())
        self.suffix = suffix

    def job(self, id: str) -> bytes:
        """Return the key of a job's hash."""
        return self._job + id.encode()

    def channel(self, id: str) -> bytes:
        """Return the channel of a job's records."""
        return self._job + id.encode() + self.suffix

    def cancel_channel(self, id: str) -> bytes:
        """Return the channel for requests to cancel a job."""
        return self._cancel + id.encode() + self.suffix


class Shards:
    """All jobs: one shard in a server, many in a cluster."""

    def __init__(self, prefix: str, *, db: int = 0, clustered: bool = False) -> None:
        suffix = f"@{db}".encode() if db else b""
        bases = [f"{prefix}:{{{number}}}" for number in range(SHARDS)] if clustered else [prefix]
        self.all = [Shard(base, suffix) for base in bases]

    def of(self, id: str) -> Shard:
        """Return the shard of a job."""
        return self.all[crc32(id.encode()) % len(self.all)]

    def divided(self, ids: Iterable[str], size: int) -> Iterable[tuple[Shard, list[str]]]:
        """Return the ids by shard, each once, so many at a time."""
        parts: dict[Shard, list[str]] = {}
        for id in dict.fromkeys(ids):
            parts.setdefault(self.of(id), []).append(id)
        for shard, part in parts.items():
            for begin in range(0, len(part), size):
                yield shard, part[begin : begin + size]
