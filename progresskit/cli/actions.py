"""Shared by the commands that act on jobs one by one: `cancel`, `end` and `forget`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NamedTuple

from progresskit.terminal.console import Console

from .options import Exit, job_id, kit_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from progresskit import Kit


class Action(NamedTuple):
    """An action on a job, and its texts."""

    act: Callable[[Kit, str], bool]
    key: str
    """The key of the result in the JSON object."""
    accepted: Callable[[Kit, str], str]
    """Returns the text of an accepted action."""
    refused: str


def add_ids(parser: argparse.ArgumentParser) -> None:
    """Add the argument ID, once or more often."""
    parser.add_argument("ids", metavar="ID", nargs="+", type=job_id)


def act_on_each(arguments: argparse.Namespace, action: Action) -> int:
    """Act on each job once, and print a line for each; return the exit code."""
    console = Console(sys.stdout)
    results = []
    with kit_of(arguments) as kit:
        for id in dict.fromkeys(arguments.ids):
            accepted = action.act(kit, id)
            results.append(accepted)
            if arguments.json:
                console.line(json.dumps({"id": id, action.key: accepted}))
            else:
                console.line(f"{id}: {action.accepted(kit, id) if accepted else action.refused}")
    return Exit.OK if all(results) else Exit.NO
