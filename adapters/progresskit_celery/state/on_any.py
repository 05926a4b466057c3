"""Every other result backend: as Celery uses it, one result after the other, by one thread of the process at a time."""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from progresskit.errors import BackendUnavailable
from progresskit.urls import describe

from .bounded_executor import BoundedExecutor
from .store import PROGRESS, Meta, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from .store import Edit


class AnyStore(Store):
    """
    Reads and stores with a lock that this process alone knows, and does not mirror.

    A record lives no longer than Celery's results do. The time is that of each host.
    """

    mirrors = False
    longest = 155

    def __init__(self, app: Any, clock: Callable[[], float] | None = None) -> None:
        super().__init__(app, clock)
        self._lock = Lock()
        self._executor = BoundedExecutor()

    def read(self, ids: Collection[str]) -> tuple[dict[str, Meta], float]:
        """Read one after the other."""
        return self._called(partial(self._load, ids)), self.time()

    def change(self, edits: Mapping[str, Edit]) -> None:
        """Do one after the other."""
        self._called(partial(self._edit, edits))

    def _called(self, function: Callable[[], Any]) -> Any:
        try:
            return self._executor.call("Celery's result backend", function)
        except BackendUnavailable:
            raise
        except Exception as error:
            # Their errors are not known; that one passes is the better guess, for trying again does no harm.
            text = f"{type(error).__name__}: {describe(error, self._url)}"
            raise BackendUnavailable(f"Celery's result backend: {text}") from error

    def _load(self, ids: Collection[str]) -> dict[str, Meta]:
        # In the thread that calls: Celery makes a result backend for each.
        backend = self._app.backend
        metas = {id: backend._get_task_meta_for(id) for id in ids}
        return {id: Meta(meta["status"], meta["result"]) for id, meta in metas.items() if meta["result"] is not None}

    def _edit(self, edits: Mapping[str, Edit]) -> None:
        with self._lock:
            found, now = self._load(edits), self.time()
            for id, edit in edits.items():
                change = edit(found.get(id), now)
                if change is not None:
                    self._app.backend.store_result(id, change.result, PROGRESS)

    def close(self) -> None:
        """End the threads."""
        self._executor.close()

    def after_fork_in_child(self) -> None:
        """Forget the threads."""
        self._lock = Lock()
        self._executor.after_fork_in_child()


class MemoryStore(AnyStore):
    """`cache+memory://`, which is for tests."""

    shared = False
