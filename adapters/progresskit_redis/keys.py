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

    def __init__(self, base: str, suffix: str = "") -> None:
        self.jobs = f"{base}:jobs".encode()
        self.expiring = f"{base}:expiring".encode()
        self._job = f"{base}:job:".encode()
        self._request = f"{base}:cancel:".encode()
        self.before = len(self._job)
        self.suffix = suffix.encode()

    def job(self, id: str) -> bytes:
        """Return the key of a job's hash."""
        return self._job + id.encode()

    def request(self, id: str) -> bytes:
        """Return the channel for requests to cancel the job, without the suffix."""
        return self._request + id.encode()

    def channel(self, id: str) -> bytes:
        """Return the channel of a job's records."""
        return self._job + id.encode() + self.suffix

    def request_channel(self, id: str) -> bytes:
        """Return the channel for requests to cancel a job."""
        return self.request(id) + self.suffix

    @property
    def job_base(self) -> bytes:
        """The part of a job's key before the id."""
        return self._job


class Shards:
    """All jobs: one shard in a server, many in a cluster."""

    def __init__(self, prefix: str, *, db: int = 0, clustered: bool = False) -> None:
        suffix = f"@{db}" if db else ""
        bases = [f"{prefix}:{{{number}}}" for number in range(SHARDS)] if clustered else [prefix]
        self.all = [Shard(base, suffix) for base in bases]

    def of(self, id: str) -> Shard:
        """Return the shard of a job."""
        return self.all[crc32(id.encode()) % len(self.all)] if len(self.all) > 1 else self.all[0]

    def divided(self, ids: Iterable[str]) -> dict[Shard, list[str]]:
        """Return the ids by shard."""
        if len(self.all) == 1:
            return {self.all[0]: [*ids]}
        parts: dict[Shard, list[str]] = {}
        for id in ids:
            parts.setdefault(self.of(id), []).append(id)
        return parts
