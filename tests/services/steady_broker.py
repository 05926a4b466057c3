"""
Kombu's filesystem transport, without its two races.

A message can be seen there, and taken, before it is written; and an exchange before its bindings are. Either ends the
worker ("Expecting value"), seldom on a quiet machine and often on a busy one.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib import import_module
from time import time_ns
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def steady_transport() -> type[Any]:
    """Return the transport class, for the setting `broker_transport`."""
    filesystem: Any = import_module("kombu.transport.filesystem")  # of no types, or of half of them, by its version

    class Channel(filesystem.Channel):
        """Puts whole messages, and touches bindings one process at a time."""

        def _put(self, queue: str, payload: Any, **options: Any) -> None:
            # By name messages are taken in the order in which they were put.
            name = f"{time_ns():020}_{os.urandom(8).hex()}"
            unseen = os.path.join(self.data_folder_out, f"{name}.unseen")
            with open(unseen, "w", encoding="utf-8") as file:
                file.write(filesystem.dumps(payload))
            os.rename(unseen, os.path.join(self.data_folder_out, f"{name}.{queue}.msg"))

        def _queue_bind(self, *arguments: Any) -> None:
            with self._alone():
                super()._queue_bind(*arguments)

        def get_table(self, exchange: str) -> Any:
            """Return the bindings of an exchange."""
            with self._alone():
                return super().get_table(exchange)

        @contextmanager
        def _alone(self) -> Iterator[None]:
            with open(self.control_folder / "lock", "wb") as file:
                filesystem.lock(file, filesystem.LOCK_EX)
                try:
                    yield
                finally:
                    # Closing is not enough: a process that was forked meanwhile has the file open, and so the lock.
                    filesystem.unlock(file)

    class Transport(filesystem.Transport):
        """Makes such channels."""

    Transport.Channel = Channel
    return Transport
