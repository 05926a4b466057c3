"""What browsers without JavaScript are shown in the place of a bar."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from progresskit import Kit, Progress, PublicError, State, Version
from progresskit.errors import BackendUnavailable
from progresskit.memory import MemoryBackend
from progresskit.web.fallback import PAUSE_SECONDS, Fallback

ADDRESS = '/progress/~a"b/'


class Backend(MemoryBackend):
    """One whose reads are counted, and fail while it is away."""

    away, reads = False, 0

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        self.reads += 1
        if self.away:
            raise BackendUnavailable("away")
        return super().read(ids)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def kit(backend: Backend) -> Iterator[Kit]:
    kit = Kit(backend=backend)
    yield kit
    kit.close()


def test_it_is_the_record_as_it_is_now(kit: Kit) -> None:
    with kit.observe("a", total=4) as job:
        job.advance()
        kit.flush()
        html = Fallback().html(kit, "a", ADDRESS)
    assert html.startswith('<noscript><span class="progresskit" data-job="a" data-state="running">')
    assert "1 of 4" in html
    assert "Last report <time" in html


def test_a_record_that_is_given_is_shown_and_nothing_is_read(kit: Kit, backend: Backend) -> None:
    record = Progress("a", State.RUNNING, Version(1, 1, 1), current=3, total=10)
    assert "3 of 10" in Fallback().html(kit, "a", ADDRESS, record)
    assert backend.reads == 0


def test_the_message_of_an_error_is_withheld_as_everywhere(kit: Kit) -> None:
    kit.observe("a").fail(ValueError("password=1"))
    kit.observe("b").fail(PublicError("row 3 is empty"))
    kit.flush()
    assert "password" not in Fallback().html(kit, "a", ADDRESS)
    assert "row 3 is empty" in Fallback().html(kit, "b", ADDRESS)


def test_an_event_loop_is_not_blocked_and_a_link_is_shown(kit: Kit, backend: Backend) -> None:
    async def render(**record: Any) -> str:
        return Fallback().html(kit, "a", ADDRESS, **record)

    link = '<noscript><a class="progresskit-link" href="/progress/~a&quot;b/?as=html">Show the progress</a></noscript>'
    assert asyncio.run(render()) == link
    assert backend.reads == 0
    assert "<progress" in asyncio.run(render(record=Progress("a", State.RUNNING, Version(1, 1, 1))))


def test_a_page_of_many_bars_waits_once_for_a_backend_that_is_away(kit: Kit, backend: Backend) -> None:
    now = 100.0
    fallback = Fallback(lambda: now)
    backend.away = True
    assert all("Show the progress" in fallback.html(kit, "a", ADDRESS) for _ in range(10))
    assert backend.reads == 1
    backend.away = False
    now += PAUSE_SECONDS
    assert "No report" in fallback.html(kit, "a", ADDRESS)
