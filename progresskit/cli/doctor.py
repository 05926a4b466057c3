"""`progresskit doctor`: does the configured backend carry progress from one side to the other?"""

from __future__ import annotations

import json
import os
import sys
from statistics import median
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from progresskit.abc import SupportsListing, SupportsPush
from progresskit.errors import BackendError, ConfigurationError, FlushTimeout
from progresskit.kit import Kit
from progresskit.progress import State
from progresskit.terminal.console import Console
from progresskit.urls import redact

from .options import Exit, add_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import Any

    from progresskit.hub import Viewer
    from progresskit.observer import ProgressObserver

_DETAILS = """\
Runs a small job of its own through the backend, as a worker and as a viewer: it is written, read back, watched,
cancelled and ended. Its record is kept for a minute."""

_ADVICE = {
    "sqlite": "the file's folder must exist, and every worker and viewer must be allowed to write to both",
    "": "is the server up, and are address and password right for this machine?",
}
_SIGNS = {"ok": ("succeeded", "green"), "note": ("unknown", "dim"), "problem": ("failed", "red")}


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


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "doctor", "check the configured backend end to end", no="something is wrong", details=_DETAILS
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the backend, and print each problem with its remedy."""
    console = Console(sys.stdout)
    code: int = Exit.OK
    for finding in _examine(arguments.url):
        code = max(code, finding.exit)
        if arguments.json:
            console.line(json.dumps(finding._asdict()))
        else:
            _show(finding, console)
    return code


def _show(finding: Finding, console: Console) -> None:
    sign, colour = _SIGNS[finding.verdict]
    console.line((console.glyphs.states[sign], colour), f" {finding.check:<11} {finding.detail}")
    if finding.advice:
        console.line(f"  {'':<11} ", (finding.advice, "yellow"))


def _examine(url: str | None) -> Iterator[Finding]:
    """Check one thing after the other, and none that an earlier one makes pointless."""
    try:
        worker, viewer = Kit(url, ttl=60), Kit(url)
        shown = redact(worker.settings.url)
        yield from _configuration(worker, _source(url))
    except ConfigurationError as error:
        yield Finding("configured", "problem", str(error), exit=Exit.USAGE)
        return
    if not worker.backend.shared:
        return
    try:
        yield from _checkup(worker, viewer)
    except BackendError as error:
        scheme = shown.split("://", 1)[0].split("+", 1)[0]
        yield Finding("reachable", "problem", str(error), _ADVICE.get(scheme, _ADVICE[""]), Exit.UNAVAILABLE)
    finally:
        worker.close()
        viewer.close()


def _source(url: str | None) -> str:
    if url is not None:
        return "from --url"
    return "from PROGRESSKIT_URL" if os.environ.get("PROGRESSKIT_URL") else "the default"


def _configuration(kit: Kit, source: str) -> Iterator[Finding]:
    url = kit.settings.url
    detail = f"{redact(url)} ({source})"
    if not kit.backend.shared:
        advice = "a worker's reports do not reach other processes: set PROGRESSKIT_URL for workers and viewers"
        yield Finding("configured", "problem", detail, advice, Exit.USAGE)
    elif url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        absolute = f"sqlite:///{os.path.abspath(url.removeprefix('sqlite:///'))}"
        advice = f"relative to the folder that each process runs in; from here it would be {redact(absolute)}"
        yield Finding("configured", "problem", detail, advice, Exit.NO)
    else:
        yield Finding("configured", "ok", detail)


def _checkup(worker: Kit, viewer: Kit) -> Iterator[Finding]:
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
