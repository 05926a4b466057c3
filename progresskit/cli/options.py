"""Shared by several commands: options, the kit of the URL, and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from progresskit.errors import ConfigurationError
from progresskit.kit import Kit
from progresskit.progress import check_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Exit(IntEnum):
    """How a command ends."""

    OK = 0
    NO = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


EXITS = """\
exit codes:
  0    success
  1    {no}
  2    wrong arguments or settings; the message names the remedy
  3    the backend cannot be reached
  130  interrupted
"""


def add_command(
    commands: Any,
    name: str,
    summary: str,
    *,
    no: str = "",
    details: str = "",
    exits: str = EXITS,
    backend: bool = True,
) -> argparse.ArgumentParser:
    """Add a command, `backend` with the options `--url` and `--json`; `no` says when it ends with 1."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}".strip(),
        epilog=exits.format(no=no),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if backend:
        add_backend_options(parser, default=argparse.SUPPRESS)
    return parser


def add_backend_options(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add `--url` and `--json`, which may stand before the command as well as behind it."""
    add_url(parser, **defaults)
    parser.add_argument("--json", action="store_true", help="JSON for machines, one object a line", **defaults)


def add_url(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add `--url`."""
    parser.add_argument(
        "--url", help="the backend, such as sqlite:////srv/progress.db; else PROGRESSKIT_URL's", **defaults
    )


def find_apps_here(arguments: argparse.Namespace) -> None:
    """Have the app of `celery://proj.app:app` found in the folder the command is run in, as `celery -A` does."""
    if (arguments.url or os.environ.get("PROGRESSKIT_URL", "")).startswith("celery://"):
        sys.path.insert(0, "")


def job_id(text: str) -> str:
    """Read the argument ID."""
    try:
        return check_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def checked(*conversions: Callable[[Any], Any]) -> Callable[[str], Any]:
    """Return the type of an option whose value is converted by these functions, the last one first."""

    def convert(text: str) -> Any:
        value: Any = text
        try:
            for conversion in reversed(conversions):
                value = conversion(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    return convert


def port(text: str) -> int:
    """Read the number of a port."""
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"not a port: {text}")


def nothing_to_read(kit: Kit) -> str | None:
    """Return a message if there is no store to read from, such as a missing file; else None."""
    missing = kit.backend.missing()
    if missing is None:
        return None
    return f"there is no {missing}: nothing has been reported to it yet, or the jobs are at another URL"


@contextmanager
def kit_of(arguments: argparse.Namespace) -> Iterator[Kit]:
    """
    Yield the kit of `--url` or PROGRESSKIT_URL, and close it.

    Raises ConfigurationError for a backend that other processes do not share: it would never show a job.
    """
    kit = Kit(arguments.url)
    if arguments.url is None and not os.environ.get("PROGRESSKIT_URL"):
        raise ConfigurationError("which backend? Set PROGRESSKIT_URL, or --url, to the URL that your workers use")
    if not kit.backend.shared:
        raise ConfigurationError("memory:// is private to one process, so no jobs can be seen from here")
    try:
        yield kit
    finally:
        kit.close()
