"""The command line: `progresskit watch`, `list`, `cancel` and so on."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import progresskit
from progresskit.cli.options import Exit, add_backend_options, find_apps_here
from progresskit.errors import BackendError, ConfigurationError, InvalidId

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COMMANDS = {
    "demo": "demo", "run": "run", "report": "report", "watch": "watch", "list": "list", "cancel": "actions",
    "end": "actions", "forget": "actions", "serve": "serve", "doctor": "doctor",
}  # fmt: skip
"""The module of each command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _open_standard_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    # A shell may start a command many times, and to load all of them takes as long as the rest of the start.
    parser = _parser([COMMANDS[command] for command in COMMANDS if command in arguments] or COMMANDS.values())
    given = parser.parse_args(arguments)
    find_apps_here(given)
    try:
        code: int = given.run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe (`progresskit list | head`); the interpreter must not write at its end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.NO
    except (ConfigurationError, InvalidId) as error:
        return _complain(error, Exit.USAGE)
    except BackendError as error:
        return _complain(error, Exit.UNAVAILABLE)
    return code


def _open_standard_streams() -> None:
    """Open those of the standard streams that are closed, or a database may get the number of one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 (open until the process ends)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal can show each job's description


def _complain(error: Exception, code: Exit) -> Exit:
    print(f"progresskit: {error}", file=sys.stderr)
    return code


def _parser(modules: Iterable[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="progresskit", description="Progress of any background job.")
    parser.add_argument("--version", action="version", version=f"progresskit {progresskit.__version__}")
    add_backend_options(parser)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in dict.fromkeys(modules):
        import_module(f"{__name__}.{name}").add(commands)
    return parser
