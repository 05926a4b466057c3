"""The commands, each in a process of its own, beside a job in another one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import pytest

from progresskit.cli import main
from progresskit.kit import Kit
from progresskit.observer import ProgressObserver
from progresskit.progress import Failure, State
from progresskit.testing import start as started
from progresskit.testing.helpers import connect
from tests.cli.conftest import Write
from tests.cli.processes import COMMAND, environment, in_a_terminal, run, start
from tests.services.waiting import PATIENCE, wait_until

LONG = 60.0
"""Seconds of a job that is ended before, by what the test does."""

UP = "\r\x1b[2K\x1b[1A\x1b[2K"
"""What two lines are drawn anew after."""

Job = Callable[[str], tuple[Kit, ProgressObserver]]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def job(url: str) -> Iterator[Job]:
    """Give a function that begins a job of 40 rows in this process, which goes on when the test says so."""
    with ExitStack() as stack:

        def begin(id: str) -> tuple[Kit, ProgressObserver]:
            kit = stack.enter_context(closing(Kit(url, flush_seconds=PATIENCE)))
            return kit, kit.observe(id, total=40, unit="rows", description="Importing")

        yield begin


@pytest.fixture
def run_here(capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs a command in this process: of each one, another test has it in its own."""

    def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = main(arguments)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run_here


def first_line(frame: str) -> str:
    return frame.partition("\n")[0]


def test_watch_writes_a_line_for_each_tenth_and_ends_well_with_the_job(url: str, job: Job) -> None:
    with start("watch", "import-42", "--url", url) as process:
        assert process.stdout is not None
        assert "import-42 unknown   waiting for the first report" in process.stdout.readline()
        kit, observer = job("import-42")
        for row in range(40):
            observer.set_progress(row)
            kit.flush()
            if row % 4 == 0:
                assert f"import-42 running   {row * 100 // 40}% · " in process.stdout.readline()
        observer.set_progress(40)
        observer.succeed()
        (last,) = process.stdout.read().splitlines()
        assert process.wait() == 0
    assert re.fullmatch(r"\d\d:\d\d:\d\d import-42 succeeded 100% · done in \S+ · 40 rows · Importing", last)


def test_watch_waits_for_all_and_ends_with_1_where_one_has_failed(url: str, write: Write) -> None:
    write("good", 0.4)
    write("bad", 0.8, "fail")
    watched = run("watch", "good", "bad", PROGRESSKIT_URL=url)
    assert watched.returncode == 1
    assert "good succeeded" in watched.stdout
    assert "failed: PublicError: row 41 is missing" in watched.stdout


def test_watch_gives_records_to_machines_one_a_line(url: str) -> None:
    kit = Kit(url, flush_seconds=PATIENCE)
    with start("watch", "import-42", "--json", "--url", url) as process, kit.observe("import-42", total=3) as job:
        assert process.stdout is not None
        for count in range(1, 4):
            job.set_progress(count)
            while (record := json.loads(process.stdout.readline()))["current"] < count:
                assert record["state"] == "running"
            assert (record["id"], record["current"], record["total"]) == ("import-42", count, 3)
        job.succeed({"rows": 3})
        (last,) = map(json.loads, process.stdout)
        assert process.wait() == 0
    kit.close()
    assert (last["state"], last["percent"], last["done"], last["result"]) == ("succeeded", 100, True, {"rows": 3})


