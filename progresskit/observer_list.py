"""The observers that are attached to a job in this process."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any

from .abc import Observer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .progress import Progress

    Notify = Observer | Callable[[Progress], Any]


class AttachedObserver:
    """An observer, which may be a plain callable, and whether it has raised an error."""

    __slots__ = ("_has_raised", "_observer")

    def __init__(self, observer: Notify) -> None:
        self._observer = observer
        self._has_raised = False

    def notify(self, progress: Progress) -> None:
        """Notify the observer; the first error that it raises is logged."""
        observer = self._observer
        try:
            if isinstance(observer, Observer):
                observer.notify(progress)
            else:
                observer(progress)
        except BaseException:
            # Not even Cancelled or SystemExit: it would end the publisher's thread, and so the progress of all jobs.
            if not self._has_raised:
                self._has_raised = True
                from logging import getLogger

                getLogger("progresskit").exception(
                    "An observer of job %s raised; the job and others go on. Its later errors are not logged",
                    progress.id,
                )


class ObserverList:
    """
    The observers of one job: each gets the newest record only, and an error of one does not affect the others.

    `attached` are those of all jobs.
    """

    __slots__ = ("_attached", "_lock", "_notified")

    def __init__(self, attached: tuple[AttachedObserver, ...] = ()) -> None:
        self._lock = RLock()
        self._attached = attached
        self._notified: tuple[int, bool] = (0, False)

    def __bool__(self) -> bool:
        """Return whether any observer is attached."""
        return bool(self._attached)

    def attach(self, observer: Notify) -> Callable[[], None]:
        """Notify the observer from now on; return a function that detaches it."""
        attached = AttachedObserver(observer)
        with self._lock:
            self._attached += (attached,)

        def detach() -> None:
            with self._lock:
                self._attached = tuple(other for other in self._attached if other is not attached)

        return detach

    def notify(self, progress: Progress) -> None:
        """Notify all observers of a record, unless they had it or a newer one."""
        with self._lock:
            version = (progress.version.seq, progress.cancel_requested)
            if version > self._notified:
                self._notified = version
                for attached in self._attached:
                    attached.notify(progress)
