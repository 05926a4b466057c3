"""
Every interface of the kit.

A job is a `Subject`; whoever is told of its progress is an `Observer`. They look the same in the worker, where the
subject is the live count, and in a viewer three machines away, where it is what a `Backend` carried over.

A backend is seven methods, and one that makes it of a URL. It keeps these promises, seen through `read` and proven by
`progresskit.testing.BackendContract`:

1. A write changes what is stored as `progresskit.progress.fold` says, atomically per job, whatever the order,
   repetition and number of writers. A batch holds an id at most once.
2. An id that nobody reported is absent from what `read` returns.
3. A record lives `Write.ttl` seconds after the last write that was not ignored, and a running job is `stalled` when
   `Write.lease` seconds have passed since then, both by one clock that all processes share (the server's).
4. A request to cancel stays with the run it was made in, and is refused for a job that is unknown or done.
5. A job that was forgotten is as one that nobody reported: its next run is the first. A job that is neither done nor
   stalled cannot be forgotten.
6. What cannot be done now raises `BackendUnavailable`; after that the same object works again once the server does.
   The calls come from several threads.
7. Once the server was replaced by one that may lack what was written, one `write` raises `BackendUnavailable`, even
   where nothing else was noticed: then all live jobs and recent ends are sent again. A backend that cannot tell one
   server from another says so in its documentation.

Capabilities that only some backends have are types of their own (`SupportsPush`, `SupportsCancelPush`,
`SupportsListing`), asked for with `isinstance`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from .config import Settings
    from .progress import Progress, State, Write


@runtime_checkable
class Observer(Protocol):
    """Whoever is told of a job's progress."""

    def notify(self, progress: Progress) -> Any:
        """Take the newest record; an error raised here is logged and reaches nobody else."""


class Subject(Protocol):
    """What can be observed."""

    @property
    def progress(self) -> Progress | None:
        """The job as it stands; None where nothing is known of it."""

    def attach(self, observer: Observer | Callable[[Progress], Any]) -> Callable[[], None]:
        """Tell the observer of every change from now on, newest state only; call what is returned to detach it."""


class Backend(ABC):
    """Carries records between processes."""

    shared: bool = True
    """False where other processes see nothing of what is written."""

    imports_site_code: bool = False
    """True where `from_url` imports code of the site's: at the start, which that may be part of, it is not called."""

    def missing(self) -> str | None:
        """Return what there is nothing to read from yet, such as a file without which viewers see no job; else None."""
        return None

    @classmethod
    @abstractmethod
    def from_url(cls, url: str, settings: Settings) -> Backend:
        """Make the backend of a URL; no connection is made before it is needed."""

    @abstractmethod
    def write(self, batch: Sequence[Write]) -> Mapping[str, int]:
        """Fold the batch into what is stored; return the run that is now stored, for the ids of all starts at least."""

    @abstractmethod
    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the records of those ids that are known, in one round trip where that is possible."""

    @abstractmethod
    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Ask the jobs to stop; return those that are known and not done, which have the request now."""

    @abstractmethod
    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those of the jobs that are asked to stop."""

    @abstractmethod
    def forget(self, ids: Collection[str]) -> set[str]:
        """Remove the records of those jobs that are done or stalled; return the ids of those that were removed."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the backend opened itself, and of nothing that it was given."""

    @abstractmethod
    def after_fork_in_child(self) -> None:
        """
        Get ready for use in a forked child; called there before anything else.

        What was inherited must be forgotten and never closed: the parent still uses it.
        """


class Subscription(ABC):
    """A subscription to the changes of some jobs."""

    @abstractmethod
    def add(self, ids: Collection[str]) -> None:
        """Listen to these as well; when this returns, no later change of them is missed."""

    @abstractmethod
    def remove(self, ids: Collection[str]) -> None:
        """Listen to these no longer."""

    @abstractmethod
    def close(self) -> None:
        """Stop listening."""


class SupportsPush(ABC):
    """A backend that tells of changes by itself; the others are polled."""

    @abstractmethod
    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """
        Call `on_update` with each changed record and each renewed one, from any thread.

        `on_gap` is called whenever something may have been missed and listening works (again): the caller reads anew.
        """


class SupportsCancelPush(ABC):
    """A backend that tells the workers of requests to cancel by itself; the others are asked once a second."""

    @abstractmethod
    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """
        Call `on_cancel` with those of the watched jobs that are asked to stop, from any thread; `cancel_requested`
        knows them then.

        `on_gap` is called whenever a request may have been missed and listening works (again): the caller asks anew.
        """


class SupportsListing(ABC):
    """A backend that can list jobs."""

    @abstractmethod
    def list(self, *, kind: str | None, states: Collection[State] | None, limit: int) -> list[Progress]:
        """Return jobs, those written last first."""
