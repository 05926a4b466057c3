"""
The status of a task, in the terms of celery-progress.

The outcome of a task comes from Celery, its progress from progresskit. Where Celery never knows the outcome, because
results are ignored, the outcome comes from progresskit too.
"""

from __future__ import annotations

import logging
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from celery import current_app

from progresskit.default_kit import default
from progresskit.progress import DERIVED, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from progresskit.progress import Progress

PROGRESS_STATE = "PROGRESS"

ENDED = frozenset(("SUCCESS", "FAILURE", "REVOKED", "IGNORED"))
"""The states in which Celery has heard how a task came out."""

KNOWN = ENDED | {"PENDING", "STARTED", "RETRY", PROGRESS_STATE}
"""The states that pages can handle."""

MESSAGE = 50
"""Characters of an error that are shown while a task waits for its retry."""

_SECONDS = re.compile(r"Retry in (\d{1,10})s")

logger = logging.getLogger("progresskit")


def percentage(current: Any, total: Any) -> float:
    """Return how much is done, in percent rounded to 2 decimals; 0 without a total."""
    if not total or total < 0:
        return 0
    return float(round(Decimal(current) / Decimal(total) * 100, 2))


def counted(current: Any, total: Any, description: Any) -> dict[str, Any]:
    """Return the progress of a task that reports."""
    percent = percentage(current, total)
    return {"pending": False, "current": current, "total": total, "percent": percent, "description": description}


def status(id: str, meta: Mapping[str, Any], record: Progress | None) -> dict[str, Any]:
    """Return the answer for a task, given Celery's metadata and the kit's record, which was read before them."""
    state, info = _unmirrored(meta["status"], meta["result"])
    if record is not None and state not in ENDED:
        state, info = _with_record(state, info, record)
    answer: dict[str, Any] = {"state": state}
    match state:
        case "SUCCESS":
            return answer | _ended(True, info)
        case "FAILURE":
            return answer | _ended(False, str(info))
        case "REVOKED":
            return answer | _ended(False, f"Task {info}")
        case "RETRY":
            return answer | _ended(False, _retry(info, meta.get("traceback")))
        case "IGNORED":
            return answer | _ended(None, str(info))
        case "PROGRESS":
            return answer | {"complete": False, "success": None, "progress": info}
        case "PENDING" | "STARTED":
            return answer | {"complete": False, "success": None, "progress": _nothing_yet(state)}
    logger.error("Task %s is in an unknown state, %s, with %s", id, state, info)
    unknown = {"progress": _nothing_yet(state), "result": f"Unknown state {state}"}
    return answer | {"complete": True, "success": False} | unknown


def _unmirrored(state: str, info: Any) -> tuple[str, Any]:
    """Return Celery's state without the one that progresskit mirrors into it, as with `celery://`; keep the reports."""
    begun = "STARTED" if current_app.conf.task_track_started else "PENDING"
    match info:
        case {"current": int() | float() as current, "total": int() | float() | None as total, "percent": _} if (
            state == PROGRESS_STATE and info.keys() == {"current", "total", "percent", "description"}
        ):
            return _reported(current, total, info["description"]) or (begun, None)
    return state, info


def _reported(current: Any, total: Any, description: Any) -> tuple[str, Any] | None:
    """Return the progress of a task that runs; None if it has not reported any yet."""
    if total is None and not current:
        return None
    return PROGRESS_STATE, counted(current, total or 0, description or "")


def _with_record(state: str, info: Any, record: Progress) -> tuple[str, Any]:
    if record.state is State.RUNNING:
        return _reported(*_count(record), record.description) or (state, info)
    if record.state is State.SUCCEEDED:
        return "SUCCESS", record.result
    if record.state is State.FAILED:
        return "FAILURE", _message(record)
    if record.state is State.CANCELLED and record.cancel_requested:
        return "REVOKED", "cancelled"
    return state, info  # a task that was revoked or ignored: Celery will report that


def _count(record: Progress) -> tuple[Any, Any]:
    """Return how much of how much of the whole job is done: in percent where it has steps."""
    is_divided = record.given_percent != DERIVED and record.percent is not None
    return (record.percent, 100) if is_divided else (record.current, record.total)


def _message(record: Progress) -> str:
    shown = record if default().settings.expose_errors else record.redacted()
    if shown.error is None:
        return ""
    return shown.error.type if shown.error.message is None else shown.error.message


def _retry(error: Any, traceback: str | None) -> dict[str, Any]:
    found = _SECONDS.search(traceback or "")
    return {
        "next_retry_seconds": int(found[1]) if found else "Unknown",
        "message": f"{str(error)[:MESSAGE]}...",
    }


def _ended(success: bool | None, result: Any) -> dict[str, Any]:
    whole = {"pending": False, "current": 100, "total": 100, "percent": 100}
    return {"complete": True, "success": success, "progress": whole, "result": result}


def _nothing_yet(state: str) -> dict[str, Any]:
    return {"pending": state == "PENDING", "current": 0, "total": 100, "percent": 0}
