"""`progresskit serve`, a process of its own beside a site that shares the secret key and the backend with it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

import httpx
import pytest
from flask import Flask, render_template_string
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import progresskit
from progresskit import default_kit
from progresskit.kit import Kit
from progresskit.web import Surface
from progresskit_flask import ProgressKit
from tests.contract.clients import STALL_SECONDS, kept_connection, quickest, streaming
from tests.services.waiting import PATIENCE

from .processes import RUN_SECONDS, environment, run, start

SECRET = "the secret of the site, long enough"


@pytest.fixture
def kit(url: str) -> Iterator[Kit]:
    """Give the kit of the worker, which is this process."""
    kit = Kit(url, secret_key=SECRET, flush_seconds=PATIENCE)
    yield kit
    kit.close()


@contextmanager
def serving(url: str, *arguments: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve, and give the process and what it says first."""
    given = {"PROGRESSKIT_URL": url, "PROGRESSKIT_SECRET_KEY": SECRET} | more
    with start("serve", "--port", "0", *arguments, **given) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said, process.stderr and process.stderr.read()
        yield process, said


@pytest.fixture
def served(url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with serving(url, "--json") as (process, said):
        yield process, json.loads(said)["url"]


def test_it_says_where_it_is(url: str) -> None:
    with serving(url, "--prefix", "/jobs/live") as (_, said):
        found = re.fullmatch(r"Serving progress at (http://127\.0\.0\.1:\d+/jobs/live/) \(Ctrl-C stops it\)\n", said)
        assert found is not None
        assert httpx.get(f"{found[1]}progresskit.js", trust_env=False, timeout=PATIENCE).status_code == 200


def test_a_page_of_flask_is_answered_by_several_that_know_nothing_of_each_other(url: str, kit: Kit) -> None:
    app = Flask("site")
    app.config.update(SECRET_KEY=SECRET, PROGRESSKIT_URL=url)
    ProgressKit(app)
    with app.test_request_context():
        html = render_template_string("{{ progress_bar('import-42', cancel=True) }}")
    default_kit.host_settings({})
    progresskit.configure()
    found = re.search(r'src="/progress/([^/]+)/"', html)
    assert found is not None
    with ExitStack() as stack, kit.observe("import-42", total=4, cancellable=True) as observer:
        sites = [json.loads(stack.enter_context(serving(url, "--json"))[1])["url"] for _ in range(2)]
        kit.flush()
        answers = [httpx.get(f"{site}{found[1]}/", trust_env=False, timeout=PATIENCE) for site in sites]
        assert [answer.json()["total"] for answer in answers] == [4, 4]
        assert answers[0].content == answers[1].content
        assert answers[0].headers["etag"] == answers[1].headers["etag"]
        asked = httpx.post(
            f"{sites[0]}{found[1]}/cancel/", headers={"X-Progresskit": "1"}, trust_env=False, timeout=PATIENCE
        )
        assert asked.status_code == 202
        assert httpx.get(f"{sites[1]}{found[1]}/", trust_env=False, timeout=PATIENCE).json()["cancel_requested"] is True
        observer.succeed()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_whatever_is_open(
    served: tuple[subprocess.Popen[str], str], kit: Kit, number: signal.Signals
) -> None:
    process, address = served
    key = Surface(kit).sign("import-42")
    with (
        kit.observe("import-42") as observer,
        httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client,
    ):
        kit.flush()
        cursor = client.get(f"{key}/").headers["etag"]
        with (
            streaming(client, f"{key}/events/") as events,
            connect(f"{address.replace('http', 'ws')}ws/", proxy=None, open_timeout=PATIENCE) as page,
            held(address, key, cursor) as poll,
        ):
            assert events.job()["id"] == "import-42"
            page.send(json.dumps({"watch": [key]}))
            page.recv(PATIENCE)
            process.send_signal(number)
            assert [block for block in events if "retry" in block] == [{"retry": "1000"}]
            with pytest.raises(ConnectionClosed) as closed:
                page.recv(PATIENCE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code in (1001, 1012)
            assert poll.recv(1_000).startswith(b"HTTP/1.1 304 ")
            assert process.wait(PATIENCE) == 0
        observer.succeed()
    assert process.stderr is not None
    assert process.stderr.read() == ""  # it waits five seconds for what it has not ended, and then says so


@contextmanager
def held(address: str, key: str, cursor: str) -> Iterator[socket.socket]:
    """Open a long poll."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE) as poll:
        head = f"GET /progress/{key}/ HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {cursor}\r\nPrefer: wait=20\r\n\r\n"
        poll.sendall(head.encode())
        yield poll


def test_it_listens_at_a_socket_of_files(url: str, kit: Kit, tmp_path: Path) -> None:
    path = tmp_path / "progress.sock"
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=PATIENCE
    ) as client:
        with serving(url, "--json", "--uds", str(path)) as (process, said):
            assert json.loads(said) == {"uds": str(path), "prefix": "/progress/"}
            assert client.get("/progress/progresskit.js").status_code == 200
            taken = run("serve", "--uds", str(path), PROGRESSKIT_URL=url, PROGRESSKIT_SECRET_KEY=SECRET)
            assert (taken.returncode, "in use" in taken.stderr) == (1, True)
            process.kill()
            process.wait()
        assert path.exists()
        with serving(url, "--uds", str(path)) as (process, said):  # over what the one that was killed has left
            assert said.startswith(f"Serving progress at /progress/ on {path} ")
            assert client.get("/progress/progresskit.js").status_code == 200
            process.terminate()
            assert process.wait(PATIENCE) == 0
        assert not path.exists()


def test_a_port_that_is_taken_is_reported(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run("serve", "--port", port, PROGRESSKIT_URL=url, PROGRESSKIT_SECRET_KEY=SECRET)
    assert ended.returncode == 1
    assert ended.stderr == f"progresskit: cannot listen at 127.0.0.1, port {port}: Address already in use\n"


def test_it_needs_the_key_of_the_site(url: str) -> None:
    ended = run("serve", "--port", "0", PROGRESSKIT_URL=url)
    assert ended.returncode == 2
    assert "PROGRESSKIT_SECRET_KEY" in ended.stderr


def test_it_needs_a_backend_that_others_see() -> None:
    ended = run("serve", "--port", "0", "--url", "memory://", PROGRESSKIT_SECRET_KEY=SECRET)
    assert ended.returncode == 2
    assert "memory://" in ended.stderr


@pytest.mark.parametrize("package", ["uvicorn", "httptools", "itsdangerous"])
def test_a_missing_package_is_reported_with_what_to_install(url: str, package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from progresskit.cli import main; sys.exit(main(['serve']))"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment({"PROGRESSKIT_URL": url, "PROGRESSKIT_SECRET_KEY": SECRET}),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert ended.returncode == 2
    assert 'pip install "progresskit[cli]"' in ended.stderr


# Answers on connections that stay open


@pytest.mark.timing
def test_no_answer_on_a_kept_connection_waits_for_an_acknowledgement(
    served: tuple[subprocess.Popen[str], str], kit: Kit
) -> None:
    path = f"/progress/{Surface(kit).sign('import-42')}/"

    def read_first_event(connection: HTTPConnection) -> None:
        connection.request("GET", f"{path}events/")
        answer = connection.getresponse()
        while not answer.readline().startswith(b"data:"):
            pass

    polls, first_events = [], []
    with kit.observe("import-42"):
        kit.flush()
        for _ in range(4):
            with kept_connection(served[1], path) as (connection, poll):
                polls.append(quickest(poll))
                first_events.append(quickest(partial(read_first_event, connection), 1))
    assert min(polls) < STALL_SECONDS
    assert min(first_events) < STALL_SECONDS


@pytest.mark.timing
def test_no_message_on_a_socket_waits_for_an_acknowledgement(served: tuple[subprocess.Popen[str], str]) -> None:
    numbers = count()
    with connect(f"{served[1].replace('http', 'ws')}ws/", proxy=None, open_timeout=PATIENCE) as page:

        def two_answers() -> None:
            bad = [f"bad {next(numbers)}" for _ in range(2)]
            page.send(json.dumps({"watch": bad}))
            assert [json.loads(page.recv(PATIENCE))["key"] for _ in range(2)] == bad
            page.send(json.dumps({"unwatch": bad}))

        quickest(two_answers)
        assert quickest(two_answers) < STALL_SECONDS


def memory(pid: int) -> int:
    """Return the bytes of memory that a process has in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks /proc how much memory a process has")
def test_a_stranger_makes_it_hold_little(served: tuple[subprocess.Popen[str], str]) -> None:
    process, address = served
    url = httpx.URL(address)
    assert httpx.get(f"{address}progresskit.js", trust_env=False, timeout=PATIENCE).status_code == 200
    before = memory(process.pid)
    with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE) as stranger:
        stranger.sendall(b"GET /progress/ HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with pytest.raises(ConnectionError):
            for _ in range(100):
                stranger.sendall(b"x" * 1_000_000)
    with connect(f"{address.replace('http', 'ws')}ws/", proxy=None, open_timeout=PATIENCE) as stranger_page:
        with suppress(ConnectionClosed):
            for number in range(499):  # and reads nothing of what it is told
                stranger_page.send(json.dumps({"watch": [f"no key! {number}{'x' * 64_000}"]}))
        assert memory(process.pid) - before < 10_000_000


def test_it_serves_its_own_hosts_and_those_it_is_given(url: str) -> None:
    def status(address: str, host: str) -> int:
        headers = {"Host": host}
        return httpx.get(f"{address}progresskit.js", headers=headers, trust_env=False, timeout=PATIENCE).status_code

    with serving(url, "--json", PROGRESSKIT_ALLOWED_HOSTS="www.example.com, .example.org") as (process, said):
        address = json.loads(said)["url"]
        for host in ("localhost", "127.0.0.1:8766", "www.example.com", "progress.example.org"):
            assert status(address, host) == 200, host
        for _ in range(3):
            assert status(address, "evil.example") == 400
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read().count("evil.example") == 1, "it tells which host to allow, and once"
