"""Reads of many tasks at once: the kit's records, and Celery's metadata."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.backends.base import BaseKeyValueStoreBackend
from celery.result import AsyncResult, EagerResult

from progresskit.default_kit import default
from progresskit.errors import BackendError, ConfigurationError
from progresskit.integrations import fit_id

from .once import warn_once

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from progresskit.progress import Progress

logger = logging.getLogger("progresskit")


def records_of(results: Sequence[Any]) -> dict[str, Progress]:
    """Return the kit's records by the tasks' ids; none of results that know themselves, or while the store is away."""
    ids = {result.id: fit_id(result.id) for result in results if _is_stored(result)}
    try:
        found = default().get_many([*ids.values()])
    except (BackendError, ConfigurationError) as problem:
        warn_once(logger, "Pages show only the states of tasks from Celery, without progress: %s: %s", problem)
        return {}
    return {id: found[fit] for id, fit in ids.items() if fit in found}


def _is_stored(result: Any) -> bool:
    return isinstance(result, AsyncResult) and not isinstance(result, EagerResult)


def metas_of(results: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Give each result with its metadata; reads them at once where Celery's store can."""
    stored = [result for result in results if _is_stored(result) and result._cache is None]
    read = _read(stored) if len(stored) > 1 else {}
    for result in results:
        meta = read.get(result.id)
        yield result, result._get_task_meta() if meta is None else result._maybe_set_cache(meta)


def _read(results: Sequence[Any]) -> dict[str, Any]:
    backend = results[0].backend
    if not isinstance(backend, BaseKeyValueStoreBackend) or any(result.backend is not backend for result in results):
        return {}
    values = backend.mget([backend.get_key_for_task(result.id) for result in results])
    if not isinstance(values, list | tuple):
        return {}
    nothing = {"status": "PENDING", "result": None}
    return {
        result.id: backend.decode_result(value) if value else dict(nothing)
        for result, value in zip(results, values, strict=True)
    }
