"""`progresskit cancel ID…`: ask jobs to stop."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from progresskit.errors import ConfigurationError

from .options import Exit, add_command, job_id, kit_of, nothing_to_read
from .terminal import Terminal

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from progresskit import Kit

_DETAILS = """\
Cancelling is cooperative: the job stops at its next check of the request. See its end with `progresskit watch`.
A stalled job has no worker to check, and ends as cancelled at once."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "cancel", "ask jobs to stop", no="a job is not known, or is done", details=_DETAILS)
    parser.add_argument("ids", metavar="ID", nargs="+", type=job_id)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask each of the jobs."""
    terminal = Terminal(sys.stdout)
    accepted = []
    with kit_of(arguments) as kit:
        if (problem := nothing_to_read(kit)) is not None:
            raise ConfigurationError(problem)
        for id in dict.fromkeys(arguments.ids):
            accepted.append(kit.cancel(id))
            if arguments.json:
                terminal.line(json.dumps({"id": id, "asked": accepted[-1]}))
            else:
                terminal.line(f"{id}: {_outcome(kit, id) if accepted[-1] else 'not known, or done already'}")
    return Exit.OK if all(accepted) else Exit.NO


def _outcome(kit: Kit, id: str) -> str:
    record = kit.get(id)
    return "asked to stop" if record is None or not record.done else record.state.value
