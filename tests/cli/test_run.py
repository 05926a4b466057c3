"""`progresskit run`: real commands as jobs."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest

from progresskit import Progress, State
from progresskit.cli import main
from progresskit.cli.lines import Follower
from progresskit.kit import Kit
from tests.cli.processes import COMMAND, environment
from tests.services.waiting import PATIENCE, wait_until

ID = "import-42"

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRESSKIT_FLUSH_SECONDS", str(PATIENCE))


@pytest.fixture
def run(url: str) -> Run:
    """Give a function that runs a command in this process, by its words; the options of `run` are in `options`."""

    def run(*command: str, options: tuple[str, ...] = ()) -> int:
        return main(["run", ID, "--url", url, *options, "--", *command])

    return run


@pytest.fixture
def kit(url: str) -> Iterator[Kit]:
    with closing(Kit(url)) as kit:
        yield kit


def ended(kit: Kit) -> Progress:
    progress = kit.get(ID)
    assert progress is not None
    assert progress.done
    return progress


def message(kit: Kit) -> str | None:
    """Return what pages show as the reason of a failure."""
    error = ended(kit).redacted().error
    return error and error.message


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        (["true"], 0, None),
        (["bash", "-c", "exit 3"], 3, "exit code 3"),
        (["bash", "-c", "kill -KILL $$"], 137, "killed by SIGKILL"),
        ([sys.executable, "-c", "raise SystemExit(255)"], 255, "exit code 255"),
        (["no-such-command"], 127, "command not found"),
        (["/dev/null"], 126, "command cannot be executed"),
    ],
)
def test_the_exit_code_of_the_command_ends_the_job(
    run: Run, kit: Kit, command: list[str], code: int, reason: str | None
) -> None:
    assert run(*command) == code
    assert message(kit) == reason
    assert ended(kit).state is (State.SUCCEEDED if code == 0 else State.FAILED)


def test_the_job_waits_and_then_runs_with_all_that_the_options_say(run: Run, kit: Kit, tmp_path: Path) -> None:
    seen: list[Progress] = []
    has_run = tmp_path / "has run"

    def watch() -> None:
        for progress in kit.watch(ID):
            seen.append(progress)
            if progress.state is State.RUNNING:
                has_run.touch()

    watching = threading.Thread(target=watch)
    watching.start()
    about = ("--kind", "backup", "--description", "Backing up", "--total", "7", "--unit", "files", "--owner", "ann")
    script = 'until [ -e "$1" ]; do read -t 0.05 <> <(:); done; exit 0'
    assert run("bash", "-c", script, "-", str(has_run), options=(*about, "--part-of", "all")) == 0
    watching.join(PATIENCE)
    last = seen[-1]
    assert [state for state in State if state in {progress.state for progress in seen}][-2:] == [
        State.RUNNING,
        State.SUCCEEDED,
    ]
    assert (last.kind, last.description, last.total, last.unit) == ("backup", "Backing up", 7, "files")
    assert (last.owner, last.part_of, last.version.run) == ("ann", "all", 1)
    group = kit.get("all")
    assert group is not None
    assert group.parts is not None
    assert group.parts.succeeded == 1


def test_lines_of_the_file_are_reports_through_truncation_and_rotation(run: Run, kit: Kit) -> None:
    script = """
        test "$PROGRESSKIT_ID" = import-42 || exit 1
        test "$(stat -c %a "$PROGRESSKIT_FILE")" = 600 || exit 1
        echo '{"current": 1, "total": 9, "level": "info"}' >> "$PROGRESSKIT_FILE"
        echo '2/9 truncated' > "$PROGRESSKIT_FILE"
        mv "$PROGRESSKIT_FILE" "$PROGRESSKIT_FILE.1"
        printf '4/9 half' >> "$PROGRESSKIT_FILE"
        exit 5
    """
    assert run("bash", "-c", script) == 5
    progress = ended(kit)
    assert (progress.current, progress.total, progress.description) == (4, 9, "half")


def test_fields_of_json_lines_are_those_of_the_record(run: Run, kit: Kit) -> None:
    lines = [
        '{"unit": "rows", "meta": {"skipped": 2}, "description": "reading"}',
        '{"step": "Download", "current": 5, "total": 5}',
        '{"step": "Parse", "current": 1, "total": 4}',
        '{"result": {"rows": 40}}',
    ]
    script = "import os, sys\nopen(os.environ['PROGRESSKIT_FILE'], 'a').write('\\n'.join(sys.argv[1:]))"
    assert run(sys.executable, "-c", script, *lines) == 0
    progress = ended(kit)
    assert (progress.description, progress.meta, progress.result) == ("reading", {"skipped": 2}, {"rows": 40})
    assert (progress.current, progress.total, progress.step) == (1, 4, 2)


def test_an_error_that_is_reported_is_the_reason_of_the_failure(run: Run, kit: Kit) -> None:
    script = """echo '{"error": "The disk is full"}' >> "$PROGRESSKIT_FILE"; exit 1"""
    assert run("sh", "-c", script) == 1
    assert message(kit) == "The disk is full"


@pytest.mark.parametrize("strict", ["0", "1"])
def test_bad_lines_and_values_are_ignored_with_one_message(
    run: Run, kit: Kit, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, strict: str
) -> None:
    monkeypatch.setenv("PROGRESSKIT_STRICT", strict)
    lines = r'no report\n\nnor this\n7/9\n{"current": -1}\n{"step": 7}\n{"result": NaN}\n'
    script = f"""printf '{lines}' >> "$PROGRESSKIT_FILE" """
    assert run("sh", "-c", script) == 0
    assert ended(kit).current == 7
    assert capfd.readouterr().err == (
        "progresskit: ignored a line that is no report, and later ones without a message: 'no report'\n"
    )


def test_output_is_passed_through_byte_for_byte_while_lines_of_it_are_read(
    run: Run, kit: Kit, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    script = """
        head -c 1000000 /dev/zero | tr '\\0' x; printf '\\n1/3 one\\r\\377\\n'
        (sleep 0.2; printf '{"current": 2, "total": 3}\\n' >&2; printf '3/3 three') &
    """
    assert run("bash", "-c", script, options=("--stdout",)) == 0
    captured = capfdbinary.readouterr()
    assert captured.out == b"x" * 1_000_000 + b"\n1/3 one\r\xff\n3/3 three"
    assert captured.err == b'{"current": 2, "total": 3}\n'
    assert (ended(kit).current, ended(kit).description) == (3, "three")


@pytest.mark.parametrize("options", [(), ("--stdout",)])
def test_a_reader_that_leaves_ends_the_command_as_in_any_pipeline(url: str, options: tuple[str, ...]) -> None:
    words = [*COMMAND, "run", ID, "--url", url, *options, "--", "yes"]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"y\ny\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 128 + signal.SIGPIPE


def test_rsync_reports_by_its_own_progress(
    run: Run, kit: Kit, tmp_path: Path, missing_service: Callable[[str], NoReturn]
) -> None:
    if shutil.which("rsync") is None:
        missing_service("rsync")
    source = tmp_path / "source"
    source.mkdir()
    for number in range(20):
        (source / f"{number}").write_bytes(bytes(10_000))
    script = r"""
        set -o pipefail
        rsync -a --info=progress2 --no-inc-recursive "$1/" "$2" |
            stdbuf -oL tr '\r' '\n' | sed -un 's|^ *\([0-9,]*\) *\([0-9]*\)% .*|\2/100 copying|p' >> "$PROGRESSKIT_FILE"
    """
    assert run("bash", "-c", script, "-", str(source), str(tmp_path / "target")) == 0
    assert len([*(tmp_path / "target").iterdir()]) == 20
    assert (ended(kit).current, ended(kit).total, ended(kit).description) == (100, 100, "copying")


def test_ffmpeg_reports_by_its_own_progress(run: Run, kit: Kit, tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    script = r"""
        set -o pipefail
        ffmpeg -v error -nostdin -f lavfi -i testsrc=duration=1:rate=10 -progress pipe:1 "$1" |
            sed -un 's|^frame=\([0-9]*\)|{"current": \1, "total": 10, "unit": "frames"}|p' >> "$PROGRESSKIT_FILE"
    """
    assert run("bash", "-c", script, "-", str(tmp_path / "video.mkv")) == 0
    assert (ended(kit).current, ended(kit).unit) == (10, "frames")


def test_a_script_without_a_first_line_is_one_of_the_shell(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('test "$1" = word && exit 9\n')
    script.chmod(0o700)
    assert run(str(script), "word") == 9


@pytest.mark.parametrize("option", ["", "--stdout"])
def test_closed_streams_do_not_change_how_the_command_ends(url: str, kit: Kit, option: str) -> None:
    words = f"{' '.join(COMMAND)} run {ID} --url {url} {option} --"
    script = """sh -c 'echo "no report" >> $PROGRESSKIT_FILE; echo 1/2; exec true'"""
    closed = f"{words} {script} <&- >&- 2>&-; echo $?; {words} {script} 2> >(exec 2>&- true)"
    done = subprocess.run(
        ["bash", "-c", closed], env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("0\n1/2\n", "", 0)
    assert ended(kit).state is State.SUCCEEDED


def test_the_arguments_of_the_command_are_its_own(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("printf", "<%s>", "--url", "--", "-x", "a b") == 0
    assert capfd.readouterr().out == "<--url><--><-x><a b>"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", ID],
        ["run", "no id", "--", "true"],
        ["run", ID, "--total", "-1", "--", "true"],
        ["run", ID, "--grace", "soon", "--", "true"],
        ["run", ID, "--file", "/", "--", "true"],
        ["run", ID, "--owner", "", "--", "true"],
        ["run", ID, "--url", "nosuch://", "--", "true"],
    ],
)
def test_a_wrong_argument_is_refused_before_the_command_starts(
    url: str, arguments: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROGRESSKIT_URL", url)
    with pytest.raises(SystemExit, match="2"):
        raise SystemExit(main(arguments))
    assert capfd.readouterr().err


def test_without_the_backend_the_command_runs_and_ends(
    run: Run, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROGRESSKIT_FLUSH_SECONDS", "0.1")
    script = 'echo ran; echo 1/2 >> "$PROGRESSKIT_FILE"; exit 4'
    assert run("sh", "-c", script, options=("--url", "redis://127.0.0.1:1/0")) == 4
    assert capfd.readouterr().out == "ran\n"


def test_without_a_temporary_file_the_command_runs(run: Run, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
    assert run("sh", "-c", 'echo 1/2 >> "$PROGRESSKIT_FILE"') == 0
    assert ended(kit).state is State.SUCCEEDED


# Cancelling and signals.


def test_a_command_that_reports_faster_than_run_reads_gets_its_signals(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wait = 'echo $$ > "$1"; exec sleep 600'
    child = tmp_path / "child"
    deadline = time.monotonic() + PATIENCE

    def read(self: Follower) -> Iterator[list[bytes]]:
        if child.exists() and child.read_text():
            os.kill(os.getpid(), signal.SIGTERM)
            while is_running(int(child.read_text())):
                assert time.monotonic() < deadline, "the command was not sent the signal"
                yield [b"1/2"]

    monkeypatch.setattr(Follower, "read", read)
    assert run("sh", "-c", wait, "-", str(child)) == 128 + signal.SIGTERM


def cancelling(kit: Kit, ready: Callable[[Progress], bool]) -> threading.Thread:
    """Cancel the job, in a thread, once it has said that it is ready."""

    def cancel() -> None:
        next(progress for progress in kit.watch(ID) if ready(progress))
        kit.cancel(ID)

    thread = threading.Thread(target=cancel)
    thread.start()
    return thread


def is_ready(progress: Progress) -> bool:
    return progress.description == "ready"


def test_a_request_to_cancel_ends_the_command_and_its_children_by_sigterm(run: Run, kit: Kit, tmp_path: Path) -> None:
    thread = cancelling(kit, is_ready)
    script = 'sleep 600 & echo $! > "$1"; echo "1/2 ready" >> "$PROGRESSKIT_FILE"; wait'
    assert run("bash", "-c", script, "-", str(tmp_path / "child")) == 128 + signal.SIGTERM
    thread.join(PATIENCE)
    assert (ended(kit).state, ended(kit).stopped_early) == (State.CANCELLED, False)
    wait_until(lambda: not is_running(int((tmp_path / "child").read_text())))


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace_period(run: Run, kit: Kit, tmp_path: Path) -> None:
    thread = cancelling(kit, is_ready)
    script = """
        trap '' TERM; sleep 600 & echo $! > "$1"; echo "1/2 ready" >> "$PROGRESSKIT_FILE"; wait
    """
    options = ("--grace", "0.3", "--stdout")
    assert run("bash", "-c", script, "-", str(tmp_path / "child"), options=options) == 128 + signal.SIGKILL
    thread.join(PATIENCE)
    assert ended(kit).state is State.CANCELLED
    wait_until(lambda: not is_running(int((tmp_path / "child").read_text())))


def test_children_that_outlive_a_cancelled_command_are_killed(run: Run, kit: Kit, tmp_path: Path) -> None:
    thread = cancelling(kit, is_ready)
    script = """
        (trap '' TERM; echo "1/2 ready" >> "$PROGRESSKIT_FILE"; sleep 600 & wait; sleep 600) & echo $! > "$1"; wait
    """
    options = ("--grace", "0.3")
    assert run("bash", "-c", script, "-", str(tmp_path / "child"), options=options) == 128 + signal.SIGTERM
    thread.join(PATIENCE)
    wait_until(lambda: not is_running(int((tmp_path / "child").read_text())))


def is_running(pid: int) -> bool:
    """Return whether a process is there and no zombie, which the first process of a machine may leave for a while."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


