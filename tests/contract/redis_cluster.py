"""The cluster of Redis nodes that the contract's tests of a process share."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path

from tests.services.redis import RedisCluster


@cache
def cluster() -> RedisCluster:
    """Start it, on first use; it ends with the process."""
    started = RedisCluster()
    started.start()
    atexit.register(started.stop)
    return started


def on_cluster(folder: Path) -> str:
    """Give its address, with nothing stored."""
    return cluster().fresh()


@contextmanager
def memory_full(url: str) -> Iterator[None]:
    """Leave its nodes no memory for anything more."""
    with ExitStack() as stack:
        for node in cluster().nodes:
            client = stack.enter_context(closing(node.client()))
            client.config_set("maxmemory", 1)
            stack.callback(client.config_set, "maxmemory", 0)
        yield
