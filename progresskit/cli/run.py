"""`progresskit run ID -- COMMAND`: make a command of any language a job."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack, closing, contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING

from progresskit import validation
from progresskit.arguments import owner_key
from progresskit.errors import Cancelled
from progresskit.integrations import Integration, PartIdentity

from .lines import Follower, LineReports, number
from .options import add_command, add_url, checked, job_id, kit_of
from .output import Output
from .process import JobControl, Process, Signals
from .report import write_shell_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from progresskit import Kit, ProgressObserver

POLL_SECONDS = 0.1
"""How often the file and a request to cancel are looked at: an interval of records, which costs little."""

LONGEST_GRACE = 1e9
"""Seconds."""

NOT_EXECUTABLE, NOT_FOUND = 126, 127
_ENDING = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM))

_DETAILS = """\
The job is running while the command does, and succeeds if that ends with 0. The command reports progress by appending
lines to the file that PROGRESSKIT_FILE names in its environment: `3/10 a text`, or JSON objects such as
{"current": 3, "total": 10, "description": "a text"}. With --stdout, such lines of its output are read too.

A request to cancel sends SIGTERM to the command and its child processes, and SIGKILL after the grace period. Signals
that `run` is sent go to the command. Without the backend the command runs all the same."""

_EXITS = """\
exit codes:
  that of the command, or 128 and the number of the signal that killed it
  2    wrong arguments or settings; the command is not started
  126  the command cannot be executed
  127  the command is not found
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "run", "run a command as a job", exits=_EXITS, details=_DETAILS, backend=False)
    parser.usage = "%(prog)s ID [options] -- COMMAND [ARGUMENT ...]"
    add_url(parser, default=argparse.SUPPRESS)
    parser.add_argument("id", metavar="ID", type=job_id)
    parser.add_argument("command", metavar="COMMAND", nargs="+", help="the command and its arguments, behind --")
    parser.add_argument("--kind", help="the type of job, such as the name of the command")
    parser.add_argument("--description", metavar="TEXT", help="what it does, until it reports another text")
    parser.add_argument("--total", type=checked(validation.count, number), metavar="N", help="how much there is to do")
    parser.add_argument("--unit", help='what is counted, such as "files"; B for bytes')
    parser.add_argument("--owner", type=checked(owner_key), metavar="KEY", help="the key of the user whose job it is")
    parser.add_argument("--part-of", type=job_id, metavar="ID", help="the job of which it is a part")
    parser.add_argument("--file", type=_file, metavar="PATH", help="the file to report to, instead of a temporary one")
    parser.add_argument("--stdout", action="store_true", help="read reports from standard output too")
    parser.add_argument(
        "--grace", type=_seconds, default=10.0, metavar="SECONDS", help="from SIGTERM to SIGKILL, when cancelled (10)"
    )
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        seconds = float(text)
        if 0 <= seconds < LONGEST_GRACE:
            return seconds
    raise argparse.ArgumentTypeError(f"not a number of seconds: {text}")


def _file(text: str) -> str:
    """Read the path of a file to report to, which may not exist yet."""
    if os.path.exists(text) and not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"not a regular file: {text}")
    return os.path.abspath(text)  # the command may change its folder


def run(arguments: argparse.Namespace) -> int:
    """Run the command to its end, and return its exit code."""
    with ExitStack() as stack:
        kit = stack.enter_context(kit_of(arguments))
        environment = stack.enter_context(_environment(arguments.id, arguments.file))
        follower = stack.enter_context(closing(Follower(environment["PROGRESSKIT_FILE"])))
        _report_pending(kit, arguments)
        signals = stack.enter_context(closing(Signals()))
        control = stack.enter_context(closing(JobControl()))
        output = Output() if arguments.stdout else None
        try:
            process = Process(
                arguments.command,
                environment,
                control,
                None if output is None else output.command_end,
            )
        except OSError as problem:
            return _fail_to_start(_opened(kit, arguments), arguments.command[0], problem)
        with suppress(Cancelled), _opened(kit, arguments) as job, LineReports(job, _complain) as reports:
            supervisor = Supervisor(job, process, reports, follower, output, arguments.grace)
            supervisor.supervise(signals)
            supervisor.end_job()
    assert process.code is not None
    return process.code if process.code >= 0 else 128 - process.code


