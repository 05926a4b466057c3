"""A worker process of a group: opens parts in threads, which advance while they wait; prints its seconds of CPU."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from time import process_time, sleep

from progresskit import Kit

THREADS = 16
STEPS = 3


def work(kit: Kit, id: str, name: str) -> None:
    with kit.part(id, name, total=STEPS) as part:
        for _ in range(STEPS):
            sleep(kit.settings.interval)
            part.advance()


def main(url: str, id: str, first: int, count: int) -> None:
    names = [f"chunk-{number:06}" for number in range(first, first + count)]
    with closing(Kit(url)) as kit, ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda name: work(kit, id, name), names))
        kit.flush(60)
    print(process_time())


if __name__ == "__main__":
    _, url, id, first, count = sys.argv
    main(url, id, int(first), int(count))
