"""`progresskit end ID…`: end jobs whose workers do not."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from .options import Exit, add_command, job_id, kit_of
from .terminal import Terminal

if TYPE_CHECKING:
    import argparse
    from typing import Any

_DETAILS = """\
For jobs that would not end otherwise, such as those whose worker is gone. A worker that still runs is asked to stop,
and its later reports are ignored. `progresskit cancel` leaves the end to the worker."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "end", "end jobs from outside", no="a job is not known, or is done", details=_DETAILS
    )
    parser.add_argument("ids", metavar="ID", nargs="+", type=job_id)
    parser.add_argument(
        "--failed", metavar="TEXT", help="end them as failed, with this reason, which all viewers can read"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """End each of the jobs."""
    terminal = Terminal(sys.stdout)
    ended = []
    with kit_of(arguments) as kit:
        for id in dict.fromkeys(arguments.ids):
            ended.append(kit.end(id, failed=arguments.failed))
            if arguments.json:
                terminal.line(json.dumps({"id": id, "ended": ended[-1]}))
            else:
                state = "cancelled" if arguments.failed is None else "failed"
                terminal.line(f"{id}: {state if ended[-1] else 'not known, or done already'}")
    return Exit.OK if all(ended) else Exit.NO