@contextmanager
def _environment(id: str, file: str | None) -> Iterator[dict[str, str]]:
    """
    Yield the environment of the command.

    Without a file of the user, it names a private one; /dev/null where none can be made, for the command runs all the
    same. The first folder of its PATH has the shell's version of `progresskit report`.
    """
    more = {"PROGRESSKIT_ID": id, "PROGRESSKIT_FILE": file or os.devnull}
    folder = None
    try:
        folder = tempfile.mkdtemp(prefix="progresskit-")
        if file is None:
            more["PROGRESSKIT_FILE"] = os.path.join(folder, "progress")
            os.close(os.open(more["PROGRESSKIT_FILE"], os.O_WRONLY | os.O_CREAT, 0o600))
        programs = os.path.join(folder, "bin")
        os.mkdir(programs, 0o700)
        write_shell_version(os.path.join(programs, "progresskit"), id)
        more["PATH"] = os.pathsep.join((programs, os.environ.get("PATH", os.defpath)))
    except OSError as problem:
        _complain(f"no temporary files can be made, and the command runs without: {problem}")
    try:
        yield os.environ | more
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _report_pending(kit: Kit, arguments: argparse.Namespace) -> None:
    part = None if arguments.part_of is None else PartIdentity(arguments.part_of, arguments.id)
    Integration(kit).enqueued(arguments.id, kind=arguments.kind, owner=arguments.owner, part=part)


def _opened(kit: Kit, arguments: argparse.Namespace) -> ProgressObserver:
    return kit.observe(
        arguments.id,
        total=arguments.total,
        description=arguments.description,
        unit=arguments.unit,
        kind=arguments.kind,
        owner=arguments.owner,
        part_of=arguments.part_of,
    )


def _fail_to_start(job: ProgressObserver, name: str, problem: OSError) -> int:
    missing = isinstance(problem, FileNotFoundError)
    job.fail("command not found" if missing else "command cannot be executed")
    _complain(f"{name}: {'command not found' if missing else problem.strerror}")
    return NOT_FOUND if missing else NOT_EXECUTABLE


def _complain(message: str) -> None:
    with suppress(OSError):  # standard error has no reader, and the command runs on
        print(f"progresskit: {message}", file=sys.stderr, flush=True)


class Supervisor:
    """Watches over the command of a job, from its start to its end."""

    def __init__(
        self,
        job: ProgressObserver,
        process: Process,
        reports: LineReports,
        follower: Follower,
        output: Output | None,
        grace: float,
    ) -> None:
        self._job, self._process, self._reports = job, process, reports
        self._follower, self._output, self._grace = follower, output, grace
        self._kill_at: float | None = None
        """When the group is killed; None before the command was asked to stop."""
        self._killed = self._interrupted = False

    def supervise(self, signals: Signals) -> None:
        """Pass reports and signals on, until the command has ended and its output was passed through."""
        if self._output is not None:
            self._output.start(self._reports)
        while not self._is_over():
            self._attend(signals, POLL_SECONDS)
            for lines in self._follower.read():
                self._reports.take(lines)
                self._attend(signals, 0)  # a command may report faster than its reports are read
        for lines in self._follower.finish():
            self._reports.take(lines)

    def _attend(self, signals: Signals, seconds: float) -> None:
        """Pass on what has come in: signals within that time, another size of the terminal, a request to cancel."""
        for received in signals.wait(seconds):
            self._handle(received)
        self._process.look()
        if self._output is not None and self._output.resize():
            self._process.signal_group(signal.SIGWINCH)
        self._stop_if_cancelled()

    def end_job(self) -> None:
        """End the job as the command has ended. Raises Cancelled, which is an end too."""
        code, reported = self._process.code, self._reports.error
        if self._kill_at is not None:
            self._job.check_cancelled()
        if code or reported is not None:
            self._job.fail(reported or _reason(code or 0))
        else:
            self._job.succeed(self._reports.result)

    def _handle(self, number: int) -> None:
        if number == signal.SIGCHLD:
            return
        if self._process.code is None:
            self._process.forward(number)
        elif number in _ENDING:
            self._interrupted = True  # the command has ended, but others hold its output open

    def _stop_if_cancelled(self) -> None:
        if self._kill_at is None:
            if self._job.cancel_requested:
                self._kill_at = monotonic() + self._grace
                self._process.signal_group(signal.SIGTERM)
                self._process.signal_group(signal.SIGCONT)  # a stopped process would not see the other one
        elif not self._killed and monotonic() >= self._kill_at:
            self._killed = True
            self._process.signal_group(signal.SIGKILL)

    def _is_over(self) -> bool:
        if self._process.code is None:
            return False
        if self._killed or self._interrupted:
            return True
        is_passed_through = self._output is None or self._output.finished
        return is_passed_through and (self._kill_at is None or not self._process.signal_group(0))


def _reason(code: int) -> str:
    """Return the text for viewers of a command that has ended with this code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
