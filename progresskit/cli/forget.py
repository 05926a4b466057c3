"""`progresskit forget ID…`: remove the records of jobs."""

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
Only jobs that are done or stalled are forgotten. Their ids are unknown afterwards."""


def add(commands: Any) -> None:
    """Add the command."""
    no = "a job is not known, or is neither done nor stalled"
    parser = add_command(commands, "forget", "remove the records of jobs", no=no, details=_DETAILS)
    parser.add_argument("ids", metavar="ID", nargs="+", type=job_id)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Forget each of the jobs."""
    terminal = Terminal(sys.stdout)
    forgotten = []
    with kit_of(arguments) as kit:
        for id in dict.fromkeys(arguments.ids):
            forgotten.append(kit.forget(id))
            if arguments.json:
                terminal.line(json.dumps({"id": id, "forgotten": forgotten[-1]}))
            else:
                outcome = "forgotten" if forgotten[-1] else "not known, or neither done nor stalled"
                terminal.line(f"{id}: {outcome}")
    return Exit.OK if all(forgotten) else Exit.NO
