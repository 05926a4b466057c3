"""
The displayed time left, compared with tqdm, rich, alive-progress and the cumulative mean on the same jobs.

Each estimator is the peer's own, driven by a simulated clock: ten times a second, which is our `interval`, it receives
the count. Its time left is counted down until it gives a new one. The displays are compared a hundred times in a job,
at equal distances. The error is the mean absolute difference to the real time left, and the jitter the mean absolute
change of the predicted end from one comparison to the next, both in percent of the time that the job takes. Only the
comparisons at which every estimator shows a time count; `shown` is the share at which one does.

`eta.py --tuning` uses the jobs that the constants of the estimator were tuned on. The promise is about the others.
"""

from __future__ import annotations

import io
import statistics
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

import _rate_profiles as profiles
from alive_progress.utils.timing import fn_simple_eta, gen_simple_exponential_smoothing
from rich.console import Console
from rich.progress import Progress
from tqdm import tqdm

from progresskit.estimate import RateEstimator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _rate_profiles import Job

INTERVAL = 0.1
LOOKS = 100
ERROR_LIMIT, JITTER_LIMIT, SHOWN_AT_LEAST = 25.0, 4.5, 95.0


class Clock:
    """The time of a simulated job."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Estimator(Protocol):
    """Estimates the time left of one job."""

    def see(self, count: int) -> float | None:
        """Receive the count as of now; return a new number of seconds left, or None to keep the one before."""


class Ours:
    """The estimator of the kit, sampled as its publisher does: when the count has changed."""

    def __init__(self, total: int, clock: Clock) -> None:
        self._total, self._clock, self._count = total, clock, 0
        self._estimator = RateEstimator(0, clock())

    def see(self, count: int) -> float | None:
        if count == self._count:
            return None
        self._count = count
        self._estimator.sample(count, self._clock())
        return self._estimator.estimate(self._total).eta


class CumulativeMean:
    """Divides the rest by the mean rate since the job began."""

    def __init__(self, total: int, clock: Clock) -> None:
        self._total, self._clock, self._count = total, clock, 0

    def see(self, count: int) -> float | None:
        if count == self._count:
            return None
        self._count = count
        return (self._total - count) * self._clock() / count


class Tqdm:
    """Tqdm's estimate: an exponential average over its updates."""

    def __init__(self, total: int, clock: Clock) -> None:
        self._total = total
        # Half of its default, so that an interval which is rounded down counts as one.
        self._bar = tqdm(total=total, file=io.StringIO(), mininterval=INTERVAL / 2)
        self._bar.display = lambda **_: None  # the drawing takes most of the time
        self._bar._time = clock
        self._bar.start_t = self._bar.last_print_t = clock()

    def see(self, count: int) -> float | None:
        if count == self._bar.n:
            return None
        self._bar.update(count - self._bar.n)
        shown = self._bar.format_dict
        rate = shown["rate"] or shown["n"] / shown["elapsed"]  # as its format_meter does
        return float((self._total - count) / rate)


class Rich:
    """Rich's estimate: the mean rate of the last 30 seconds."""

    def __init__(self, total: int, clock: Clock) -> None:
        self._progress = Progress(console=Console(file=io.StringIO()), auto_refresh=False, get_time=clock)
        self._task = self._progress.add_task("", total=total)
        self._count = 0

    def see(self, count: int) -> float | None:
        if count == self._count:
            return None
        self._count = count
        self._progress.update(self._task, completed=count)
        left = self._progress.tasks[0].time_remaining
        return None if left is None else float(left)


class AliveProgress:
    """The estimate of alive-progress: its smoothed rate and its smoothed time left, at each frame."""

    def __init__(self, total: int, clock: Clock) -> None:
        self._clock = clock
        # As core/progress.py makes them.
        self._rate = gen_simple_exponential_smoothing(0.3, lambda count, elapsed: count / elapsed)
        self._eta = gen_simple_exponential_smoothing(0.5, fn_simple_eta(total))
        self._rate.send(None)
        self._eta.send(None)

    def see(self, count: int) -> float | None:
        rate = self._rate.send((count, self._clock()))
        return float(self._eta.send((count, rate))) if rate else None


tqdm.monitor_interval = 0  # no thread

ESTIMATORS: dict[str, Callable[[int, Clock], Estimator]] = {
    "progresskit": Ours,
    "cumulative mean": CumulativeMean,
    "tqdm": Tqdm,
    "rich": Rich,
    "alive-progress": AliveProgress,
}


class Score(NamedTuple):
    """How good an estimator is, in percent."""

    error: float
    jitter: float
    shown: float


def watch(job: Job, estimator: Callable[[int, Clock], Estimator]) -> list[float | None]:
    """Return the predicted end at each comparison."""
    clock = Clock()
    each = estimator(job.total, clock)
    ends: list[float | None] = []
    end: float | None = None
    tick = 0
    for look in range(LOOKS):
        at = job.seconds * look / LOOKS
        while (tick + 1) * INTERVAL <= at:
            tick += 1
            clock.now = tick * INTERVAL
            left = each.see(job.done(clock.now))
            if left is not None:
                end = clock.now + left
        ends.append(None if end is None else max(end, at))
    return ends


def judge(job: Job) -> dict[str, Score]:
    """Return the scores of all estimators on this job; none if they never show something together."""
    predicted = {name: watch(job, estimator) for name, estimator in ESTIMATORS.items()}
    common = [look for look in range(LOOKS) if all(ends[look] is not None for ends in predicted.values())]
    if len(common) < 2:
        return {}
    scores = {}
    for name, ends in predicted.items():
        shown = [end for look in common if (end := ends[look]) is not None]
        scores[name] = Score(
            100 * statistics.fmean(abs(end - job.seconds) for end in shown) / job.seconds,
            100 * statistics.fmean(abs(b - a) for a, b in pairwise(shown)) / job.seconds,
            100 * sum(end is not None for end in ends) / LOOKS,
        )
    return scores


def mean(scores: Sequence[Score]) -> Score:
    """Return the mean of each figure."""
    return Score(*map(statistics.fmean, zip(*scores, strict=True)))


def report(found: dict[str, list[dict[str, Score]]]) -> dict[str, Score]:
    """Print the table; return the scores of all families together."""
    print(f"{'error / jitter':15}" + "".join(f"{name:>18}" for name in ESTIMATORS))
    for family, jobs in found.items():
        scores = (mean([job[name] for job in jobs if job]) for name in ESTIMATORS)
        print(f"{family:15}" + "".join(f"{score.error:11.1f} / {score.jitter:4.1f}" for score in scores))
    overall = {name: mean([job[name] for jobs in found.values() for job in jobs if job]) for name in ESTIMATORS}
    print(f"{'all':15}" + "".join(f"{score.error:11.1f} / {score.jitter:4.1f}" for score in overall.values()))
    print(f"{'shown':15}" + "".join(f"{score.shown:17.1f}%" for score in overall.values()))
    return overall


def main(arguments: Sequence[str]) -> int:
    seeds = profiles.TUNING if "--tuning" in arguments else profiles.HELD_OUT
    found = {family: [judge(profiles.make(family, seed)) for seed in seeds] for family in profiles.FAMILIES}
    overall = report(found)
    ours = overall["progresskit"]
    met = [
        ours.error <= ERROR_LIMIT,
        ours.error <= overall["cumulative mean"].error,
        ours.jitter <= JITTER_LIMIT,
        ours.jitter <= overall["alive-progress"].jitter,
        ours.shown >= SHOWN_AT_LEAST,
    ]
    print("met" if all(met) else "MISSED")
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
