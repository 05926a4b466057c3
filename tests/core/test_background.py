"""Where no thread can be started, or none of the ordinary kind: at the interpreter's end, and in subinterpreters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from progresskit import FlushTimeout, Kit, Unsupported, background
from progresskit.memory import MemoryBackend

SECONDS = 60


def run(code: str, tmp_path: Path) -> list[Any]:
    """Run a script, which has to come to its end, and return each line of JSON that it printed."""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert not done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("warm", [False, True], ids=["first-job", "later-job"])
@pytest.mark.timing
def test_a_job_opened_in_a_finalizer_at_the_interpreters_end_hangs_nothing(tmp_path: Path, warm: bool) -> None:
    lines = run(
        f"""
import builtins, json, sys, time
from progresskit import FlushTimeout, Kit, Unsupported
kit = Kit("memory://", flush_seconds=30)
if {warm}:
    kit.observe("before").succeed()
    kit.hub.view(["before"]).get(10)

class Late:
    def __del__(self):
        assert sys.is_finalizing()
        began = time.monotonic()
        with kit.observe("late", total=5) as job:
            job.advance(5)
        try:
            kit.flush()
        except FlushTimeout:
            pass
        try:
            kit.watch("late")
        except Unsupported:
            pass
        kit.close()
        print(json.dumps(time.monotonic() - began), flush=True)

builtins.kept = Late()
""",
        tmp_path,
    )
    assert len(lines) == 1
    assert lines[0] < 10


def test_a_job_opened_in_an_atexit_callback_is_stored(tmp_path: Path) -> None:
    lines = run(
        f"""
import atexit, json
from progresskit import Kit
def late():
    kit = Kit("sqlite:///{tmp_path}/progress.db", flush_seconds=30)
    with kit.observe("late", total=5) as job:
        job.advance(5)
    print(json.dumps([kit.get("late").state, kit.get("late").current]))
atexit.register(late)
""",
        tmp_path,
    )
    assert lines == [["succeeded", 5]]


SUBINTERPRETER = """
import os
import sys
import threading
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
within = '''
import json, sys
sys.path[:0] = PATH
from progresskit import Kit, Unsupported
kit = Kit(URL, flush_seconds=30)
with kit.observe("job", total=3) as job:
    job.advance(3)
done = kit.get("job")
left = kit.observe("left", total=2)
left.advance()
kit.flush(30)
try:
    watched = next(iter(kit.watch("job"))).state
except Unsupported:
    watched = "no thread"
print(json.dumps([done.state, done.current, kit.get("left").current, watched]), flush=True)
'''.replace("PATH", repr(sys.path)).replace("URL", repr(URL))
interpreter = interpreters.create()
problem = getattr(interpreters, "exec", interpreters.run_string)(interpreter, within)
assert problem is None, problem
if sys.version_info < (3, 13):
    os._exit(0)  # it crashes at the end of a subinterpreter that has threads, those of concurrent.futures too
interpreters.destroy(interpreter)
"""


# From 3.12 on what SQLAlchemy 2.1 has compiled refuses to be loaded in an isolated subinterpreter.
@pytest.mark.parametrize("scheme", ["memory", "sqlite"] if sys.version_info < (3, 12) else ["memory"])
def test_an_isolated_subinterpreter_has_jobs_too(tmp_path: Path, scheme: str) -> None:
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/progress.db"}[scheme]
    lines = run(f"URL = {url!r}\n{SUBINTERPRETER}", tmp_path)
    assert lines == [["succeeded", 3, 1, "succeeded" if sys.version_info >= (3, 12) else "no thread"]]


def test_a_process_that_may_start_no_thread_stores_each_job_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    backend = MemoryBackend()
    kit = Kit(backend=backend, flush_seconds=30)
    monkeypatch.setattr(background, "start", refuse)
    job = kit.observe("job", total=3)
    job.advance(2)
    kit.flush()
    assert backend.read(["job"])["job"].current == 2
    job.advance()
    job.succeed()
    assert backend.read(["job"])["job"].percent == 100
    with pytest.raises(Unsupported, match="can't start new thread"):
        kit.hub.view(["job"])
    other = kit.observe("other")
    monkeypatch.undo()
    kit.observe("later").succeed()  # there may be a thread again
    assert "progresskit-publisher" in {thread.name for thread in threading.enumerate()}
    other.advance(7)
    try:
        kit.flush()
    except FlushTimeout as error:
        raise AssertionError("what was opened before is not published") from error
    assert backend.read(["other"])["other"].current == 7
    kit.close()


class Uwsgi(ModuleType):
    """What uWSGI tells a process about it."""

    def __init__(self, master: int, numproc: int, worker: int) -> None:
        super().__init__("uwsgi")
        self.numproc = numproc
        self.masterpid, self.worker_id = lambda: master, lambda: worker


@pytest.mark.parametrize(
    ("uwsgi", "threads"),
    [
        (Uwsgi(master=os.getpid(), numproc=2, worker=0), False),
        (Uwsgi(master=os.getpid(), numproc=1, worker=0), False),
        (Uwsgi(master=1, numproc=2, worker=2), True),
        (Uwsgi(master=1, numproc=2, worker=0), True),
        (Uwsgi(master=0, numproc=2, worker=0), False),
        (Uwsgi(master=0, numproc=2, worker=1), True),
        (Uwsgi(master=0, numproc=1, worker=0), True),
        (ModuleType("uwsgi"), True),
    ],
    ids=["master", "master-of-one", "worker", "mule", "first-of-two", "second-of-two", "single", "another-module"],
)
def test_no_thread_is_started_where_uwsgi_will_fork_its_workers(
    monkeypatch: pytest.MonkeyPatch, uwsgi: ModuleType, threads: bool
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    kit = Kit("memory://", flush_seconds=30)
    with kit.observe("job", total=2) as job:
        job.advance()
        kit.flush()
        record = kit.get("job")
        assert record is not None
        assert record.current == 1
    record = kit.get("job")
    assert record is not None
    assert record.state == "succeeded"
    assert kit.publisher._thread.is_running == threads
    if threads:
        assert next(iter(kit.watch("job"))).done
    else:
        with pytest.raises(Unsupported, match="lazy-apps"):
            next(iter(kit.watch("job")))
    kit.close()
