"""The backend: records by way of a journal and a fanout, folded in each process that uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.abc import SupportsParts
from progresskit.backends.log import LogBackend

from .address import parse
from .node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pika.connection import Parameters

    from progresskit.config import Settings
    from progresskit.parts import Report
    from progresskit.progress import Write


class RabbitMQBackend(LogBackend[Node], SupportsParts):
    """
    Sends through RabbitMQ, and keeps the received records in the memory of each process that reads or writes.

    `broker` is a URL, or pika's parameters. `ttl` (seconds) and `journal_bytes` bound the journal when it is created,
    `jobs` bounds the records that a process keeps. `clock` (seconds since the epoch) replaces the broker's.
    """

    def __init__(
        self,
        broker: str | Parameters,
        *,
        prefix: str = "progresskit",
        clock: Callable[[], float] | None = None,
        ttl: float = 86_400.0,
        journal_bytes: int | None = None,
        jobs: int | None = None,
    ) -> None:
        self._address = parse(broker, {"journal_bytes": journal_bytes, "jobs": jobs})
        self._prefix, self._clock, self._ttl = prefix, clock, ttl
        super().__init__()

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> RabbitMQBackend:
        """Make the backend of a URL as pika.URLParameters takes it."""
        return cls(url, prefix=settings.prefix, ttl=settings.ttl)

    def make_node(self) -> Node:
        """Return a node of this process that is not connected."""
        return Node(self._address, self._prefix, self._ttl, self._clock)

    def write_with_reports(
        self, batch: Sequence[Write], reports: Sequence[Report]
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Send both to all processes; return the runs and run tokens that this one has stored."""
        if not (batch or reports):
            return {}, {}
        return self.call(lambda node, deadline: node.write_with_reports(batch, reports, deadline))
