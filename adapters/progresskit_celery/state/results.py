"""The backend in which each record is a result of its own, `<prefix>-<id>`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from progresskit.backends.stores import StoreBackend, load_records
from progresskit.errors import ConfigurationError
from progresskit.progress import ID_LENGTH

from .store import Change

if TYPE_CHECKING:
    from collections.abc import Collection

    from progresskit.backends.stores import Decide, StoredRecord

    from .store import Meta, Store

SHORTEST_TTL = 0.001
"""How long a store keeps a record that has expired, in seconds."""


class ResultsBackend(StoreBackend):
    """Keeps the records in a store of results."""

    def __init__(self, store: Store, *, prefix: str) -> None:
        super().__init__()
        self._store, self._prefix = store, prefix
        self.shared = store.shared
        if store.longest is not None and len(prefix) + 1 + ID_LENGTH > store.longest:
            raise ConfigurationError(
                f"the prefix {prefix!r} is too long for a result backend whose ids have {store.longest}"
            )

    def __str__(self) -> str:
        return str(self._store)

    def _name(self, id: str) -> str:
        return self._store.name(f"{self._prefix}-{id}")

    def load(self, ids: Collection[str]) -> tuple[dict[str, StoredRecord], float]:
        """Read the results."""
        names = {id: self._name(id) for id in ids}
        found, now = self._store.read(dict.fromkeys(names.values()))
        return load_records({id: found[name].result for id, name in names.items() if name in found}), now

    def transact(self, ids: Collection[str], decide: Decide) -> None:
        """Edit the results."""
        self._store.change({self._name(id): partial(_edit, id, decide) for id in ids})

    def close(self) -> None:
        """Close the connections that are not Celery's own; a later call opens them again."""
        self._store.close()
        super().close()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's."""
        self._store.after_fork_in_child()
        super().after_fork_in_child()


def _edit(id: str, decide: Decide, meta: Meta | None, now: float) -> Change | None:
    after = decide(id, None if meta is None else load_records({id: meta.result}).get(id), now)
    if after is None:
        return None
    return Change(after.dump(), ttl=max(after.expires_at - now, SHORTEST_TTL), expires=max(after.expires_at, now))
