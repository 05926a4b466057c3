"""Real Celery workers, one of each pool, started when a test first asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from .site import Site
from .worker import PATIENT, start_worker

POOLS = ("prefork", "threads", "solo")


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Give a function that returns the site of a pool, or of a `name` whose worker has options and an environment."""
    known: dict[str, Site] = {}
    with ExitStack() as stack:

        def site(pool: str, name: str = "", env: Mapping[str, str] | None = None, **how: Any) -> Site:
            name = name or pool
            if name not in known:
                folder = tmp_path_factory.mktemp(name)
                worker = start_worker(folder, pool=pool, env=PATIENT | dict(env or {}), **how)
                stack.callback(worker.kill)  # a warm shutdown takes seconds, and nothing runs any more
                known[name] = Site(folder, worker)
                stack.callback(known[name].kit.close)
            return known[name]

        yield site


@pytest.fixture(params=POOLS)
def any_site(request: pytest.FixtureRequest, sites: Callable[..., Site]) -> Site:
    """Give the site of each pool in turn."""
    return sites(request.param)


@pytest.fixture
def prefork(sites: Callable[..., Site]) -> Site:
    """Give the site whose worker has a pool of processes."""
    return sites("prefork")
