"""`progresskit end ID…`: end jobs whose workers will not."""

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
For jobs that nobody else ends, such as those whose worker is gone. A worker that still works on one is asked to stop,
and what it reports from then on is ignored. `progresskit cancel` leaves the end to the worker."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "end", "end jobs from outside", no="a job is not known, or is done", details=_DETAILS
    )
    parser.add_argument("ids", metavar="ID", nargs="+", type=job_id)
    parser.add_argument(
        "--failed", metavar="TEXT", help="they have failed, for that reason, which is shown to everybody"
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
