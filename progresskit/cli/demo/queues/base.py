"""The interface of the demo's queues, and the tasks that each of them registers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from progresskit.cli.demo.work.archives import pack
from progresskit.cli.demo.work.importing import import_file, import_sample
from progresskit.cli.demo.work.primes import find_gap
from progresskit.cli.demo.work.sources import compile_library, index_library

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.cli.demo.folder import Folder

CONNECT_SECONDS = 5
"""How long a server may take to accept a connection."""


def hello() -> None:
    """Do nothing: its success shows that the worker takes tasks."""


TASKS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (import_file, import_sample, index_library, compile_library, find_gap, pack, hello)
}
"""The functions that each queue registers under these names. They know neither the queue nor the backend."""


class Queue(ABC):
    """
    A queue with progresskit installed in it, and its tasks; the demo makes one, and so does each of its workers.

    `broker` is the URL of its server. All that it stores there has the name of the folder in its own.
    """

    def __init__(self, folder: Folder, broker: str) -> None:
        self.folder, self.broker, self.name = folder, broker, folder.path.name

    def prepare(self) -> None:  # noqa: B027 - few need it
        """Make what has to be there before tasks are sent; raises where the server cannot be reached."""

    @abstractmethod
    def send(self, task: str, *arguments: Any) -> str:
        """Send a task; return its id."""

    @abstractmethod
    def work(self) -> None:
        """Execute tasks until the process is killed."""

    def remove(self) -> None:  # noqa: B027 - what lies in the folder goes with it
        """Remove all of it from the server."""
