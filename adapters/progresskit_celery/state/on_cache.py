"""Memcached, by pymemcache: compare-and-set (`gets`, `cas`)."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from importlib import import_module
from math import ceil
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any

from progresskit.backends import keep_inherited
from progresskit.backends.stores import ServerClock, retry_conflicts
from progresskit.errors import BackendError, BackendUnavailable
from progresskit.urls import describe

from .store import Store, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from .store import Change, Edit, Meta

# Not an import statement: this is a requirement of the app's result backend, not of ours.
pymemcache: Any = import_module("pymemcache.exceptions")

CONNECT_SECONDS, CALL_SECONDS = 2.0, 5.0

LAG_SECONDS = 3.5
"""
A server states whole seconds, counts them from the whole second of its start, and looks at its clock once a second:
up to three seconds in all, and a moment more where it is busy.
"""

MONTH = 30 * 86_400
"""A server takes more seconds than that for a time since the epoch."""


class CacheStore(Store):
    """Uses a client of its own, by one thread at a time: Celery's is for one thread and may wait indefinitely."""

    def __init__(self, app: Any, clock: Callable[[], float] | None = None) -> None:
        super().__init__(app, clock)
        self._lock = Lock()
        self._made: Any = None
        self._server_clock = ServerClock(clock, LAG_SECONDS)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        if not self._lock.acquire(timeout=CALL_SECONDS):
            raise BackendUnavailable(f"{self}: another call has no answer yet")
        try:
            if self._made is None:
                ours = {"connect_timeout": CONNECT_SECONDS, "timeout": CALL_SECONDS, "default_noreply": False}
                self._made = self._backend.Client(self._backend.servers, **(self._backend.options | ours))
            yield self._made
        except BaseException as error:
            # The answer to an interrupted call may arrive later, and the next call would take it for its own.
            if self._made is not None:
                self._made.close()
            if isinstance(error, (pymemcache.MemcacheError, OSError)):
                raise self._failure(error) from error
            raise
        finally:
            self._lock.release()

    def _failure(self, error: Exception) -> BackendError:
        fault = isinstance(error, pymemcache.MemcacheClientError) or "too large" in str(error)
        text = f"{type(error).__name__}: {describe(error, self._url)}"
        return (BackendError if fault else BackendUnavailable)(f"{self}: {text}")

    def _now(self, client: Any) -> float:
        return self._server_clock(lambda: _server_time(client))

    def _load(self, client: Any, ids: Collection[str]) -> tuple[dict[str, tuple[Any, Any]], float]:
        keys = {self._backend.get_key_for_task(id): id for id in ids}
        found = client.gets_many([*keys])
        return {keys[key]: value for key, value in found.items()}, self._now(client)

    def read(self, ids: Collection[str]) -> tuple[dict[str, Meta], float]:
        """Read all in one round trip."""
        with self._client() as client:
            found, now = self._load(client, ids)
        metas = {id: decoded(self._backend, value) for id, (value, _) in found.items()}
        return {id: meta for id, meta in metas.items() if meta is not None}, now

    def change(self, edits: Mapping[str, Edit]) -> None:
        """Read all in a round trip, and swap one after the other; again those that another process has changed."""
        with self._client() as client:
            retry_conflicts(edits, partial(self._swap_all, client, edits), self)

    def _swap_all(self, client: Any, edits: Mapping[str, Edit], ids: Collection[str]) -> list[str]:
        found, now = self._load(client, ids)
        return [id for id in ids if not self._swap(client, id, edits[id], found.get(id), now)]

    def _swap(self, client: Any, id: str, edit: Edit, found: tuple[Any, Any] | None, now: float) -> bool:
        value, number = found or (None, None)
        change = edit(decoded(self._backend, value), now)
        if change is None:
            return True
        key, seconds = self._backend.get_key_for_task(id), self._seconds(change)
        content = encoded(self._backend, id, change.result, change.request)
        if number is None:
            return bool(client.add(key, content, seconds, noreply=False))
        return bool(client.cas(key, content, number, seconds, noreply=False))

    def _seconds(self, change: Change) -> int:
        seconds = self._backend.expires or 0 if change.ttl is None else max(ceil(change.ttl), 1)
        return int(seconds if seconds <= MONTH else time() + seconds)

    def close(self) -> None:
        """Close the client."""
        with self._lock:
            client, self._made = self._made, None
        if client is not None:
            client.close()

    def after_fork_in_child(self) -> None:
        """Forget the client."""
        self._lock = Lock()
        keep_inherited(self._made)
        self._made = None


def _server_time(client: Any) -> float:
    """Return the time that the server states; the host's time where there are several servers."""
    return float(client.stats()[b"time"]) if hasattr(client, "stats") else time()
