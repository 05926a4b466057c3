"""The command line: `progresskit watch`, `list`, `cancel` and so on; one file a command."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

import progresskit
from progresskit.cli import cancel, demo, doctor, end, forget, run, serve, watch
from progresskit.cli import list as list_
from progresskit.cli.options import Exit, add_backend_options, find_apps_here
from progresskit.errors import BackendError, ConfigurationError, InvalidId

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
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


def _complain(error: Exception, code: Exit) -> Exit:
    print(f"progresskit: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="progresskit", description="Progress of any background job.")
    parser.add_argument("--version", action="version", version=f"progresskit {progresskit.__version__}")
    add_backend_options(parser)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (demo, run, watch, list_, cancel, end, forget, serve, doctor):
        command.add(commands)
    return parser
