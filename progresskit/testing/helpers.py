"""Helpers of the contract: write and read a backend, and wait for other processes."""

from __future__ import annotations

from contextlib import closing, contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, TypeVar

from progresskit.abc import Backend
from progresskit.config import Settings
from progresskit.errors import BackendUnavailable
from progresskit.registry import backend_class

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from progresskit.progress import Progress, Write

Answer = TypeVar("Answer")

PATIENCE = 60.0
"""Seconds after which something that another thread or process should have done counts as not done."""

LONGEST_STEP = 0.02
"""Seconds between two looks at what is waited for: short at first, then longer, to leave it the processor."""


def read(backend: Backend, id: str) -> Progress:
    """Return the one record, which has to be there."""
    return backend.read([id])[id]


def seen(records: Iterable[Progress]) -> dict[str, tuple[str, float | None]]:
    """Return all that a viewer can see of records, the type of each number included, for comparing."""
    return {progress.id: (progress.to_json(), progress.lease) for progress in records}


def write_and_read(backend: Backend, write: Write) -> Progress:
    """Write one, and return the stored record."""
    backend.write([write])
    return read(backend, write.id)


def backend_of(capability: object) -> Backend:
    """Return the backend that has the capability."""
    assert isinstance(capability, Backend)
    return capability


def names(records: Collection[Progress]) -> set[str]:
    """Return the ids of records, of which no two may be the same."""
    ids = {progress.id for progress in records}
    assert len(ids) == len(records)
    return ids


def nothing() -> None:
    """Stand in for a callback that is of no interest."""


def connect(url: str) -> Backend:
    """Make the backend of a URL, as every process does for itself."""
    return backend_class(url).from_url(url, Settings(url=url))


@contextmanager
def opened(url: str) -> Iterator[Backend]:
    """Make the backend of a URL as a kit does, join it to the others, and close it in the end."""
    with closing(connect(url)) as backend:
        take_part(backend)
        yield backend


def take_part(backend: Backend) -> None:
    """Connect a backend, create its tables or queues, and let it learn the records of the others."""
    insist(lambda: backend.cancel_requested(["nobody"]))


def until(condition: Callable[[], bool], problem: Callable[[], str] = lambda: "it never came") -> None:
    """Wait for an effect of another process."""
    deadline, step = monotonic() + PATIENCE, 0.005
    while not condition():
        assert monotonic() < deadline, problem()
        sleep(step)
        step = min(1.1 * step, LONGEST_STEP)


def insist(act: Callable[[], Answer]) -> Answer:
    """Repeat a call that a busy server may refuse for a moment, as a publisher does; return its result."""
    deadline = monotonic() + PATIENCE
    while True:
        try:
            return act()
        except BackendUnavailable:
            if monotonic() >= deadline:
                raise
            sleep(0.02)
