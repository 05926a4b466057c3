"""
Random histories of a few jobs, and how one is played to a backend and to the model.

The worlds are small on purpose, two jobs, three tokens, a few numbers: so that late, repeated and contradicting writes
come up in most histories.
"""

from __future__ import annotations

from functools import cache
from itertools import count, product
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.progress import FINAL_STATES, STARTS, State, Write, moment
from progresskit.start_tokens import token_at

from .writes import external_update, start, update

if TYPE_CHECKING:
    from collections.abc import Collection

    from hypothesis.strategies import SearchStrategy

    from progresskit.abc import Backend
    from progresskit.progress import Progress

    from .doubles import FakeClock
    from .model import Model

JOBS = ("a", "b")
TOKENS = ("x", *(token_at(b"one", number << 20)[:-1] for number in (1, 2)))
"""Of two hosts; to each a digit is added, see `renamed`."""
AGES = (0.0, 20.5, 60.25)
LONGEST_AGE = 70.0
LEASES = (20.0, 40.0)
TTLS = (100.0, 200.0)


class Send(NamedTuple):
    """Write a batch."""

    batch: list[Write]


class Again(NamedTuple):
    """Deliver a batch again, by its distance from the last: a heartbeat, a duplicate, or a write out of order."""

    back: int


class Cancel(NamedTuple):
    """Ask jobs to stop."""

    jobs: frozenset[str]


class Forget(NamedTuple):
    """Forget jobs; later writes are of runs that begin afterwards."""

    jobs: frozenset[str]


class Pass(NamedTuple):
    """Let time pass."""

    seconds: float


Step = Send | Again | Cancel | Forget | Pass


def writes(job: str) -> SearchStrategy[Write]:
    """Give any write that a worker, a sender or a supervisor of the job could make, sensible or not."""
    from hypothesis import strategies as st

    return st.one_of(*(st.sampled_from(pool) for pool in pools(job)))


@cache
def pools(job: str) -> tuple[list[Write], list[Write], list[Write]]:
    """Return the writes there are of each role; drawing from a list is many times faster than building each one."""
    number = count(1)

    def details() -> dict[str, Any]:
        # Different from write to write, the same at each call.
        n = next(number)
        return {
            "kind": "kind",
            "current": n,
            "lease": LEASES[n % 2],
            "ttl": TTLS[n // 2 % 2],
            "age": AGES[n // 3 % 3] + n / 1024,  # no two runs begin at the same moment
            "created_at": moment(n % 3),
            "updated_at": moment(n) if n % 5 else None,
            "finished_at": moment(n) if n % 7 else None,
            "rate": n / 4 if n % 3 else None,
        }

    reported = [state for state in State if state is not State.PENDING]
    tries = list(product(TOKENS, (1, 2, 3), (1, 2, 3), reported))
    starts = [
        start(job, token=t, attempt=a, seq=s, state=state, late=n % 2 == 0, role=STARTS[n // 2 % 2], **details())
        for n, (t, a, s, state) in enumerate(tries)
    ]
    updates = [
        update(job, s, token=t, attempt=a, run=1 + n % 3, state=state, late=n % 4 == 0, **details())
        for n, (t, a, s, state) in enumerate(tries)
    ]
    said = (State.PENDING, State.PENDING, *sorted(FINAL_STATES))
    outside = [external_update(job, state, attempt=a, **details()) for state, a in product(said, (1, 2, 3))]
    return starts, updates, [*outside, *(write._replace(late=True) for write in outside if write.state in FINAL_STATES)]


def histories() -> SearchStrategy[list[Step]]:
    """Give lists of steps."""
    from hypothesis import strategies as st

    batch = st.one_of(
        *(st.builds(lambda write: [write], writes(job)) for job in JOBS), st.tuples(*map(writes, JOBS)).map(list)
    )
    steps: SearchStrategy[Any] = st.one_of(
        st.builds(Send, batch),
        st.builds(Send, batch),
        st.builds(Again, st.integers(1, 5)),
        st.builds(Cancel, st.frozensets(st.sampled_from(JOBS), min_size=1)),
        st.builds(Forget, st.frozensets(st.sampled_from(JOBS), min_size=1)),
        # Not divided evenly: an error of a lease shows only while the record still exists.
        st.builds(Pass, st.sampled_from([19.0, 20.0, 21.0, 40.0, 60.0, 200.0])),
    )
    # Hypothesis draws short lists mostly; two of them are long enough to forget, repeat and come late.
    return st.builds(list.__add__, st.lists(steps, max_size=20), st.lists(steps, max_size=20))


def play(history: list[Step], backend: Backend, model: Model, clock: FakeClock, prefix: str) -> None:
    """Do the same to both, under ids that begin with the prefix, and compare all that can be seen after each step."""
    names = {job: f"{prefix}-{job}" for job in JOBS}
    ids, sent, forgotten = list(names.values()), list[list[Write]](), 0
    for step in history:
        match step:
            case Pass(seconds):
                clock.advance(seconds)
            case Cancel(jobs):
                asked = [names[job] for job in jobs]
                assert backend.request_cancel(asked) == model.request_cancel(asked), step
            case Forget(jobs):
                asked = [names[job] for job in jobs]
                gone = model.forget(asked)
                assert backend.forget(asked) == gone, step
                if gone:  # a broker without a store ignores writes from before, where others may accept them
                    forgotten += 1
                    sent.clear()
                    clock.advance(LONGEST_AGE)
            case Send(batch):
                sent.append([renamed(write, names, forgotten) for write in batch])
                compare_runs(sent[-1], backend, model)
            case Again(back) if back <= len(sent):
                compare_runs(sent[-back], backend, model)
        assert shown(backend.read(ids)) == shown(model.read(ids)), step
        assert backend.cancel_requested(ids) == model.cancel_requested(ids), step


def renamed(write: Write, names: dict[str, str], forgotten: int = 0) -> Write:
    """Return the write for the job's name in this history, by a worker that began after `forgotten` forgettings."""
    old, new = f'"id":"{write.id}"', f'"id":"{names[write.id]}"'
    token = write.token and f"{write.token}{forgotten}"
    return write._replace(id=names[write.id], token=token, body=write.body.replace(old, new))


def compare_runs(batch: Collection[Write], backend: Backend, model: Model) -> None:
    """Write the batch to both; the runs that the backend returns must be right, and complete for all starts."""
    runs, right = backend.write(list(batch)), model.write(list(batch))
    assert {id: runs[id] for id in runs} == {id: right[id] for id in runs}
    assert {write.id for write in batch if write.role in STARTS} <= set(runs)


def shown(records: dict[str, Progress]) -> dict[str, Any]:
    """Return the visible state, lease included, in a form that distinguishes types of numbers."""
    return {id: (progress.to_json(), progress.lease) for id, progress in records.items()}
