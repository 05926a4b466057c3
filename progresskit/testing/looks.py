"""How the parts of the contract look at a backend, and wait for what others do."""

from __future__ import annotations

from contextlib import closing
from time import monotonic, sleep
from typing import TYPE_CHECKING

from progresskit.abc import Backend
from progresskit.config import Settings, backend_class

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from progresskit.progress import Progress, Write

PATIENCE = 20.0
"""Seconds after which something that another thread or process should have done counts as not done."""


def read(backend: Backend, id: str) -> Progress:
    """Return the one record, which has to be there."""
    return backend.read([id])[id]


def seen(records: Iterable[Progress]) -> dict[str, tuple[str, float | None]]:
    """Return all that a viewer can see of records, the type of each number included, for comparing."""
    return {progress.id: (progress.to_json(), progress.lease) for progress in records}


def told(backend: Backend, write: Write) -> Progress:
    """Write one, and return what is stored then."""
    backend.write([write])
    return read(backend, write.id)


def backend_of(power: object) -> Backend:
    """Return the backend that has the power."""
    assert isinstance(power, Backend)
    return power


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


def opened(url: str) -> closing[Backend]:
    """Make the backend of a URL as a kit does, and close it in the end."""
    return closing(connect(url))


def until(condition: Callable[[], bool], problem: Callable[[], str] = lambda: "it never came") -> None:
    """Wait for what another process does."""
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, problem()
        sleep(0.005)
