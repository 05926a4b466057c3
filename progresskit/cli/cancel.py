"""`progresskit cancel ID…`: ask jobs to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.errors import ConfigurationError

from .actions import Action, act_on_each, add_ids
from .options import add_command, nothing_to_read

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
    add_ids(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask each of the jobs."""
    return act_on_each(arguments, Action(_cancel, "asked", accepted=_outcome, refused="not known, or done already"))


def _cancel(kit: Kit, id: str) -> bool:
    if (problem := nothing_to_read(kit)) is not None:
        raise ConfigurationError(problem)
    return kit.cancel(id)


def _outcome(kit: Kit, id: str) -> str:
    record = kit.get(id)
    return "asked to stop" if record is None or not record.done else record.state.value
