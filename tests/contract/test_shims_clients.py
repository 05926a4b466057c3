"""Clients that people have, and what no client should send: every shim of the table answers alike."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

import progresskit
from progresskit.memory import MemoryBackend
from progresskit.testing.shims.jobs import finish, running, stored
from progresskit.web import sign, tokens

from .clients import ask
from .shims import SECRET, Shim

pytestmark = pytest.mark.usefixtures("contract")


@pytest.mark.parametrize("path", ["{key}/events/", "events/?key={key}"])
def test_httpx_sse_reads_a_stream_to_its_end(client: httpx.Client, id: str, key: str, path: str) -> None:
    from httpx_sse import connect_sse

    with running(id) as observer, connect_sse(client, "GET", path.format(key=key)) as source:
        events = (event for event in source.iter_sse() if event.event == "progress")
        assert "running" in next(events).data
        observer.succeed()
        rest = list(events)
    last = json.loads(rest[-1].data)
    assert last.get("job", last) == stored(id).to_dict()
    assert rest[-1].id == ("end" if "?" in path else stored(id).cursor)


def test_curl_reads_a_record_and_follows_a_stream(
    site: str, id: str, key: str, missing_service: Callable[..., NoReturn]
) -> None:
    if shutil.which("curl") is None:
        missing_service("curl")

    def curl(path: str, *options: str) -> subprocess.Popen[str]:
        command = ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", "120", "--noproxy", "*", *options]
        return subprocess.Popen([*command, f"{site}/progress/{path}"], stdout=subprocess.PIPE, text=True)

    with running(id) as observer:
        with curl(f"{key}/", "--compressed") as process:
            assert json.loads(process.communicate()[0]) == stored(id).to_dict()
        with curl(f"{key}/events/") as process:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            assert '"running"' in next(line for line in lines if line.startswith("data:"))
            observer.succeed()
            last = [line for line in lines if line.startswith("data:")][-1]
        assert process.returncode == 0
    assert json.loads(last.removeprefix("data:")) == stored(id).to_dict()
    with curl(f"{sign(id, 'cancel')}/cancel/", "-X", "POST", "-H", "X-Progresskit: 1", "-w", "%{http_code}") as process:
        assert process.communicate()[0].endswith("202")


def test_no_answer_is_outside_of_the_description(site: str, id: str, key: str) -> None:
    progresskit.configure("memory://", max_streams=0, allow_anonymous=True)
    finish(f"{id}-done")
    with running(id):
        keys = [sign(id, "cancel"), sign([id, f"{id}-done"], "cancel"), sign(f"{id}-unknown"), key, id, f"{id}-done"]
        keys.insert(0, sign(f"{id}-reported", "report"))
        command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), f"{site}/progress", *keys]
        process = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert not process.returncode, process.stdout + process.stderr
    answered = json.loads(process.stdout)
    assert {status for statuses in answered.values() for status in statuses} >= {"200", "202", "304", "403", "404"}
    assert answered["PUT /{key}/"].keys() >= {"200", "201", "409"}


# All alike


RAW: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("GET", "/progress/%FF%FE/", {}),
    ("GET", "/progress/?key=%FF&key=%E9&key=a%00b&key=<script>", {}),
    ("GET", "/progress/?%%%&key=%zz", {}),
    ("GET", "/progress/?key=" + "k" * 20_000, {}),
    ("GET", "/progress/?key={key}", {}),
    ("GET", "/progress/?key={key}", {"If-None-Match": '"'}),
    ("GET", "/progress/{key}", {}),
    ("GET", "/progress/{key}/", {"Accept": "text/html;q=\u00bd, application/json;q=nan, */*;q=2;;,,"}),
    ("GET", "/progress/{key}/", {"Accept": "text/*, application/json;q=0.9"}),
    ("GET", "/progress/{key}/", {"Prefer": "wait=-1, wait=1e9;;=, wait=\u00b2"}),
    ("GET", "/progress/{key}/", {"If-None-Match": '"\u00ff", W/, "1.1.2'}),
    ("GET", "/progress/{key}/", {"If-None-Match": "*"}),
    ("GET", "/progress/{key}/events/", {"Last-Event-ID": "\u00ff" * 1000}),
    ("GET", "/progress/{key}/events/?as=html", {}),
    ("GET", "/progress/events/?key={key}&key=bad", {}),
    ("POST", "/progress/{key}/cancel/", {"Origin": "http://["}),
    ("POST", "/progress/{key}/cancel/", {"Origin": "http://\u00e9", "Sec-Fetch-Site": "\u00e9"}),
    ("POST", "/progress/{key}/cancel/", {"X-Progresskit": "1"}),
    ("PUT", "/progress/{key}/", {}),
    ("PUT", "/progress/{key}/", {"X-Progresskit": "1"}),
    ("POST", "/progress/", {}),
    ("TRACE", "/progress/{key}/", {}),
    ("GET", "/progress//{key}/", {}),
    ("GET", "/progress/nothing/here/", {}),
    ("GET", "/progress/openapi.json", {}),
    ("GET", "/progress/progresskit.js", {"If-None-Match": "*"}),
)
STORE, FOREVER = MemoryBackend(), 4_000_000_000
SEEN: dict[int, dict[str, Any]] = {number: {} for number in range(len(RAW))}


@pytest.mark.parametrize("number", range(len(RAW)))
def test_every_shim_answers_alike_even_what_no_client_should_send(shim: Shim, site: str, number: int) -> None:
    progresskit.configure(backend=STORE, max_streams=0)
    if progresskit.get("job") is None:
        finish("job")
    method, path, headers = RAW[number]
    status, listed, body = ask(site, method, path.format(key=tokens.make(SECRET, "job", "watch", FOREVER, 0)), headers)
    assert status < 500
    SEEN[number][shim.name] = (status, listed, body)
    first, *others = SEEN[number].values()
    assert all(other == first for other in others), SEEN[number]
