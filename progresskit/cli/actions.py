"""`progresskit cancel`, `end` and `forget`: the commands that act on jobs one by one."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from progresskit.errors import ConfigurationError

from .options import Exit, add_command, job_id, kit_of, nothing_to_read

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from progresskit import Kit

_CANCEL = """\
Cancelling is cooperative: the job stops at its next check of the request. See its end with `progresskit watch`.
A stalled job has no worker to check, and ends as cancelled at once."""

_END = """\
For jobs that would not end otherwise, such as those whose worker is gone. A worker that still runs is asked to stop,
and its later reports are ignored. `progresskit cancel` leaves the end to the worker."""

_FORGET = "Only jobs that are done or stalled are forgotten. Their ids are unknown afterwards."

_UNKNOWN = "a job is not known, or is done"


def add(commands: Any) -> None:
    """Add the commands."""
    cancel = add_command(commands, "cancel", "ask jobs to stop", no=_UNKNOWN, details=_CANCEL)
    end = add_command(commands, "end", "end jobs from outside", no=_UNKNOWN, details=_END)
    end.add_argument(
        "--failed", metavar="TEXT", help="end them as failed, with this reason, which all viewers can read"
    )
    no = "a job is not known, or is neither done nor stalled"
    forget = add_command(commands, "forget", "remove the records of jobs", no=no, details=_FORGET)
    for parser, act, key, refused in (
        (cancel, _cancel, "asked", "not known, or done already"),
        (end, _end, "ended", "not known, or done already"),
        (forget, _forget, "forgotten", "not known, or neither done nor stalled"),
    ):
        parser.add_argument("ids", metavar="ID", nargs="+", type=job_id)
        parser.set_defaults(run=run, act=act, key=key, refused=refused)


def run(arguments: argparse.Namespace) -> int:
    """Act on each job once, and print a line for each."""
    code = Exit.OK
    with kit_of(arguments) as kit:
        for id in dict.fromkeys(arguments.ids):
            outcome: str | None = arguments.act(kit, id, arguments)
            if outcome is None:
                code = Exit.NO
            if arguments.json:
                print(json.dumps({"id": id, arguments.key: outcome is not None}))
            else:
                print(f"{id}: {outcome or arguments.refused}")
            sys.stdout.flush()
    return code


def _cancel(kit: Kit, id: str, arguments: argparse.Namespace) -> str | None:
    if (problem := nothing_to_read(kit)) is not None:
        raise ConfigurationError(problem)
    if not kit.cancel(id):
        return None
    record = kit.get(id)
    return "asked to stop" if record is None or not record.done else record.state.value


def _end(kit: Kit, id: str, arguments: argparse.Namespace) -> str | None:
    state = "cancelled" if arguments.failed is None else "failed"
    return state if kit.end(id, failed=arguments.failed) else None


def _forget(kit: Kit, id: str, arguments: argparse.Namespace) -> str | None:
    return "forgotten" if kit.forget(id) else None
