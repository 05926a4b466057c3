"""
The interface of the result backends in which each record is a result of its own.

A store keeps results by the id of a task, as Celery does, each with its state. The kit's records are such results,
under ids of their own; the state of a task that is running is another one.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first thread that connects imports it, maybe while another one forks
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.urls import redact

if TYPE_CHECKING:
    from collections.abc import Collection

PROGRESS = "PROGRESS"
"""The state of the kit's records, and of a task that is running, for code that knows Celery only."""

MIRRORED_OVER = frozenset(("PENDING", "RECEIVED", "STARTED", "RETRY", PROGRESS))
"""The states of a task that PROGRESS may replace: neither a final one, nor a custom one of the site's."""


class Meta(NamedTuple):
    """A result that is stored: the task's state, and its value."""

    status: str
    result: Any


class Change(NamedTuple):
    """
    A result to store.

    `ttl` (seconds) and `expires` (seconds since the epoch) are None for a result that lives as long as Celery's own.
    `request` is that of the task that has this state; None for a record.
    """

    result: Any
    ttl: float | None = None
    expires: float | None = None
    request: Any = None


Edit = Callable[[Meta | None, float], Change | None]
"""Given the stored result and the time, returns the result to store, None for no change; may be called again."""


class Store(ABC):
    """The results of one app."""

    shared: bool = True
    """False where other processes do not see the results."""

    mirrors: bool = True
    """False where looking at a task's state and replacing it cannot be made one step, so that it must not be."""

    longest: int | None = None
    """How long the id of a result may be."""

    def __init__(self, app: Any, clock: Callable[[], float] | None = None) -> None:
        """Read and write the results of an app; `clock` (seconds since the epoch) replaces that of the store."""
        self._app, self._clock = app, clock

    @cached_property
    def _backend(self) -> Any:
        """The app's result backend, of which only the parts that threads may share are used."""
        return self._app.backend

    @cached_property
    def _url(self) -> str:
        return str(self._backend.as_uri(include_password=True) or "")

    def __str__(self) -> str:
        return redact(self._url)

    def name(self, record: str) -> str:
        """Return the id under which a record is stored."""
        return record

    def time(self) -> float:
        """Return the time of this host."""
        return (self._clock or time)()

    @abstractmethod
    def read(self, ids: Collection[str]) -> tuple[dict[str, Meta], float]:
        """Return those results that are stored, and the time: seconds since the epoch by a clock that all share."""

    @abstractmethod
    def change(self, edits: Mapping[str, Edit]) -> None:
        """Do the edits, each in one step where the store can, in their order."""

    def mirror(self, request: Any, result: Mapping[str, Any]) -> None:
        """Store PROGRESS as the state of a task, unless it has another one that stays."""

        def edit(meta: Meta | None, now: float) -> Change | None:
            is_replaced = meta is None or meta.status in MIRRORED_OVER
            return Change(result, request=request) if is_replaced else None

        self.change({request.id: edit})

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    def after_fork_in_child(self) -> None:
        """Forget inherited connections, and never close them."""


def decoded(backend: Any, payload: Any) -> Meta | None:
    """Return the result of which a key-value store has the value; None where it has none."""
    if not payload:
        return None
    try:
        meta = backend.decode(payload)
        return Meta(meta["status"], meta.get("result"))
    except Exception:
        return Meta("unreadable", None)


def encoded(backend: Any, id: str, result: Any, request: Any = None) -> bytes:
    """Return the value of a result in the state PROGRESS, as Celery would store it in a key-value store."""
    meta = {"status": PROGRESS, "result": result, "traceback": None, "children": [], "date_done": None}
    if request is not None:
        try:
            about = backend._get_result_meta(result, PROGRESS, None, request)
            return _payload(backend, {**meta, **about, "task_id": id})
        except Exception:
            pass  # with `result_extended` it has the task's arguments, which need not be such as can be encoded
    return _payload(backend, {**meta, "task_id": id})


def _payload(backend: Any, meta: dict[str, Any]) -> bytes:
    payload = backend.encode(meta)
    return payload.encode() if isinstance(payload, str) else payload
