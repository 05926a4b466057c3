"""The backend: each process sends its records to all others, and reads from its own replica of them."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from kombu.connection import Connection

from progresskit.backends.log import LogBackend
from progresskit.errors import ConfigurationError

from .address import Address
from .node import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.config import Settings


class KombuBackend(LogBackend[Node]):
    """
    Carries records through a fanout exchange; they are stored nowhere but in the memory of the processes.

    `broker` is a URL such as `kombu+redis://localhost/0`, or a Connection of Kombu, which is copied, and neither used
    nor closed. `clock` (seconds) replaces the clock of this process, by which leases and ttls are counted from when
    this process received a record.
    """

    def __init__(
        self, broker: Connection | str, *, prefix: str = "progresskit", clock: Callable[[], float] | None = None
    ) -> None:
        if not isinstance(broker, str | Connection):
            raise ConfigurationError(f"not a URL, nor a Connection of Kombu's: {type(broker).__name__}")
        self._address, self._prefix, self._clock = Address(broker), prefix, clock or monotonic
        self.shared = self._address.shared
        super().__init__()

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> KombuBackend:
        """Make the backend of a URL: `kombu+`, and one of Kombu's."""
        return cls(url, prefix=settings.prefix)

    def make_node(self) -> Node:
        """Return a node of this process that has not joined the others yet."""
        return Node(self._address, self._prefix, self._clock)
