"""`progresskit report`: to a command's `run`, and without it."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from progresskit import Failure, Progress, State
from progresskit.cli import main
from progresskit.cli.lines import parse
from progresskit.cli.report import write_shell_version
from progresskit.integrations import Integration
from progresskit.kit import Kit
from progresskit.remote_runs import Accepted, RemoteReport, RemoteRuns
from tests.services.waiting import PATIENCE

ID = "import-42"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file that a command of `run` reports to."""
    path = tmp_path / "progress"
    path.touch()
    monkeypatch.setenv("PROGRESSKIT_ID", ID)
    monkeypatch.setenv("PROGRESSKIT_FILE", str(path))
    return path


def reported(path: Path) -> list[object]:
    return [parse(line) for line in path.read_bytes().splitlines()]


CALLS = [
    (["3/10"], {"current": 3, "total": 10}),
    (["3/10", "resizing  %s \\n a.png"], {"current": 3, "total": 10, "description": "resizing  %s \\n a.png"}),
    ([ID, "3/10", "é"], {"current": 3, "total": 10, "description": "é"}),
]
MORE_CALLS = [
    (["0.5/2", "two\nlines"], {"current": 0.5, "total": 2, "description": "two\nlines"}),
    (["3/10", "text", "--unit", "rows", "--meta", '{"a": 1}'],
     {"current": 3, "total": 10, "description": "text", "unit": "rows", "meta": {"a": 1}}),
    (["--current", "3", "--total", "4.5", "--description", "-"], {"current": 3, "total": 4.5, "description": "-"}),
    ([ID, "text", "--done"], {"description": "text", "state": "succeeded"}),
    (["--failed", "The disk is full"], {"state": "failed", "error": "The disk is full"}),
    (["--failed", "x" * 70_000], {"state": "failed", "error": "x" * 1_999 + "…"}),
    (["3/10", 'a\r{"error": "of a file name"}'],
     {"current": 3, "total": 10, "description": 'a\r{"error": "of a file name"}'}),
]  # fmt: skip


@pytest.mark.parametrize(("words", "values"), CALLS + MORE_CALLS)
def test_a_report_inside_of_run_is_a_line_of_its_file(file: Path, words: list[str], values: object) -> None:
    assert main(["report", *words]) == 0
    assert reported(file) == [values]


