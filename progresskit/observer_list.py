"""The observers that are attached to a job in this process."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any

from .abc import Observer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .progress import Progress

    Notify = Observer | Callable[[Progress], Any]


class ObserverList:
    """The observers of one job: each gets the newest record only, and an error of one does not affect the others."""

    __slots__ = ("_attached", "_lock", "_notified")

    def __init__(self) -> None:
        self._lock = RLock()
        self._attached: tuple[list[Notify], ...] = ()
        self._notified: tuple[int, bool] = (0, False)

    def attach(self, observer: Notify) -> Callable[[], None]:
        """Notify the observer from now on; return a function that detaches it."""
        attached = [observer]  # an object of its own, as the same observer may be attached twice
        with self._lock:
            self._attached += (attached,)

        def detach() -> None:
            with self._lock:
                self._attached = tuple(other for other in self._attached if other is not attached)

        return detach

    def notify(self, progress: Progress) -> None:
        """Notify all observers of a record, unless they had it or a newer one."""
        if not self._attached:
            return
        with self._lock:
            version = (progress.version.seq, progress.cancel_requested)
            if version > self._notified:
                self._notified = version
                for (observer,) in self._attached:
                    notify(observer, progress)


def notify(observer: Notify, progress: Progress) -> None:
    """Notify one observer, which may be a plain callable; an error that it raises is logged."""
    try:
        if isinstance(observer, Observer):
            observer.notify(progress)
        else:
            observer(progress)
    except BaseException:
        # Not even Cancelled or SystemExit: it would end the publisher's thread, and so the progress of all jobs.
        from logging import getLogger

        getLogger("progresskit").exception("An observer of job %s raised; the job and others go on", progress.id)