SIGNALLED = """
import signal, sys
def receive(number, frame):
    print(signal.Signals(number).name, flush=True)
for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH"):
    signal.signal(getattr(signal, f"SIG{name}"), receive)
print("ready", flush=True)
sys.exit(6 if sys.stdin.readline() == "end\\n" else 7)
"""


def test_signals_to_run_reach_the_command_once_and_do_not_end_run(url: str) -> None:
    words = [*COMMAND, "run", ID, "--url", url, "--", sys.executable, "-c", SIGNALLED]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, env=environment(), stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"):
            process.send_signal(getattr(signal, name))
            assert process.stdout.readline() == f"{name}\n"
        output, _ = process.communicate("end\n", PATIENCE)
        assert (output, process.returncode) == ("", 6)


def test_the_first_process_of_a_container_forwards_signals_and_leaves_no_zombies(url: str, kit: Kit) -> None:
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces of processes")
    script = """
        trap 'exit 9' TERM
        (sleep 0 & true) ; (sleep 0 & true)
        while grep -q '(sleep) Z' /proc/[0-9]*/stat; do :; done 2>/dev/null
        echo "ready $(cut -d' ' -f1 /proc/1/comm | head -c 6)"
        while :; do read -t 0.1 <> <(:); done
    """
    words = [*unshare, *COMMAND, "run", ID, "--url", url, "--", "bash", "-c", script]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready python\n"
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        assert process.wait(PATIENCE) == 9
    assert message(kit) == "exit code 9"


