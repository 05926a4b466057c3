"""
What every site of queues.py has: the tasks, and a sender that reads on standard input what to send.

Run as a program with the name of a site's module, it reads a line at a time: a command (`send` or `park`), the name of
a task, how many, and its arguments. It answers with the seconds that took, wall-clock and CPU, once all is stored. Its
first line is the command of a worker.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from functools import cache
from importlib import import_module
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from redis.commands.core import Script

WORK = 2_000
"""How long the work for a row is: about 50 µs."""

BLOCK = 50
"""How many rows are timed together."""


def _marks() -> redis.Redis:
    return redis.Redis.from_url(os.environ["BENCH_MARKS"])


STORE = """
redis.call('HSET', KEYS[1], 'record', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', KEYS[1], ARGV[1])
"""
"""What the least that shows the end of a task to viewers would do."""

RECORD = "-" * 500


@cache
def _script() -> Script:
    return redis.Redis.from_url(os.environ["BENCH_RECORDS"]).register_script(STORE)


def noop() -> None:
    """Do nothing; where BENCH_RECORDS is set, store a record of that."""
    if "BENCH_RECORDS" in os.environ:
        _script()(keys=[token_hex(16)], args=[RECORD, 86_400])


def brief() -> None:
    """Work for 10 ms."""
    until = time.thread_time() + 0.01
    while time.thread_time() < until:
        sum(range(WORK))


def gate(number: int) -> None:
    """Keep a worker busy until it is opened; say when it came and when it went, and how much CPU its process had."""
    with _marks() as marks:
        marks.rpush(f"in-{number}", _moment())
        marks.blpop([f"open-{number}"], timeout=120)
        marks.rpush(f"out-{number}", _moment())


def rows(number: int, count: int, reports: int) -> None:
    """
    Work on rows, in blocks, and report each row of every second block, or none.

    Says how much more CPU a second block takes than the one before it, in the median, and how much the other threads
    of the process take, as shares of what this thread takes where nothing keeps it waiting.
    """
    import progresskit

    job = progresskit.current()
    began_at, before, blocks = time.perf_counter(), time.process_time() - time.thread_time(), list[float]()
    total = 2 * count
    for first in range(0, total, BLOCK):
        began, is_second = time.thread_time(), len(blocks) % 2 == 1
        for row in range(first, first + BLOCK):
            sum(range(WORK))
            if reports and is_second:
                job.set_progress(row, total)
        blocks.append(time.thread_time() - began)
    # The others work by the clock: on a busy machine, where this thread has to wait, their share of its CPU would grow.
    others = (time.process_time() - time.thread_time() - before) / (time.perf_counter() - began_at)
    more = statistics.median(second / first - 1 for first, second in zip(blocks[::2], blocks[1::2], strict=True))
    with _marks() as marks:
        marks.rpush(f"cpu-{number}", f"{more} {others}")


def _moment() -> str:
    return f"{os.getpid()} {time.time()} {time.process_time()}"


def as_coroutine(function: Callable[..., None]) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return the task for a queue that executes coroutines."""

    async def call(*arguments: int) -> None:
        if function is gate:  # which waits
            await asyncio.to_thread(function, *arguments)
        else:
            function(*arguments)

    return call


TASKS = {function.__name__: function for function in (noop, brief, gate, rows)}


def main() -> None:
    """Send what is asked for."""
    site = import_module(sys.argv[1])
    print(*site.worker(), sep="\t", flush=True)
    for line in sys.stdin:
        command, task, count, *arguments = line.split()
        send, numbers = getattr(site, command), [int(argument) for argument in arguments]
        began, used = time.perf_counter(), time.process_time()
        for _ in range(int(count)):
            send(task, *numbers)
        seconds = time.perf_counter() - began
        if "PROGRESSKIT_URL" in os.environ:
            import progresskit

            progresskit.flush(60)
        print(seconds, time.process_time() - used, flush=True)


if __name__ == "__main__":
    main()