def test_watch_of_what_is_over_ends_at_once(url: str, done: Callable[..., None]) -> None:
    done("import-42", "row 40 is missing")
    watched = run("watch", "import-42", "--json", "--url", url)
    assert [json.loads(line)["state"] for line in watched.stdout.splitlines()] == ["failed"]
    assert watched.returncode == 1


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["cancel", "import-42"]])
def test_a_database_that_does_not_exist_is_reported_and_not_made(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "misspelt.db"
    finished = run(*command, "--url", f"sqlite:///{path}")
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr == (
        f"progresskit: there is no {path}: nothing has been reported to it yet, or the jobs are at another URL\n"
    )
    assert [*tmp_path.iterdir()] == []


def test_watch_waits_for_a_database_that_does_not_exist_and_says_so(url: str, job: Job) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    with start("watch", "import-42", "--json", "--url", url) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert f"there is no {path}: nothing has been reported to it yet" in process.stderr.readline()
        assert not path.exists()
        _, observer = job("import-42")
        observer.succeed()
        assert json.loads([*process.stdout][-1])["state"] == "succeeded"
        assert process.wait() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_watch_can_be_interrupted(url: str, done: Callable[..., None], number: int, code: int) -> None:
    done("another")
    with start("watch", "never-begun", "--url", url) as process:
        assert process.stdout is not None
        assert "waiting for the first report" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(PATIENCE) == code
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_watch_draws_in_place_in_a_terminal_and_gives_the_cursor_back(url: str, job: Job) -> None:
    (_, good), (_, bad) = job("import-42"), job("bad")
    percent = 0

    def go_on(_: object, written: str) -> None:
        """Report more once a frame shows what was reported."""
        nonlocal percent
        if percent < 100 and f" {percent}% " in first_line(written.rsplit(UP, 1)[-1]):
            percent += 10
            if percent < 100:
                good.set_progress(percent * 40 // 100)
            else:
                good.succeed()
            if percent == 50:
                bad.set_progress(20)
                bad.fail("row 41 is missing")

    written, code = in_a_terminal([*COMMAND, "watch", "import-42", "bad", "--url", url], go_on)
    assert code == 1
    assert written.startswith("\x1b[?25l")
    assert written.endswith("\x1b[?25h")
    frames = written.split(UP)
    drawn = [int(found[1]) for frame in frames if (found := re.search(r"Importing.*?(\d+)%", first_line(frame)))]
    assert drawn == sorted(drawn)
    assert sorted(set(drawn)) == [*range(0, 101, 10)]
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frames[-1])
    assert re.search(r"✔ Importing +━+ +100% +done in", last)
    assert re.search(r"✘ Importing +━+", last)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_a_terminal_gets_its_cursor_back_when_watch_is_interrupted(
    url: str, write: Write, number: signal.Signals, code: int
) -> None:
    write("import-42", LONG)

    def interrupt(process: subprocess.Popen[bytes], written: str) -> None:
        if "━" in written and not sent:
            process.send_signal(number)
            sent.append(number)

    sent: list[int] = []
    written, ended = in_a_terminal([*COMMAND, "watch", "import-42", "--url", url], interrupt)
    assert ended == code, written
    assert written.endswith("\x1b[?25h")


@pytest.fixture
def done(url: str) -> Callable[..., None]:
    """Give a function that leaves a finished job behind."""

    def write(id: str, error: str | None = None) -> None:
        kit = Kit(url, flush_seconds=PATIENCE)
        job = kit.observe(id, total=40, unit="rows", description="Importing", kind="import")
        job.set_progress(39)
        job.succeed() if error is None else job.fail(error)
        kit.close()

    return write


@pytest.fixture
def gone(url: str) -> Callable[[str], None]:
    """Give a function that leaves a job behind whose worker is not heard of any more."""

    def leave(id: str) -> None:
        with closing(connect(url)) as backend:
            backend.write([started(id, lease=0.001, current=3, total=40)])

    return leave


def test_list_shows_what_there_is_newest_first(url: str, done: Callable[..., None], run_here: Run) -> None:
    Path(url.removeprefix("sqlite:///")).touch()
    assert run_here("list", "--url", url).stderr == "no jobs\n"
    done("first")
    done("second", "row 40 is missing")
    listed = run("list", "--url", url)
    assert [line.split()[:4] for line in listed.stdout.splitlines()] == [
        ["✘", "second", "failed", "97%"],
        ["✔", "first", "succeeded", "100%"],
    ]
    assert listed.returncode == 0


def test_list_leaves_out_what_was_not_asked_for(url: str, done: Callable[..., None], run_here: Run) -> None:
    done("good")
    done("bad", "row 40 is missing")

    def listed(*options: str) -> list[str]:
        found = run_here("list", "--json", "--url", url, *options)
        return [json.loads(line)["id"] for line in found.stdout.splitlines()]

    assert listed("--state", "failed") == ["bad"]
    assert listed("--state", "failed", "--state", "succeeded") == ["bad", "good"]
    assert listed("--kind", "import", "--limit", "1") == ["bad"]
    assert listed("--kind", "export") == []
    with closing(Kit(url)) as kit:
        kit.backend.write([started("chunk", part_of="good")])
    assert listed("--part-of", "good") == ["chunk"]
    assert run("list", "--part-of", "no id", "--url", url).returncode == 2


def test_cancel_stops_a_job_in_another_process(url: str, write: Write) -> None:
    job = write("import-42", LONG)
    kit = Kit(url)
    wait_until(lambda: kit.get("import-42"), "the job runs")
    cancelled = run("cancel", "import-42", "nobody", "--json", "--url", url)
    assert [json.loads(line) for line in cancelled.stdout.splitlines()] == [
        {"id": "import-42", "asked": True},
        {"id": "nobody", "asked": False},
    ]
    assert cancelled.returncode == 1
    job.wait(PATIENCE)
    progress = kit.get("import-42")
    kit.close()
    assert progress is not None
    assert progress.state is State.CANCELLED
    assert run("watch", "import-42", "--url", url).returncode == 1


def test_cancel_ends_a_job_whose_worker_is_gone(url: str, gone: Callable[..., None], run_here: Run) -> None:
    gone("import-42")
    cancelled = run_here("cancel", "import-42", "--url", url)
    assert (cancelled.stdout, cancelled.returncode) == ("import-42: cancelled\n", 0)
    with closing(Kit(url)) as kit:
        progress = kit.get("import-42")
        assert progress is not None
        assert (progress.state, progress.current) == (State.CANCELLED, 3)


def test_end_ends_jobs_as_cancelled_or_as_failed(url: str, gone: Callable[..., None], run_here: Run) -> None:
    gone("import-42")
    gone("import-43")
    ended = run("end", "import-42", "nobody", "--json", "--url", url)
    assert [json.loads(line) for line in ended.stdout.splitlines()] == [
        {"id": "import-42", "ended": True},
        {"id": "nobody", "ended": False},
    ]
    assert ended.returncode == 1
    ended = run_here("end", "import-42", "import-43", "--failed", "The disk is full", "--url", url)
    assert ended.stdout == "import-42: not known, or done already\nimport-43: failed\n"
    with closing(Kit(url)) as kit:
        records = kit.get_many(["import-42", "import-43"])
        assert [record.state for record in records.values()] == [State.CANCELLED, State.FAILED]
        assert records["import-43"].error == Failure("Error", "The disk is full", public=True)


def test_forget_removes_jobs_that_are_done_or_stalled(
    url: str, gone: Callable[..., None], done: Callable[..., None], job: Job, run_here: Run
) -> None:
    gone("stalled")
    done("done")
    kit, _ = job("alive")
    kit.flush()
    forgotten = run("forget", "stalled", "done", "alive", "nobody", "--json", "--url", url)
    assert [json.loads(line) for line in forgotten.stdout.splitlines()] == [
        {"id": "stalled", "forgotten": True},
        {"id": "done", "forgotten": True},
        {"id": "alive", "forgotten": False},
        {"id": "nobody", "forgotten": False},
    ]
    assert forgotten.returncode == 1
    assert kit.get_many(["stalled", "done", "alive"]).keys() == {"alive"}
    done("done")
    forgotten = run_here("forget", "done", "--url", url)
    assert (forgotten.stdout, forgotten.returncode) == ("done: forgotten\n", 0)
    forgotten = run_here("forget", "alive", "--url", url)
    assert forgotten.stdout == "alive: not known, or neither done nor stalled\n"


def test_doctor_finds_a_good_backend_good(url: str, run_here: Run) -> None:
    found = run("doctor", "--json", "--url", url)
    findings = {finding["check"]: finding for finding in map(json.loads, found.stdout.splitlines())}
    assert list(findings) == ["configured", "reachable", "written", "read", "watched", "cancelled", "ended", "listed"]
    assert {finding["verdict"] for finding in findings.values()} == {"ok"}
    assert 0 < findings["written"]["seconds"] < 5
    assert found.returncode == 0
    assert "✔ watched" in run_here("doctor", "--url", url).stdout


def test_doctor_says_that_memory_is_seen_by_nobody_else() -> None:
    found = run("doctor")
    assert found.returncode == 2
    assert "memory:// (the default)" in found.stdout
    assert "set PROGRESSKIT_URL" in found.stdout


def test_doctor_says_that_a_relative_path_leads_elsewhere_in_each_process(tmp_path: Path) -> None:
    found = subprocess.run(
        [*COMMAND, "doctor", "--url", "sqlite:///here.db"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert f"sqlite:///{tmp_path}/here.db" in found.stdout
    assert "✔ listed" in found.stdout


def test_doctor_says_what_is_wrong_with_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database, only notes\n" * 100)
    found = run("doctor", "--url", f"sqlite:///{tmp_path}/notes.txt")
    assert found.returncode == 3, found.stdout
    assert "✘ reachable" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["watch"], "ID"),
        (["watch", "no job!"], "not a job id"),
        (["list"], "Set PROGRESSKIT_URL"),
        (["list", "--url", "memory://"], "private to one process"),
        (["list", "--url", "carrier-pigeon://loft"], "known are amqp://"),
        (["list", "--limit", "0"], "not a whole number"),
        (["watch", "x", "--url", "sqlite:////no/such/folder/x.db"], "/no/such/folder"),
        (["demo", "--port", "70000"], "not a port"),
        (["--url", "memory://", "demo"], "takes neither --url nor --json"),
        (["--json", "demo"], "takes neither --url nor --json"),
    ],
)
def test_a_wrong_use_ends_with_2_and_says_what_to_do(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = cast(int, ended.code)
    assert code == 2
    assert said in capsys.readouterr().err


def test_the_backend_may_be_named_before_the_command(
    url: str, done: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    done("import-42")
    assert main(["--url", url, "--json", "list"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "import-42"
    assert main(["--url", "memory://", "list", "--url", url]) == 0, "what is said last counts"


def test_progress_in_a_celery_app_is_seen_from_the_folder_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "app.py").write_text(
        "from celery import Celery\n"
        f"app = Celery('shop', broker='memory://', backend='file://{tmp_path}')\n"
        "import progresskit\n"
        "if __name__ == '__main__':\n"
        "    with progresskit.observe('import-42'): ...\n"
    )
    script = Path(sysconfig.get_path("scripts")) / "progresskit"  # unlike `python -m` it has no folder on its path
    own = {"PROGRESSKIT_URL": "celery://shop.app:app"}
    here: dict[str, Any] = {"cwd": tmp_path, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "-m", "shop.app"], env=environment(own), check=True, **here)
    for arguments, more in ((["--url", "celery://shop.app:app"], {}), ([], own)):
        seen = subprocess.run([script, "watch", "import-42", *arguments], env=environment(more), **here)
        assert (seen.returncode, seen.stderr) == (0, "")
        assert "import-42" in seen.stdout


def test_a_backend_that_cannot_be_reached_ends_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("no database, only notes\n" * 100)
    for command in (["watch", "x"], ["list"], ["cancel", "x"], ["end", "x"], ["forget", "x"]):
        assert main([*command, "--url", f"sqlite:///{tmp_path}/notes.txt"]) == 3, command
        assert "not a database" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error(url: str, done: Callable[..., None]) -> None:
    done("import-42")
    with start("list", "--url", url) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE) in {0, 1}
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("command", ["demo", "watch", "list", "cancel", "end", "forget", "doctor"])
def test_every_command_documents_its_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert "exit codes:" in capsys.readouterr().out