# Terminals.

AS_SESSION = (
    "import fcntl, os, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\nos.execvp(sys.argv[1], sys.argv[1:])"
)
"""Makes standard input the controlling terminal, and becomes a command."""


class Shell:
    """An interactive shell in a pseudo-terminal."""

    def __init__(self, url: str) -> None:
        self.ours, theirs = pty.openpty()
        more = {"PS1": "PROMPT>", "PROGRESSKIT_URL": url, "TERM": "dumb", "RUN": " ".join([*COMMAND, "run", ID])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", AS_SESSION, "bash", "--norc", "--noprofile", "-i"],
            env=environment(more),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._unread = ""

    def send(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def until(self, pattern: str) -> str:
        """Read until there is a match of the pattern; return what was written up to its end."""
        while (found := re.search(pattern, self._unread)) is None:
            if not select.select([self.ours], [], [], PATIENCE)[0]:
                raise TimeoutError(f"no {pattern!r} in {self._unread!r}")
            self._unread += os.read(self.ours, 65536).decode()
        seen, self._unread = self._unread[: found.end()], self._unread[found.end() :]
        return seen


@contextmanager
def interactive_shell(url: str) -> Iterator[Shell]:
    shell = Shell(url)
    try:
        shell.until("PROMPT>")
        yield shell
    finally:
        os.close(shell.ours)  # hangs up: the shell ends its jobs
        shell.process.kill()
        shell.process.wait()


INTERACTIVE = """
import os, signal, sys
def receive(number, frame):
    print(signal.Signals(number).name, os.get_terminal_size(1), flush=True)
for number in (signal.SIGINT, signal.SIGWINCH):
    signal.signal(number, receive)
print("ready", [os.isatty(number) for number in (0, 1, 2)], os.tcgetpgrp(0) == os.getpgrp(), flush=True)
for line in open("/dev/tty"):
    print("read", line, end="", flush=True)
    if line == "end\\n":
        break
print("2/3 two")
"""


@pytest.mark.parametrize("option", ["", "--stdout"])
def test_in_a_terminal_the_command_is_as_it_is_without_run(url: str, kit: Kit, tmp_path: Path, option: str) -> None:
    (tmp_path / "command.py").write_text(INTERACTIVE)
    with interactive_shell(url) as shell:
        shell.send(f"$RUN {option} -- {sys.executable} {tmp_path}/command.py\n")
        assert "[True, True, True] True" in shell.until(r"\nready.*\r\n")
        shell.send("one\n")
        shell.until(r"\nread one\r\n")
        shell.send("\x03")
        shell.until("SIGINT .*\n")
        shell.send("\x1a")
        shell.until(r"Stopped[\s\S]*PROMPT>")
        shell.send("fg\n")
        shell.send("two\n")
        assert "SIGINT" not in shell.until(r"\nread two\r\n")  # once, not twice
        fcntl.ioctl(shell.ours, termios.TIOCSWINSZ, b"\x28\x00\x64\x00\0\0\0\0")
        shell.until(r"SIGWINCH os.terminal_size\(columns=100, lines=40\)\r\n")
        shell.send("end\n")
        assert "\r\r\n" not in shell.until("PROMPT>")
        shell.send("echo ended: $?\n")
        shell.until(r"\nended: 0\r\n")
    assert ended(kit).current == (2 if option else 0)


def test_a_command_in_a_pipeline_gets_the_terminal_when_it_needs_it(url: str, tmp_path: Path) -> None:
    (tmp_path / "command.py").write_text(INTERACTIVE.replace("os.get_terminal_size(1)", "''"))
    with interactive_shell(url) as shell:
        shell.send(f"$RUN -- {sys.executable} {tmp_path}/command.py | cat\n")
        assert "[True, False, True] False" in shell.until(r"\nready.*\r\n")
        shell.send("password\n")
        shell.until(r"\nread password\r\n")
        shell.send("\x03")
        shell.until("SIGINT .*\n")
        shell.send("end\n")
        assert "SIGINT" not in shell.until("PROMPT>")
