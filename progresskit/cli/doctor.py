"""`progresskit doctor`: does the configured backend carry progress from one side to the other?"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from progresskit.errors import BackendError, ConfigurationError
from progresskit.kit import Kit
from progresskit.terminal.console import Console
from progresskit.urls import redact

from .checkup import Finding, checkup
from .options import Exit, add_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import Any

_DETAILS = """\
Runs a small job of its own through the backend, as a worker and as a viewer: it is written, read back, watched,
cancelled and ended. Its record is kept for a minute."""

_ADVICE = {
    "sqlite": "the file's folder must exist, and every worker and viewer must be allowed to write to both",
    "": "is the server up, and are address and password right for this machine?",
}
_SIGNS = {"ok": ("succeeded", "green"), "note": ("unknown", "dim"), "problem": ("failed", "red")}


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "doctor", "check the configured backend end to end", no="something is wrong", details=_DETAILS
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the backend, and print each problem with its remedy."""
    console = Console(sys.stdout)
    code: int = Exit.OK
    for finding in _examine(arguments.url):
        code = max(code, finding.exit)
        if arguments.json:
            console.line(json.dumps(finding._asdict()))
        else:
            _show(finding, console)
    return code


def _show(finding: Finding, console: Console) -> None:
    sign, colour = _SIGNS[finding.verdict]
    console.line((console.glyphs.states[sign], colour), f" {finding.check:<11} {finding.detail}")
    if finding.advice:
        console.line(f"  {'':<11} ", (finding.advice, "yellow"))


def _examine(url: str | None) -> Iterator[Finding]:
    """Check one thing after the other, and none that an earlier one makes pointless."""
    try:
        worker, viewer = Kit(url, ttl=60), Kit(url)
        shown = redact(worker.settings.url)
        yield from _configuration(worker, _source(url))
    except ConfigurationError as error:
        yield Finding("configured", "problem", str(error), exit=Exit.USAGE)
        return
    if not worker.backend.shared:
        return
    try:
        yield from checkup(worker, viewer)
    except BackendError as error:
        scheme = shown.split("://", 1)[0].split("+", 1)[0]
        yield Finding("reachable", "problem", str(error), _ADVICE.get(scheme, _ADVICE[""]), Exit.UNAVAILABLE)
    finally:
        worker.close()
        viewer.close()


def _source(url: str | None) -> str:
    if url is not None:
        return "from --url"
    return "from PROGRESSKIT_URL" if os.environ.get("PROGRESSKIT_URL") else "the default"


def _configuration(kit: Kit, source: str) -> Iterator[Finding]:
    url = kit.settings.url
    detail = f"{redact(url)} ({source})"
    if not kit.backend.shared:
        advice = "a worker's reports do not reach other processes: set PROGRESSKIT_URL for workers and viewers"
        yield Finding("configured", "problem", detail, advice, Exit.USAGE)
    elif url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        absolute = f"sqlite:///{os.path.abspath(url.removeprefix('sqlite:///'))}"
        advice = f"relative to the folder that each process runs in; from here it would be {redact(absolute)}"
        yield Finding("configured", "problem", detail, advice, Exit.NO)
    else:
        yield Finding("configured", "ok", detail)
