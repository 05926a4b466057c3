"""
The cost of reporting in a loop, per item, compared with tqdm in the same run.

Each job has an id and is stored in SQLite; a viewer in another process saw it rise, and its last record is exact. The
count is that of the job itself, or of the second one of two declared steps. A round times the bare loop, tqdm and ours
one right after the other; the result is the median over the rounds of our overhead divided by tqdm's. At the end one
job makes a million calls in ten seconds, for its records to be counted.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from _watcher import Watcher
from tqdm import tqdm

from progresskit import Kit, ProgressObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LOOPED = [None] * 40_000_000
CALLED = list(range(3_000_000))
ROUNDS = 5
CALLS, SECONDS = 1_000_000, 10.0
TRACK_LIMIT, CANCELLABLE_LIMIT, ADVANCE_LIMIT, SET_LIMIT = 0.12, 0.16, 0.4, 0.6
STEPS = {"Prepare": 1, "Work": 9}
VERSIONS = range(80, 111)
SEEN_AT_LEAST = 80


def loop(items: Iterable[object]) -> float:
    start = time.perf_counter()
    for _ in items:
        pass
    return time.perf_counter() - start


def advancing(observer: ProgressObserver) -> float:
    start = time.perf_counter()
    for _ in CALLED:
        observer.advance()
    return time.perf_counter() - start


def setting(observer: ProgressObserver) -> float:
    total = len(CALLED)
    start = time.perf_counter()
    for done in CALLED:
        observer.set_progress(done, total)
    seconds = time.perf_counter() - start
    observer.set_progress(total, total)
    return seconds


def advance(kit: Kit, id: str) -> float:
    with kit.observe(id, total=len(CALLED)) as observer:
        return advancing(observer)


def set_progress(kit: Kit, id: str) -> float:
    with kit.observe(id, total=len(CALLED)) as observer:
        return setting(observer)


def track(kit: Kit, id: str) -> float:
    return loop(kit.track(LOOPED, id=id))


def advance_in_step(kit: Kit, id: str) -> float:
    with kit.observe(id, steps=STEPS) as job, job.step("Work", total=len(CALLED)) as step:
        return advancing(step)


def set_progress_in_step(kit: Kit, id: str) -> float:
    with kit.observe(id, steps=STEPS) as job, job.step("Work", total=len(CALLED)) as step:
        return setting(step)


def track_in_step(kit: Kit, id: str) -> float:
    with kit.observe(id, steps=STEPS) as job, job.step("Work"):
        return loop(kit.track(LOOPED))


def track_cancellable(kit: Kit, id: str) -> float:
    return loop(kit.track(LOOPED, id=id, cancellable=True))


def tqdm_loop() -> float:
    return loop(tqdm(LOOPED, file=io.StringIO()))


def tqdm_update() -> float:
    with tqdm(total=len(CALLED), file=io.StringIO()) as bar:
        start = time.perf_counter()
        for _ in CALLED:
            bar.update(1)
        return time.perf_counter() - start


def compare(
    name: str,
    kit: Kit,
    items: Sequence[object],
    ours: Callable[[Kit, str], float],
    peer: Callable[[], float],
    limit: float,
) -> bool:
    overheads, ratios = [], []
    seen = ""
    for round in range(ROUNDS):
        id = f"{name}-{round}".replace(" ", "-")
        with Watcher(kit.settings.url, id) as watcher:
            bare, theirs, mine = loop(items), peer(), ours(kit, id)
            bare = min(bare, loop(items))
        seen = watcher.check(len(items))
        overheads.append((mine - bare) / len(items) * 1e9)
        ratios.append((mine - bare) / (theirs - bare))
    ratio = statistics.median(ratios)
    print(f"{name:23} {statistics.median(overheads):6.1f} ns, {ratio:.3f} of tqdm's, at most {limit}; {seen}")
    return ratio <= limit


def count_versions(kit: Kit) -> bool:
    with Watcher(kit.settings.url, "paced") as watcher, kit.observe("paced", total=CALLS) as observer:
        start = time.perf_counter()
        for batch in range(1, 10_001):
            for _ in range(CALLS // 10_000):
                observer.advance()
            while time.perf_counter() - start < batch * SECONDS / 10_000:
                pass
    watcher.check(CALLS)
    versions, seen = observer.progress.version.seq, len({record["version"] for record in watcher.records})
    print(f"a million calls in ten seconds: {versions} versions (80 to 110), {seen} seen (at least {SEEN_AT_LEAST})")
    return versions in VERSIONS and seen >= SEEN_AT_LEAST


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        kit = Kit(f"sqlite:///{Path(folder, 'progress.db')}")
        met = [
            compare("track", kit, LOOPED, track, tqdm_loop, TRACK_LIMIT),
            compare("track cancellable", kit, LOOPED, track_cancellable, tqdm_loop, CANCELLABLE_LIMIT),
            compare("advance", kit, CALLED, advance, tqdm_update, ADVANCE_LIMIT),
            compare("set_progress", kit, CALLED, set_progress, tqdm_update, SET_LIMIT),
            compare("track in a step", kit, LOOPED, track_in_step, tqdm_loop, TRACK_LIMIT),
            compare("advance in a step", kit, CALLED, advance_in_step, tqdm_update, ADVANCE_LIMIT),
            compare("set_progress in a step", kit, CALLED, set_progress_in_step, tqdm_update, SET_LIMIT),
            count_versions(kit),
        ]
        kit.close()
    print("met" if all(met) else "MISSED")
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
