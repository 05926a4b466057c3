"""`progresskit demo` with a real worker: every kind of job over HTTP, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import pytest
from flask import Flask, request

from progresskit.cli.demo import serving
from progresskit.cli.demo.work import UPLOAD
from progresskit.cli.listener import listen_tcp
from tests.cli.processes import (
    LONG_CSV,
    Demo,
    cancel,
    card_of,
    demo,
    environment,
    follow,
    needs_proc,
    records,
    run,
    start,
    until_gone,
    until_running,
)
from tests.services.waiting import PATIENCE, wait_until

pytestmark = needs_proc

ROWS = 400_000  # some seconds of work, in which a viewer has to come to look


def test_a_file_is_imported_row_by_row(running_demo: Demo) -> None:
    csv = b"id,name\n" + b"".join(b'%d,"No. %d, as one field"\n' % (n, n) for n in range(ROWS - 1))
    seen = follow(running_demo, running_demo.post("/import/", file=("people & more.csv", csv)))
    assert len({record["current"] for record in seen}) >= 3
    last = seen[-1]
    assert (last["state"], last["current"], last["total"], last["unit"]) == ("succeeded", ROWS, ROWS, "rows")
    assert last["kind"] == "import_file"
    assert [(step["name"], step["state"]) for step in last["steps"]] == [
        (name, "succeeded") for name in ("Check", "Store")
    ]
    assert {(record["step"], record["unit"]) for record in seen} >= {(1, "B"), (2, "rows")}
    card = card_of(running_demo, last["id"])
    assert "people &amp; more.csv" in card
    assert f"<b>{ROWS:,}</b> rows in <b>2</b> columns" in card
    assert "<td>No. 0, as one field</td>" in card


def test_a_job_that_fails_half_way_says_why(running_demo: Demo) -> None:
    seen = follow(running_demo, running_demo.post("/compile/"))
    assert len({record["current"] for record in seen}) >= 3
    assert seen[-1]["state"] == "failed"
    assert seen[-1]["error"] == {"type": "PublicError", "message": "broken.py, line 2: '(' was never closed"}
    assert 40 < seen[-1]["percent"] < 60


def test_two_jobs_run_at_once_and_the_third_waits_for_its_turn(running_demo: Demo) -> None:
    first, second = (running_demo.post("/import/", file=("long.csv", LONG_CSV)) for _ in range(2))
    third = running_demo.post("/index/")
    for path in (first, second):
        until_running(running_demo, path)
    assert next(records(running_demo, third))["state"] == "pending"
    cancel(running_demo, first)
    until_running(running_demo, third)
    cancel(running_demo, second)  # from here on it would only take the processor from the others
    indexed = follow(running_demo, third)
    assert len({record["current"] for record in indexed}) >= 5
    last = indexed[-1]
    assert (last["state"], last["unit"], last["percent"]) == ("succeeded", "files", 100)
    assert last["current"] == last["total"] > 100
    assert "<code>self</code>" in card_of(running_demo, last["id"])


def test_a_gap_is_found_without_a_total(running_demo: Demo) -> None:
    found = follow(running_demo, running_demo.post("/primes/"))
    assert len({record["current"] for record in found}) >= 10
    assert {record["total"] for record in found} == {None}
    assert found[-1]["state"] == "succeeded"
    assert "Between <b>4,652,353</b> and <b>4,652,507</b>" in card_of(running_demo, found[-1]["id"])


def test_a_job_made_of_parts_is_shared_by_the_processes_of_the_worker(running_demo: Demo) -> None:
    seen = follow(running_demo, running_demo.post("/archive/"))
    assert len({record["percent"] for record in seen}) >= 3
    last = seen[-1]
    size = last["parts"]["size"]
    assert (last["state"], last["current"], last["total"], last["unit"]) == ("succeeded", size, size, "archives")
    archives = [*running_demo.folder.glob("*/*/*.tar.xz")]
    assert len(archives) == size > 10
    assert f"<b>{last['meta']['files']:,}</b> files" in card_of(running_demo, last["id"])


def test_finished_jobs_are_cleared_with_their_files_and_running_ones_stay(running_demo: Demo) -> None:
    before = {*running_demo.folder.glob("*/*/")}
    done = follow(running_demo, running_demo.post("/import/", file=("a.csv", b"a,b\n1,2\n")))[-1]["id"]
    (folder,) = {*running_demo.folder.glob("*/*/")} - before
    assert (folder / UPLOAD).exists()
    path = running_demo.post("/import/", file=("long.csv", LONG_CSV))
    until_running(running_demo, path)
    left = running_demo.http.post("/clear/").text
    assert (left.count("<article"), "long.csv" in left) == (1, True)
    assert not folder.exists()
    assert card_of(running_demo, done) == ""
    cancel(running_demo, path)


def test_what_cannot_be_imported_is_refused_in_words(running_demo: Demo) -> None:
    large = running_demo.http.post("/import/", files={"file": ("large.csv", b"x" * (101 * 2**20))}, timeout=60)
    assert large.status_code == 413
    assert "The file is too large: this demo takes up to 100 MiB." in large.text
    missing = running_demo.http.post("/import/", files={"file": ("", b"")})
    assert missing.status_code == 400
    assert "Choose a file first." in missing.text
    image = follow(running_demo, running_demo.post("/import/", file=("image.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")))
    assert image[-1]["error"] == {"type": "PublicError", "message": "this is not a text file"}
    assert running_demo.http.post("/unheard-of/").status_code == 404


def test_a_page_elsewhere_can_start_nothing(running_demo: Demo) -> None:
    with running_demo.http.stream("GET", "/") as page:
        assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    del running_demo.http.headers["X-Progresskit"]
    try:
        for headers in ({}, {"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert running_demo.http.post("/primes/", headers=headers).status_code == 403
        answer = running_demo.http.post("/clear/", headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    finally:
        running_demo.http.headers["X-Progresskit"] = "1"


def interrupt_all(process: subprocess.Popen[str]) -> None:
    """Do what a terminal does at Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)


