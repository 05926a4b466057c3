"""`progresskit watch ID…`: live bars in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from progresskit.progress import State
from progresskit.terminal.console import Console
from progresskit.terminal.displays import Plain, Records
from progresskit.terminal.records import Arrivals, Seen

from .options import Exit, add_command, job_id, kit_of, nothing_to_read

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from progresskit.hub import Viewer
    from progresskit.terminal.displays import Display

_DETAILS = """\
In a terminal the bars move in place. Elsewhere a line is written at each change of state, each tenth of the way,
each step, as the number of failed parts doubles, and each 10 seconds; with --json it is the whole record, at each
change. Jobs that do not exist yet are waited for."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "watch", "show jobs until they are done", no="a job failed or was cancelled", details=_DETAILS
    )
    parser.add_argument("ids", metavar="ID", nargs="+", type=job_id)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the jobs; return when all are done."""
    ids = list(dict.fromkeys(arguments.ids))
    display = _display(arguments.json)
    with kit_of(arguments) as kit:
        if (problem := nothing_to_read(kit)) is not None:
            print(f"progresskit: {problem}", file=sys.stderr)  # and wait: the jobs may begin later
        known = kit.get_many(ids)  # raises where the backend cannot be reached; later on, the hub waits an outage out
        arrivals = Arrivals()
        jobs = {id: arrivals.see(Seen(id), known.get(id)) for id in ids}
        with kit.hub.view(ids) as viewer, display:
            _follow(viewer, jobs, display, arrivals)
    return Exit.OK if all(_succeeded(seen) for seen in jobs.values()) else Exit.NO


def _display(json: bool) -> Display:
    console = Console(sys.stdout)
    if json:
        return Records(console)
    if console.rich is not None:
        from progresskit.terminal.bars import LiveBars

        return LiveBars(console)
    if console.hint is not None:
        print(f"progresskit: {console.hint}", file=sys.stderr)
    return Plain(console)


def _follow(viewer: Viewer, jobs: dict[str, Seen], display: Display, arrivals: Arrivals) -> None:
    """Show the jobs, which are brought up to date, until all are done."""
    display.show(jobs, jobs.keys())
    while not all(seen.progress and seen.progress.done for seen in jobs.values()):
        news = viewer.get(display.tick)
        changed = {
            id: arrivals.see(jobs[id], progress) for id, progress in news.items() if progress != jobs[id].progress
        }
        jobs |= changed
        display.show(jobs, changed.keys())


def _succeeded(seen: Seen) -> bool:
    return seen.progress is not None and seen.progress.state is State.SUCCEEDED