def test_the_version_of_the_shell_writes_the_same_and_leaves_other_calls_to_the_program(
    file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "it's"
    write_shell_version(str(path), ID)
    text = path.read_text()
    path.write_text(text.replace("\nexec ", "\nexec echo "))
    for shell in ("sh", "bash"):
        file.write_bytes(b"")
        for words, _ in CALLS:
            assert subprocess.check_output([shell, path, "report", *words], text=True) == ""
        assert reported(file) == [values for _, values in CALLS]
    others = [words for words, _ in MORE_CALLS] + [["3/10", "-x"], ["another", "3/10"], ["3/", "x"], ["1/2", "a", "b"]]
    for words in others:
        printed = subprocess.check_output(["sh", path, "report", *words])
        assert printed.decode().endswith(f"report {' '.join(words)}\n")
    for more in ({"PROGRESSKIT_ID": "another"}, {"PROGRESSKIT_FILE": ""}, {"PROGRESSKIT_FILE": "/no/such/file"}):
        done = subprocess.run(
            ["sh", path, "report", "1/2"], env=os.environ | more, capture_output=True, text=True, check=True
        )
        assert done.stdout.endswith(" report 1/2\n")
    assert len(reported(file)) == len(CALLS)


@pytest.mark.parametrize(
    ("script", "reason", "current"),
    [
        ('for i in 1 2 3; do progresskit report "$i/4" "file $i"; done; exit 1', "exit code 1", 3),
        ('progresskit report import-42 1/4 -- -x; progresskit report --failed "No disk"', "No disk", 1),
        ("progresskit report 1/4; progresskit report --done", None, 4),
    ],
)
def test_scripts_report_to_their_run(
    url: str, monkeypatch: pytest.MonkeyPatch, script: str, reason: str | None, current: int
) -> None:
    monkeypatch.setenv("PROGRESSKIT_FLUSH_SECONDS", str(PATIENCE))
    assert main(["run", ID, "--url", url, "--", "bash", "-c", script]) == (1 if reason == "exit code 1" else 0)
    kit = Kit(url)
    progress = kit.get(ID)
    kit.close()
    assert progress is not None
    assert progress.state is (State.SUCCEEDED if reason is None else State.FAILED)
    assert progress.current == current
    assert (progress.error and progress.error.message) == reason


@pytest.mark.parametrize(
    ("words", "code"),
    [(["3/10", "a", "b"], 2), (["no id", "3/10"], 2), (["3/10", "--total", "-1"], 2), (["3/10", "--meta", "[1]"], 2)],
)
def test_a_wrong_report_is_refused(file: Path, words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=str(code)):
        raise SystemExit(main(["report", *words]))
    assert capsys.readouterr().err
    assert file.read_bytes() == b""


def test_a_report_needs_a_job_and_a_file_that_can_be_written(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROGRESSKIT_FILE", "/no/such/file")
    assert main(["report", "3/10"]) == 1
    assert capsys.readouterr().err == "progresskit: /no/such/file: No such file or directory\n"
    monkeypatch.delenv("PROGRESSKIT_ID")
    assert main(["report", "3/10"]) == 2
    assert "PROGRESSKIT_ID" in capsys.readouterr().err


# Without `run`.


@pytest.fixture
def kit(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    monkeypatch.setenv("PROGRESSKIT_URL", url)
    monkeypatch.setenv("PROGRESSKIT_FLUSH_SECONDS", str(PATIENCE))
    with closing(Kit(url)) as kit:
        yield kit


def stored(kit: Kit) -> Progress:
    progress = kit.get(ID)
    assert progress is not None
    return progress


def test_the_reports_of_a_script_are_one_run_until_its_end(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", ID, "1/4", "reading", "--unit", "rows", "--meta", '{"a": 1}']) == 0
    first = stored(kit)
    assert (first.state, first.current, first.total, first.unit) == (State.RUNNING, 1, 4, "rows")
    assert main(["report", ID, "--current", "2", "--json"]) == 0
    second = stored(kit)
    assert (second.current, second.total, second.description, second.meta) == (2, 4, "reading", {"a": 1})
    assert second.started_at == first.started_at
    assert capsys.readouterr().out == second.to_json() + "\n"
    assert main(["report", ID, "--done"]) == 0
    assert (stored(kit).state, str(stored(kit).version)) == (State.SUCCEEDED, "1.1.3")
    assert main(["report", ID, "--failed", "A trap of the shell"]) == 1
    assert capsys.readouterr().err == f"progresskit: {ID}: the job has ended\n"
    assert main(["report", ID, "0/2"]) == 0
    assert main(["report", ID, "--failed", "The disk is full"]) == 0
    last = stored(kit)
    assert (last.state, str(last.version)) == (State.FAILED, "2.1.2")
    assert last.redacted().error == Failure("Error", "The disk is full", public=True)


def test_a_report_of_a_waiting_job_begins_it_and_one_of_a_worker_s_job_is_refused(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    Integration(kit).enqueued(ID, kind="backup", owner="ann")
    kit.flush(PATIENCE)
    assert main(["report", ID, "1/4"]) == 0
    assert (stored(kit).kind, stored(kit).owner, str(stored(kit).version)) == ("backup", "ann", "1.1.1")
    with kit.observe(ID, total=9) as job:
        kit.flush(PATIENCE)
        assert main(["report", ID, "2/4"]) == 1
        assert capsys.readouterr().err == f"progresskit: {ID}: a worker reports this job\n"
        assert stored(kit).total == 9
        job.advance()


def test_reports_at_the_same_moment_come_one_after_the_other(kit: Kit) -> None:
    runs = RemoteRuns(kit.backend, kit.publisher)

    def report(number: int) -> None:
        for _ in range(10):
            assert isinstance(runs.report(ID, RemoteReport(1, values={"meta": {"of": number}})), Accepted)

    report(0)
    with ThreadPoolExecutor() as pool:
        deque(pool.map(report, range(2)), maxlen=0)
    assert stored(kit).version.run == 1
    assert stored(kit).version.seq >= 30  # none was lost; one that another has passed at once may be sent twice


def test_a_report_needs_the_backend(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PROGRESSKIT_FLUSH_SECONDS", "0.1")
    assert main(["report", ID, "1/4", "--url", "redis://127.0.0.1:1/0"]) == 3
    assert capsys.readouterr().err
