"""`progresskit end ID…`: end jobs whose workers do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .actions import Action, act_on_each, add_ids
from .options import add_command

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
    add_ids(parser)
    parser.add_argument(
        "--failed", metavar="TEXT", help="end them as failed, with this reason, which all viewers can read"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """End each of the jobs."""
    state = "cancelled" if arguments.failed is None else "failed"
    action = Action(
        act=lambda kit, id: kit.end(id, failed=arguments.failed),
        key="ended",
        accepted=lambda kit, id: state,
        refused="not known, or done already",
    )
    return act_on_each(arguments, action)
