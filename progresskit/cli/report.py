"""`progresskit report ID 3/10 "a text"`: report the progress of a job from a script."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from progresskit import validation
from progresskit.errors import ConfigurationError
from progresskit.progress import State, check_id
from progresskit.remote_runs import Accepted, Conflict, RemoteReport, RemoteRuns
from progresskit.snapshots import public_failure

from .lines import number, parse_count
from .options import Exit, add_command, checked, kit_of

if TYPE_CHECKING:
    from progresskit import Kit

_DETAILS = """\
ID is by default that of PROGRESSKIT_ID, which `progresskit run` sets; for its job, the report goes to `run`, whose
command's exit code ends the job. Another job is begun by its first report, continued by later ones from any process,
and ended by --done or --failed."""

_SHELL_VERSION = """\
#!/bin/sh
# `progresskit report N/M TEXT` without the start of an interpreter; all other calls are those of the program itself.
if [ "$1" = report ] && [ "$PROGRESSKIT_ID" = {id} ] && [ -n "$PROGRESSKIT_FILE" ]; then
    if [ "$2" = "$PROGRESSKIT_ID" ]; then count=$3 text=$4 rest=$(($# - 4)); else count=$2 text=$3 rest=$(($# - 3)); fi
    case $rest,$text in
    0,-* | 0,*[[:cntrl:]]* | [1-9]*) ;;
    *)
        case $count in
        */*/* | /* | */ | *[!0-9/]*) ;;
        */*) printf '%s %s\\n' "$count" "$text" >>"$PROGRESSKIT_FILE" && exit ;;
        esac
        ;;
    esac
fi
exec {program} "$@"
"""


def write_shell_version(path: str, id: str) -> None:
    """Write a version of this command for the job of that id, in the language of the shell, which starts faster."""
    program = shlex.join([sys.executable, "-P", "-m", "progresskit"])
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
    with open(file, "w", encoding="utf-8") as script:
        script.write(_SHELL_VERSION.format(id=shlex.quote(id), program=program))


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "report", "report the progress of a job", no="the report was not taken", details=_DETAILS
    )
    parser.usage = "%(prog)s [ID] [N/M] [TEXT] [options]"
    parser.add_argument("words", metavar="[ID] [N/M] [TEXT]", nargs="*", help="the job, how much is done, the activity")
    parser.add_argument("--current", type=checked(validation.count, number), metavar="N", help="how much is done")
    parser.add_argument("--total", type=checked(validation.count, number), metavar="N", help="how much there is to do")
    parser.add_argument("--unit", help='what is counted, such as "files"; B for bytes')
    parser.add_argument("--description", metavar="TEXT", help="the activity")
    parser.add_argument(
        "--meta", type=checked(validation.meta, _json), metavar="JSON", help="an object of values of your own"
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--done", action="store_true", help="the job has succeeded")
    end.add_argument(
        "--failed", metavar="TEXT", help="the job has failed, with this reason, which all viewers can read"
    )
    parser.set_defaults(run=run)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None


def run(arguments: argparse.Namespace) -> int:
    """Send the report."""
    own, file = os.environ.get("PROGRESSKIT_ID"), os.environ.get("PROGRESSKIT_FILE")
    id, values = _read(arguments)
    if id is None:
        if own is None:
            raise ConfigurationError("which job? Name its ID, or set PROGRESSKIT_ID")
        id = check_id(own)
    if file and id == own and arguments.url is None:
        return _append(file, values)
    with kit_of(arguments) as kit:
        return _send(kit, id, values, as_json=arguments.json)


def _send(kit: Kit, id: str, values: dict[str, Any], *, as_json: bool) -> int:
    """Report to the backend, and print the record for machines."""
    ends = {State.SUCCEEDED.value: State.SUCCEEDED, State.FAILED.value: State.FAILED}
    state, error = ends.get(values.pop("state", None), State.RUNNING), values.pop("error", None)
    report = RemoteReport(1, state, values, error=None if error is None else public_failure(error))
    answer = RemoteRuns(kit.backend, kit.publisher).report(id, report)
    if isinstance(answer, Accepted):
        if as_json:
            print(answer.record.to_json())
        return Exit.OK
    ended = answer is Conflict.ENDED
    print(f"progresskit: {id}: {'the job has ended' if ended else 'a worker reports this job'}", file=sys.stderr)
    return Exit.NO


def _read(arguments: argparse.Namespace) -> tuple[str | None, dict[str, Any]]:
    """Return the id, None for the default one, and the fields that are reported."""
    words: list[str] = [*arguments.words]
    id = check_id(words.pop(0)) if words and parse_count(words[0]) is None else None
    values: dict[str, Any] = {}
    if words and (count := parse_count(words[0])) is not None:
        values |= count
        words.pop(0)
    if len(words) > 1:
        raise ConfigurationError(f"what is {words[1]!r}? The words are ID, N/M and TEXT, in this order")
    given = {name: getattr(arguments, name) for name in ("current", "total", "unit", "description", "meta")}
    values |= {"description": words[0]} if words else {}
    values |= {name: value for name, value in given.items() if value is not None}
    values |= {name: validation.text(values[name]) for name in ("description", "unit") if name in values}
    if arguments.done:
        values["state"] = State.SUCCEEDED.value
    if arguments.failed is not None:
        error = validation.text(arguments.failed, validation.MESSAGE_LENGTH)
        values |= {"state": State.FAILED.value, "error": error}
    return id, values


def _append(file: str, values: dict[str, Any]) -> int:
    line = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
    try:
        opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(opened, line)  # in one call: several processes may append at once
        finally:
            os.close(opened)
    except OSError as problem:
        print(f"progresskit: {file}: {problem.strerror}", file=sys.stderr)
        return Exit.NO
    return Exit.OK
