"""Pages without a browser: each asks as the component does, so that many of them cost little."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import uniform
from typing import Any

import httpx

HELD_RETRY_MS = 1_000
"""What a stream says that has found a place; one that has found none says more, and ends."""

SHORT_SECONDS = 1.5
"""A stream that ended sooner had no place: an EventSource opens it again by itself, at the pace that it was told."""


ONCE = httpx.Limits(max_keepalive_connections=0)
"""
A connection is made for each request.

One that is used again may be closed by the server at that moment; browsers then ask once more by themselves.
"""


def client_of(url: str, seconds: float) -> httpx.AsyncClient:
    """Return a client of a site that waits so long for each answer."""
    return httpx.AsyncClient(base_url=url, verify=False, trust_env=False, timeout=seconds, limits=ONCE)


class Visitor:
    """One page with one bar, until its job is done."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self.job: dict[str, Any] = {}
        """The record that it was told last."""
        self.streams = 0
        """How many streams it has opened."""
        self.held = False
        """Whether one of them is open, and stays so."""
        self._retry_ms = 0

    async def run(self) -> None:
        """Look until the job is done."""
        async with client_of(self._url, seconds=120) as client:
            while not self.job.get("done"):
                began = time.monotonic()
                self.streams += 1
                try:
                    await self._stream(client)
                finally:
                    self.held = False
                lived = time.monotonic() - began
                await asyncio.sleep(self._retry_ms / 1_000 if lived < SHORT_SECONDS else uniform(0.2, 0.7))

    async def _stream(self, client: httpx.AsyncClient) -> None:
        async with client.stream("GET", "/progress/events/", params={"key": self._key}) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "retry":
                    self._retry_ms = int(value)
                    self.held = self._retry_ms == HELD_RETRY_MS
                elif name == "data":
                    self.job = json.loads(value)["job"]


@asynccontextmanager
async def visiting(visitors: list[Visitor], within: float = 0) -> AsyncIterator[asyncio.Future[Any]]:
    """Let visitors come within so many seconds, and go at the end; what is given is done when all have seen the end."""

    async def come(visitor: Visitor) -> None:
        await asyncio.sleep(uniform(0, within))
        await visitor.run()

    all_done = asyncio.gather(*map(come, visitors))
    try:
        yield all_done
    finally:
        all_done.cancel()
        with suppress(asyncio.CancelledError):
            await all_done
