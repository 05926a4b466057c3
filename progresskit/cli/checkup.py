"""A small job through a backend and back, as a worker and a viewer would have it; each step with its time."""

from __future__ import annotations

import os
from statistics import median
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from progresskit.abc import SupportsListing, SupportsPush
from progresskit.errors import FlushTimeout
from progresskit.progress import State

from .options import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from progresskit.hub import Viewer
    from progresskit.kit import Kit
    from progresskit.observer import ProgressObserver

PATIENCE = 5.0
"""Seconds after which a step has failed."""

_ROUNDS = 10


class Finding(NamedTuple):
    """The result of one check; `seconds` is the duration of the step, `exit` the exit code of the command for it."""

    check: str
    verdict: str
    detail: str
    advice: str = ""
    exit: int = Exit.OK
    seconds: float | None = None


def checkup(worker: Kit, viewer: Kit) -> Iterator[Finding]:
    """Run a job of `worker` and look at it from `viewer`; BackendError where that cannot be done."""
    id = f"doctor-{os.urandom(8).hex()}"
    yield _measured("reachable", "answered in {}", [_seconds(viewer, id) for _ in range(_ROUNDS)])
    started = monotonic()
    job = worker.observe(id, kind="progresskit.doctor", total=_ROUNDS, description="A check-up")
    try:
        worker.flush(PATIENCE)
    except FlushTimeout as error:
        advice = "reading works: may this user write, is there space on the disk, does another process hold a lock?"
        yield Finding("written", "problem", str(error), advice, Exit.NO)
        return
    yield _measured("written", "stored in {}", [monotonic() - started])
    yield _read_back(viewer, id)
    yield _watched(job, viewer)
    yield _cancelled(job, viewer)
    job.succeed()
    progress = viewer.get(id)
    if progress is None or progress.state is not State.SUCCEEDED:
        yield _problem("ended", "the end of the job was not stored")
    else:
        yield Finding("ended", "ok", "the last record is stored")
    yield _listed(viewer, id)


def _seconds(viewer: Kit, id: str) -> float:
    started = monotonic()
    viewer.get(id)
    return monotonic() - started


def _measured(check: str, detail: str, times: list[float]) -> Finding:
    typical = median(times)
    return Finding(check, "ok", detail.format(_milliseconds(typical)), seconds=round(typical, 6))


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"


def _problem(check: str, detail: str) -> Finding:
    advice = "the backend accepts records and does not return them: do both sides reach the same server?"
    return Finding(check, "problem", detail, advice, Exit.NO)


def _read_back(viewer: Kit, id: str) -> Finding:
    progress = viewer.get(id)
    if progress is None or progress.state is not State.RUNNING:
        return _problem("read", "the written record is missing")
    return _measured("read", "read back in {}", [_seconds(viewer, id) for _ in range(_ROUNDS)])


def _watched(job: ProgressObserver, viewer: Kit) -> Finding:
    way = "pushed" if isinstance(viewer.backend, SupportsPush) else f"polled each {viewer.settings.interval:g} s"
    with viewer.hub.view((job.id,)) as view:
        times = [_until_seen(job, view, count) for count in range(1, _ROUNDS + 1)]
    seen = [time for time in times if time is not None]
    if len(seen) < _ROUNDS:
        return _problem("watched", f"{_ROUNDS - len(seen)} of {_ROUNDS} changes were not seen within {PATIENCE:g} s")
    return _measured("watched", f"{_ROUNDS} of {_ROUNDS} changes seen, after {{}} ({way})", seen)


def _until_seen(job: ProgressObserver, view: Viewer, count: int) -> float | None:
    started = monotonic()
    job.set_progress(count)
    while (left := started + PATIENCE - monotonic()) > 0:
        if any(progress.current >= count for progress in view.get(left).values()):
            return monotonic() - started
    return None


def _cancelled(job: ProgressObserver, viewer: Kit) -> Finding:
    started = monotonic()
    if not viewer.cancel(job.id):
        return _problem("cancelled", "the job is not known to the viewer")
    while not job.cancel_requested:
        if monotonic() - started > PATIENCE:
            return _problem("cancelled", f"the request did not reach the job within {PATIENCE:g} s")
        sleep(0.01)
    return _measured("cancelled", "the request reached the job after {}", [monotonic() - started])


def _listed(viewer: Kit, id: str) -> Finding:
    if not isinstance(viewer.backend, SupportsListing):
        return Finding("listed", "note", "this backend cannot list jobs; everything else works")
    if any(progress.id == id for progress in viewer.list(kind="progresskit.doctor", limit=10)):
        return Finding("listed", "ok", "the job is in the list")
    return _problem("listed", "the job is not in the list")
