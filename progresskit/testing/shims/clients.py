"""Clients of a shim: an HTTP client that checks answers against the OpenAPI description, and a reader of streams."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

import progresskit
from progresskit.testing.helpers import LONGEST_STEP

DESCRIPTION = json.loads(Path(progresskit.__file__).with_name("web").joinpath("openapi.json").read_bytes())


@contextmanager
def described_client(address: str) -> Iterator[httpx.Client]:
    """Give a client for which an answer that the OpenAPI description does not know is a failure."""

    def check(response: httpx.Response) -> None:
        path = "/" + str(response.request.url).removeprefix(address).partition("?")[0]
        answers = answers_described(path, response.request.method)
        if answers is None:
            assert response.status_code in (404, 405)
            return
        described = answers.get(str(response.status_code))
        assert described is not None, f"{path} answers {response.status_code}, which its description does not know"
        content = response.headers.get("Content-Type", "").partition(";")[0]
        assert content in described.get("content", {"": None}), f"{path}: {response.status_code} as {content}"

    with httpx.Client(base_url=address, timeout=60, verify=False, event_hooks={"response": [check]}) as client:
        yield client


def answers_described(path: str, method: str) -> dict[str, Any] | None:
    """Return the answers that an address is described to give; None where there is no such address or method."""
    for pattern, operations in sorted(DESCRIPTION["paths"].items(), key=lambda item: "{" in item[0]):
        if re.fullmatch(pattern.replace("{key}", "[^/]+"), path):
            operation = operations.get("get" if method == "HEAD" else method.lower(), {"responses": {}})
            return {status: _resolved(answer) for status, answer in operation["responses"].items()} or None
    return None


def _resolved(answer: dict[str, Any]) -> dict[str, Any]:
    name = answer.get("$ref", "").rpartition("/")[2]
    resolved: dict[str, Any] = DESCRIPTION["components"]["responses"][name] if name else answer
    return resolved


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end, step = time.monotonic() + seconds, 0.005
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(step)
        step = min(1.1 * step, LONGEST_STEP)
    return True


class Events:
    """Reads a stream, one block at a time."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[dict[str, str]]:
        block: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(":")
            if line:
                block[name] = value.removeprefix(" ")
            elif block:
                yield block
                block = {}

    def next(self, name: str = "data") -> str:
        """Return the value of the next block that has such a line; the others are passed over."""
        return next(block[name] for block in self if name in block)

    def job(self) -> Any:
        return json.loads(self.next())


@contextmanager
def streaming(client: httpx.Client, path: str, **options: Any) -> Iterator[Events]:
    with client.stream("GET", path, **options) as response:
        yield Events(response)


def sent_events(response: httpx.Response) -> list[dict[str, str]]:
    """Return the events of a stream that has ended."""
    return [block for block in blocks(response) if "data" in block or "id" in block]


def blocks(response: httpx.Response) -> list[dict[str, str]]:
    return [
        {line.partition(":")[0]: line.partition(":")[2].strip() for line in block.splitlines()}
        for block in response.text.split("\n\n")
        if block
    ]


def is_refused(response: httpx.Response) -> bool:
    return (
        response.status_code == 404
        and response.headers["Content-Type"] == "application/problem+json"
        and "Retry-After" not in response.headers
        and response.json()["status"] == 404
    )
