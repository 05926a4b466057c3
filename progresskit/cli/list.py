"""`progresskit list`: the jobs of the backend."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from progresskit.errors import ConfigurationError
from progresskit.progress import State
from progresskit.terminal.console import Console
from progresskit.terminal.records import COLOURS, count, duration, harmless, phase, width

from .options import Exit, add_command, job_id, kit_of, nothing_to_read

if TYPE_CHECKING:
    from typing import Any

    from progresskit.progress import Progress


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "list", "list jobs, the most recently written first", no="(never)")
    parser.add_argument(
        "--state",
        action="append",
        choices=[state.value for state in State],
        help="only jobs in this state; repeat it for several",
    )
    parser.add_argument("--kind", help="only jobs of this kind, such as a task's name")
    parser.add_argument("--part-of", type=job_id, metavar="ID", help="only jobs that are parts of this job")
    parser.add_argument("--limit", type=_limit, default=100, metavar="N", help="at most this many jobs (100)")
    parser.set_defaults(run=run)


def _limit(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"not a whole number over 0: {text}")


def run(arguments: argparse.Namespace) -> int:
    """List the jobs."""
    console = Console(sys.stdout)
    with kit_of(arguments) as kit:
        if (problem := nothing_to_read(kit)) is not None:
            raise ConfigurationError(problem)
        jobs = kit.list(kind=arguments.kind, state=arguments.state, part_of=arguments.part_of, limit=arguments.limit)
    if arguments.json:
        for progress in jobs:
            console.line(progress.to_json())
    elif jobs:
        _table(jobs, console)
    else:
        print("no jobs", file=sys.stderr)
    return Exit.OK


def _table(jobs: list[Progress], console: Console) -> None:
    now = datetime.now(UTC)
    rows = [_row(progress, now) for progress in jobs]
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    for progress, row in zip(jobs, rows, strict=True):
        state = phase(progress)
        line = "  ".join(text + " " * (size - width(text)) for text, size in zip(row, widths, strict=True)).rstrip()
        console.line((console.glyphs.states[state], COLOURS[state]), f" {line}", is_cut=True)


def _row(progress: Progress, now: datetime) -> tuple[str, ...]:
    age = (now - progress.updated_at).total_seconds() if progress.updated_at else 0
    percent = "" if progress.percent is None else f"{int(progress.percent)}%"
    about = " ".join(filter(None, (progress.kind, harmless(progress.description or ""))))
    return progress.id, phase(progress), f"{percent:>4}", count(progress), f"{duration(age)} ago", about
