"""
Run as a script: a job is counted by the processes of pools; prints what it came to as JSON.

The start method of the processes is the argument, or `loky` for those of joblib. This module is what they import.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import stat
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import repeat
from pathlib import Path
from typing import Any

import progresskit
from progresskit.pool import Initializer, ThreadPoolExecutor, initializer

CALLS = 12
EACH = 300
"""How many items `count` counts."""
BARS = 90
"""How many items `count` counts by bars, in its first call."""
UNTIL_KILLED = 57
"""How many items `count_and_die` counts."""


def count(number: int) -> str:
    """Count in each of the ways there are, some in threads of this process."""
    for _ in progresskit.track(range(100)):
        for _ in progresskit.track(range(3)):
            pass
    with progresskit.observe(description=f"call {number}", total=5) as joined, ThreadPoolExecutor(2) as pool:
        for _ in range(100):
            joined.advance()
        list(pool.map(lambda _: progresskit.current().advance(2), range(50)))
    if number == 0:
        count_by_bars()
    return progresskit.current().id


def count_by_bars() -> None:
    """Count by bars, those of a library and hidden ones too; a bar in the body of another one does not count."""
    from tqdm import tqdm as standard

    from progresskit.tqdm import tqdm

    for options in ({"disable": True}, {"file": io.StringIO(), "mininterval": 0, "miniters": 1}):
        for _ in tqdm(range(10), **options):
            for _ in tqdm(range(3), **options):
                pass
        with tqdm(total=100, unit_scale=5, initial=50, **options) as bar:
            bar.update(3)
            bar.update(-1)
            bar.update()
        with progresskit.capture():
            for _ in standard(range(20), **options):
                pass


def count_and_die() -> None:
    """Count by calls, by a bar and by loops; then this process is killed."""
    from progresskit.tqdm import tqdm

    progresskit.current().advance(UNTIL_KILLED - 50)
    by_hand = tqdm(total=100, file=io.StringIO())
    by_hand.update(10)
    by_hand.close()
    for _ in progresskit.track(range(10)):
        pass
    for item in tqdm(range(1_000), file=io.StringIO()):
        if item == 30:
            os.kill(os.getpid(), signal.SIGKILL)


def advance_forever() -> None:
    while True:
        progresskit.current().advance()


def loop_forever() -> None:
    for _ in progresskit.track(repeat(None)):
        pass


ENDLESS = [advance_forever, loop_forever]
"""They count until the job is cancelled."""


def count_in_executor(method: str, arguments: Initializer) -> set[str]:
    context: Any = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context, **arguments) as pool:
        ids = {*pool.map(count, range(CALLS))}
        try:
            pool.submit(count_and_die).result()
        except BrokenProcessPool:
            return ids
    raise AssertionError("no process was killed")


def count_in_pool(method: str, arguments: Initializer) -> set[str]:
    context: Any = multiprocessing.get_context(method)
    with context.Pool(2, maxtasksperchild=3, **arguments) as pool:
        pool.apply_async(count_and_die)
        return {*pool.map(count, range(CALLS), chunksize=1)}


def count_in_joblib(_: str, arguments: Initializer) -> set[str]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    ids = Parallel(n_jobs=2, backend="loky", **arguments)(delayed(count)(number) for number in range(CALLS))
    try:
        Parallel(n_jobs=2, backend="loky", **arguments)([delayed(count_and_die)()])
    except TerminatedWorkerError:
        return {*ids}
    raise AssertionError("no process was killed")


def main(method: str) -> None:
    progresskit.configure("memory://")
    with progresskit.observe("job", cancellable=True) as job:
        arguments = initializer()
        folder = Path(arguments["initargs"][0])
        mode = stat.S_IMODE(folder.stat().st_mode)
        ways = [count_in_joblib] if method == "loky" else [count_in_executor, count_in_pool]
        ids = {id for way in ways for id in way(method, arguments)}
        counted = job.progress
    last = progresskit.get("job")
    assert last is not None
    print(
        json.dumps(
            {
                "ids": [*ids],
                "mode": mode,
                "counted": counted.current,
                "last": last.current,
                "total": last.total,
                "described": (last.description or "").startswith("call "),
                "left": folder.exists(),
            }
        )
    )


if __name__ == "__main__":
    from tests.core import pools  # whose functions have a name that each process can import

    pools.main(sys.argv[1])
