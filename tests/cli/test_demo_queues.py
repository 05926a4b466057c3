"""`progresskit demo --queue`: the same page and jobs with each queue, on a real server; what is missing is named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from redis import Redis

from progresskit.cli import main
from progresskit.cli.demo.queues import QUEUES
from tests.cli.processes import (
    LONG_CSV,
    cancel,
    card_of,
    demo,
    environment,
    follow,
    needs_proc,
    records,
    run,
    until_gone,
    until_running,
)
from tests.services import server
from tests.services.ports import free_port
from tests.services.rabbitmq import RabbitMQ
from tests.services.waiting import PATIENCE

pytestmark = needs_proc

REDIS = "redis://localhost:6379/0"


class Case(NamedTuple):
    """A queue, on a server of that service if it needs one."""

    queue: str
    service: str | None = None

    def __str__(self) -> str:
        return f"{self.queue}-{self.service}" if self.service else self.queue


CASES = [
    Case("rq", "redis"),
    Case("dramatiq", "redis"),
    Case("dramatiq", "rabbitmq"),
    Case("arq", "redis"),
    Case("taskiq", "redis"),
    Case("procrastinate", "postgresql"),
    Case("huey"),
    Case("django-tasks"),
]


def stored(address: str) -> list[str]:
    """Return the names of what is stored at the address of a server."""
    if address.startswith("redis:"):
        with Redis.from_url(address) as client:
            # RQ's maintenance of a server is announced there, for an hour at most.
            return [key.decode() for key in client.scan_iter() if key != b"rq:clean_groups"]
    if address.startswith("postgresql:"):
        with psycopg.connect(address) as connection:
            schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'progresskit-demo-%'")
            return [name for (name,) in schemas]
    broker = server("rabbitmq")
    assert isinstance(broker, RabbitMQ)
    return [queue["name"] for queue in broker.queues(address)]


def test_all_queues_of_the_table_are_tested() -> None:
    assert {case.queue for case in CASES} == QUEUES.keys() - {"celery"}  # test_demo.py has that


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_jobs_of_the_page_run_on_each_queue_which_leaves_nothing(
    case: Case, tmp_path: Path, tiny_library: Path, needs: Callable[[str], None]
) -> None:
    arguments, address = ["--queue", case.queue], None
    if case.service:
        needs(case.service)
        address = server(case.service).fresh().replace("+psycopg", "")
        arguments += ["--broker", address]
    path = f"{tiny_library}{os.pathsep}{environment()['PYTHONPATH']}"
    with demo(tmp_path, *arguments, PYTHONPATH=path) as running:
        title = QUEUES[case.queue].title
        assert f"Real jobs of a real {title} worker" in running.http.get("/").text

        # Two run, and the others wait for their turn; one of those is cancelled before it has come.
        first, second = (running.post("/import/", file=("long.csv", LONG_CSV)) for _ in range(2))
        for path in (first, second):
            until_running(running, path)
        compiled, waiting = running.post("/jobs/compile/"), running.post("/jobs/primes/")
        assert [next(records(running, path))["state"] for path in (compiled, waiting)] == ["pending", "pending"]
        assert address is None or stored(address)
        cancel(running, waiting)
        cancel(running, first)

        failed = follow(running, compiled)[-1]
        assert failed["error"] == {"type": "PublicError", "message": "broken.py, line 2: '(' was never closed"}
        assert (failed["state"], failed["attempt"]) == ("failed", 1)
        assert failed["kind"].endswith("compile_library")
        cancel(running, second)

        imported = follow(running, running.post("/import/", file=("a.csv", b"a,b\n1,2\n")))[-1]
        assert (imported["state"], [step["state"] for step in imported["steps"]]) == ("succeeded", ["succeeded"] * 3)
        assert "<b>1</b> row in <b>2</b> columns" in card_of(running, imported)
        assert running.http.get(f"/jobs/{imported['id']}/table/").status_code == 200

        packed = follow(running, running.post("/jobs/archive/"))[-1]
        size = packed["parts"]["size"]
        assert (packed["state"], packed["current"], packed["parts"]["succeeded"]) == ("succeeded", size, size)

        until_running(running, running.post("/jobs/primes/"))
        processes = running.processes()
        running.process.terminate()
        assert running.process.wait(PATIENCE) == 0
        assert running.process.stderr is not None
        assert running.process.stderr.read() == ""
        until_gone(processes)
    assert list(tmp_path.iterdir()) == []
    assert address is None or stored(address) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--broker", REDIS], "Celery needs no server in the demo, which takes no --broker for it"),
        (["--queue", "rq", "--broker", "amqp://me:secret@localhost"], "amqp://me:***@localhost is no broker of RQ"),
        (["--queue", "rq", "--broker", "redis://me:sec/ret@localhost"], "me:***@localhost: the user, the password"),
    ],
)
def test_a_broker_that_cannot_be_one_is_refused(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *arguments]) == 2
    shown = capsys.readouterr().err
    assert problem in shown
    assert "secret" not in shown.replace("/", "")


def test_a_queue_that_is_not_known_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "--queue", "carrier-pigeon"])
    shown = capsys.readouterr().err
    assert "invalid choice: 'carrier-pigeon'" in shown
    assert all(name in shown for name in QUEUES)


@pytest.mark.parametrize(("queue", "scheme"), [("rq", "redis"), ("procrastinate", "postgresql")])
def test_a_server_that_does_not_answer_is_named(queue: str, scheme: str, tmp_path: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    arguments = ["--queue", queue, "--broker", f"{scheme}://me:secret@{place}"]
    ended = run("demo", "--port", "0", *arguments, TMPDIR=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert f"{QUEUES[queue].title} needs a server, and {scheme}://me:***@{place} cannot be used (" in line
    assert "start it, or name another one with --broker URL" in line
    assert "secret" not in line
    assert list(tmp_path.iterdir()) == []


def test_the_command_for_a_missing_package_brings_all_that_the_queue_needs() -> None:
    code = "import sys; sys.modules['django_tasks_db'] = None; from progresskit.cli import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", code, "demo", "--queue", "django-tasks"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    command = 'pip install "progresskit[demo,django-tasks]" django-tasks-db\n'
    assert f"the demo needs the package django_tasks_db, which is not installed: {command}" in ended.stderr
