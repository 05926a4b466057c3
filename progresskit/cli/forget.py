"""`progresskit forget ID…`: remove the records of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .actions import Action, act_on_each, add_ids
from .options import add_command

if TYPE_CHECKING:
    import argparse
    from typing import Any

_DETAILS = """\
Only jobs that are done or stalled are forgotten. Their ids are unknown afterwards."""


def add(commands: Any) -> None:
    """Add the command."""
    no = "a job is not known, or is neither done nor stalled"
    parser = add_command(commands, "forget", "remove the records of jobs", no=no, details=_DETAILS)
    add_ids(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Forget each of the jobs."""
    action = Action(
        act=lambda kit, id: kit.forget(id),
        key="forgotten",
        accepted=lambda kit, id: "forgotten",
        refused="not known, or neither done nor stalled",
    )
    return act_on_each(arguments, action)
