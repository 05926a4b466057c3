"""
Every interface of the kit.

A job is a `Subject`; the receiver of its progress is an `Observer`. They have the same interface in the worker, where
the subject is the live count, and in a viewer three machines away, where a `Backend` carries the records.

A backend has seven methods, and one that makes it from a URL. It keeps these promises, as seen through `read` and
proven by `progresskit.testing.BackendContract`:

1. A write changes the stored record as `progresskit.progress.fold` does, atomically per job, for any order, repetition
   and number of writers. A batch holds an id at most once.
2. An id without a report is absent from the result of `read`.
3. A record lives `Write.ttl` seconds after the last write that was not ignored, and a running job is `stalled` when
   `Write.lease` seconds have passed since then, both by one clock that all processes share (the server's).
4. A request to cancel stays with the run it was made in, and is refused for a job that is unknown or done.
5. A forgotten job is like one without a report: its next run is the first. A job that is neither done nor stalled
   cannot be forgotten.
6. A call that cannot succeed now raises `BackendUnavailable`; the same object works again once the server does.
   The calls come from several threads.
7. Once the server was replaced by one that may lack records, one `write` raises `BackendUnavailable`, even
   where no call has failed: then all live jobs and recent ends are sent again. A backend that cannot tell one
   server from another says so in its documentation.

Capabilities that only some backends have are types of their own (`SupportsPush`, `SupportsCancelPush`,
`SupportsListing`, `SupportsParts`), asked for with `isinstance`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from .config import Settings
    from .parts import Report
    from .progress import Progress, State, Write


@runtime_checkable
class Observer(Protocol):
    """Receives progress updates of a job."""

    def notify(self, progress: Progress) -> Any:
        """Receive the newest record; an error raised here is logged and does not affect others."""


class Subject(Protocol):
    """An observable job."""

    @property
    def progress(self) -> Progress | None:
        """The newest record of the job; None where it is unknown."""

    def attach(self, observer: Observer | Callable[[Progress], Any]) -> Callable[[], None]:
        """Notify the observer of changes from now on, newest state only; call the returned function to detach it."""


class Backend(ABC):
    """Carries records between processes."""

    shared: bool = True
    """False where other processes do not see the records."""

    imports_site_code: bool = False
    """True where `from_url` imports code of the site: it is not called while that code may still be starting."""

    def missing(self) -> str | None:
        """Return the name of a missing store, such as a file without which viewers see no job; else None."""
        return None

    @classmethod
    @abstractmethod
    def from_url(cls, url: str, settings: Settings) -> Backend:
        """Make the backend of a URL; connections are made at the first use."""

    @abstractmethod
    def write(self, batch: Sequence[Write]) -> Mapping[str, int]:
        """Fold the batch into the stored records; return the run that is now stored, at least for the ids of starts."""

    @abstractmethod
    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return the records of the known ids, in one round trip where possible."""

    @abstractmethod
    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Store a request to cancel; return the ids that accepted it: known jobs that are not done."""

    @abstractmethod
    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return the ids of the jobs with a request to cancel."""

    @abstractmethod
    def forget(self, ids: Collection[str]) -> set[str]:
        """Remove the records of those jobs that are done or stalled; return the removed ids."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections that the backend opened itself, never those that it was given."""

    @abstractmethod
    def after_fork_in_child(self) -> None:
        """
        Prepare for use in a forked child; called there before all other methods.

        Inherited connections must be forgotten and never closed: the parent still uses them.
        """


class Subscription(ABC):
    """A subscription to the changes of some jobs."""

    @abstractmethod
    def add(self, ids: Collection[str]) -> None:
        """Add ids; when this returns, no later change of them is missed."""

    @abstractmethod
    def remove(self, ids: Collection[str]) -> None:
        """Remove ids."""

    @abstractmethod
    def close(self) -> None:
        """End the subscription."""


class SupportsPush(ABC):
    """A backend that pushes changes; the others are polled."""

    @abstractmethod
    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """
        Call `on_update` with each changed record and each renewed one, from any thread.

        `on_gap` is called after updates may have been missed, once the subscription works (again): then read again.
        """


class SupportsCancelPush(ABC):
    """A backend that pushes requests to cancel to workers; the others are asked once a second."""

    @abstractmethod
    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """
        Call `on_cancel` with the ids of jobs with a new request to cancel, from any thread; `cancel_requested` returns
        them by then.

        `on_gap` is called after requests may have been missed, once the subscription works (again): then ask again.
        """


class SupportsListing(ABC):
    """A backend that can list jobs."""

    @abstractmethod
    def list(
        self, *, kind: str | None, states: Collection[State] | None, limit: int, part_of: str | None = None
    ) -> list[Progress]:
        """Return jobs, the most recently written first; with `part_of`, those with a record that names that job."""


class SupportsParts(ABC):
    """A backend that can add up the parts of jobs."""

    @abstractmethod
    def write_with_reports(
        self, batch: Sequence[Write], reports: Sequence[Report]
    ) -> tuple[Mapping[str, int], Mapping[str, str]]:
        """
        Fold the batch in, as `write` does, then the reports of parts, as `progresskit.progress.fold_report` does.

        Both in one round trip where possible, each report atomically with the sums of its parent. `batch` may declare
        how many parts a job has, and holds an id at most once; `reports` may hold several of one parent. Returns the
        runs, and by the id of each parent that took a report, or was declared, the token of its run. Those of other
        jobs of the batch that have parts may be there too.
        """