def terminate(process: subprocess.Popen[str]) -> None:
    process.terminate()


def hang_up(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGHUP)


@pytest.mark.parametrize("stop", [interrupt_all, terminate, hang_up])
def test_stopping_with_a_job_running_and_a_stream_open_leaves_no_process_and_no_file(stop: Any, tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        path = running.post("/primes/")
        with running.http.stream("GET", f"{path}events/") as stream:
            lines = stream.iter_lines()
            while not next(lines).startswith("data:"):
                pass
            processes = running.processes()
            assert len(processes) == 4  # the demo, the worker, and its two children
            stop(running.process)
            assert running.process.wait(PATIENCE) == 0
            assert running.process.stderr is not None
            assert running.process.stderr.read() == ""
        until_gone(processes)
        assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_killed_takes_its_worker_and_files_along(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        processes = running.processes()
        running.process.kill()
        until_gone(processes)
        assert list(tmp_path.iterdir()) == []


NEVER_READY = """
import sys, time
if "progresskit.cli.demo.worker" in sys.orig_argv:
    time.sleep(600)
"""


def test_a_demo_that_is_stopped_while_it_starts_leaves_nothing_either(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    (ours / "sitecustomize.py").write_text(NEVER_READY)
    path = f"{ours}{os.pathsep}{environment()['PYTHONPATH']}"
    with start("demo", "--port", "0", TMPDIR=str(theirs), PYTHONPATH=path) as process:
        wait_until(lambda: list(theirs.iterdir()), "the folder is there")
        process.terminate()
        output, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, output, errors) == (0, "", "")
    assert list(theirs.iterdir()) == []


def test_a_demo_whose_worker_dies_says_so_and_ends(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        (worker,) = running.processes() - {running.process.pid} & children(running.process.pid)
        os.kill(worker, signal.SIGKILL)
        assert running.process.wait(PATIENCE) == 1
        assert running.process.stderr is not None
        assert "the worker has ended by itself (exit code -9)" in running.process.stderr.read()
    assert list(tmp_path.iterdir()) == []


def children(pid: int) -> set[int]:
    with suppress(FileNotFoundError):
        return {int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    raise AssertionError("this kernel does not tell the children of a process")


def test_a_port_that_is_taken_is_reported(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        ended = run("demo", "--port", str(taken.getsockname()[1]), TMPDIR=str(tmp_path))
    assert ended.returncode == 1
    assert "Address already in use" in ended.stderr
    assert "--port 0" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing_is_reported_with_the_command_that_brings_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['flask'] = None; from progresskit.cli import main; sys.exit(main(['demo']))"
    ended = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert ended.returncode == 2
    assert 'the demo needs the package flask, which is not installed: pip install "progresskit[demo]"' in ended.stderr


def test_the_page_sends_each_part_of_an_answer_at_once() -> None:
    app, events = Flask("page"), SimpleQueue[str | None]()

    @app.get("/")
    def option() -> str:
        accepted: socket.socket = request.environ["werkzeug.socket"]
        return str(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    with closing(listen_tcp(("127.0.0.1", 0))) as listening, serving(app, listening, events):
        url = "http://{}:{}".format(*listening.getsockname())
        assert httpx.get(url, trust_env=False, timeout=PATIENCE).text == "1"
    assert events.empty()
