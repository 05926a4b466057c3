"""The Subject of a job that may run in another process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .kit import Kit
    from .observer_list import Notify
    from .progress import Progress


class RemoteSubject:
    """The Subject of a job that runs somewhere else, perhaps."""

    def __init__(self, kit: Kit, id: str) -> None:
        self._kit = kit
        self.id = id

    @property
    def progress(self) -> Progress | None:
        """The newest record; None if the job was never reported. Reads the backend, as `Kit.get` does."""
        return self._kit.get(self.id)

    def attach(self, observer: Notify) -> Callable[[], None]:
        """
        Notify the observer of the present record, if there is one, and of each newer one; newest state only.

        It is called in the hub's thread and should be quick. Call the returned function to detach it.
        """
        return self._kit.hub.attach(self.id, observer)
