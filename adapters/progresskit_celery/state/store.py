"""
The interface of a result backend.

A store keeps results by the id of a task, as Celery does, each with its state. The kit's records are such results,
under ids of their own; the state of a task that is running is another one, which is mirrored only.
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

    from progresskit.backends.stores import StoredRecord

PROGRESS = "PROGRESS"
"""The state of the kit's records, and of a task that is running, for code that knows Celery only."""


class Meta(NamedTuple):
    """
    A result that is stored: the task's state, its value, and the parts of the job that were asked for, by name.

    `record` is the one that the value was made of, where the store remembers it from the change.
    """

    status: str
    result: Any
    parts: Mapping[str, str] = {}
    record: StoredRecord | None = None


class Change(NamedTuple):
    """
    A result to store.

    `ttl` (seconds) and `expires` (seconds since the epoch) are None for a result that lives as long as Celery's own.
    `request` is that of the task that has this state. `cancelling` is True for a new request to cancel. `parts` are
    stored beside the record of a job that has parts, else None; without `keeps_parts` all others are removed. Where the
    store supports push, `is_pushed` says whether viewers are notified. `record` is what the result is made of, if it is
    one of the kit's. `is_running` is True where the next change is likely to come from this process too.
    """

    result: Any
    ttl: float | None = None
    expires: float | None = None
    request: Any = None
    cancelling: bool = False
    parts: Mapping[str, str] | None = None
    keeps_parts: bool = True
    is_pushed: bool = True
    record: StoredRecord | None = None
    is_running: bool = False


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

    def __init__(self, app: Any, clock: Callable[[], float] | None) -> None:
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

    @abstractmethod
    def read(self, ids: Collection[str]) -> tuple[dict[str, Meta], float]:
        """Return those results that are stored, and the time: seconds since the epoch by a clock that all share."""

    @abstractmethod
    def change(self, edits: Mapping[str, Edit]) -> None:
        """Do the edits, each in one step where the store can, in their order."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    def after_fork_in_child(self) -> None:
        """Forget inherited connections, and never close them."""

    def _host_time(self) -> float:
        return (self._clock or time)()


class KeyValueStore(Store):
    """One of those that keep a result as one value, encoded by Celery."""

    def _key(self, id: str) -> Any:
        return self._backend.get_key_for_task(id)

    def _decode(self, payload: Any) -> Meta | None:
        if not payload:
            return None
        try:
            meta = self._backend.decode(payload)
            return Meta(meta["status"], meta.get("result"))
        except Exception:
            return Meta("unreadable", None)

    def _encode(self, id: str, change: Change) -> bytes:
        meta = {"status": PROGRESS, "result": change.result, "traceback": None, "children": [], "date_done": None}
        if change.request is not None:
            try:
                about = self._backend._get_result_meta(change.result, PROGRESS, None, change.request)
                return self._encoded({**meta, **about, "task_id": id})
            except Exception:
                pass  # with `result_extended` it has the task's arguments, which need not be such as can be encoded
        return self._encoded({**meta, "task_id": id})

    def _encoded(self, meta: dict[str, Any]) -> bytes:
        payload = self._backend.encode(meta)
        return payload.encode() if isinstance(payload, str) else payload
