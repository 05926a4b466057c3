"""
Random histories of several processes that write one job at once, and whether the fold can explain the result.

The order of writes is unknown when processes race. So all orders are tried that keep the order within each process: one
of them has to lead, fold by fold, to every answer, to all records that each viewer saw in their order, and to the
stored record in the end.
"""

from __future__ import annotations

import os
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.decoding import decode
from progresskit.progress import FINAL_STATES, Role, Stored, fold

from .helpers import until
from .histories import TOKENS, pools, renamed
from .serving import packed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from progresskit.progress import Write

    from .process import Process

ROUNDS = 4
JOBS = 5
"""How many jobs are written at once in each round; each has a history of its own."""

STEPS = 7

AGES = dict(zip(TOKENS, (3_000.0, 2_000.0, 1_000.0), strict=True))
"""How many seconds ago the runs of these tokens began: so far apart that a race does not change their order."""

EXTERNAL_AGES = (0.0, 10_000.0)
"""The same of external updates that a job has ended."""

PENDING_AGE = 5_000.0

PAUSES = (0.0, 0.0, 0.001, 0.004)
"""Seconds between two steps of a process; a viewer sees something in between, or does not."""

SEED = "PROGRESSKIT_TEST_SEED"
"""The variable that makes the histories of a run that failed come again."""


class Play(NamedTuple):
    """The steps of the processes with one job, their answers, the records seen by viewers, and the stored record."""

    plans: list[list[Any]]
    answers: list[list[Any]]
    chains: list[list[str]]
    last: str


def seed() -> int:
    """Return the seed of the histories."""
    return int(os.environ.get(SEED) or int.from_bytes(os.urandom(4), "big"))


def plan(random: Random, ids: list[str]) -> list[Any]:
    """Return the steps of one process with all jobs: each is an id, a write or None to cancel, and a pause after it."""
    steps: list[Any] = []
    for id in ids:
        mine: list[Any] = []
        for _ in range(random.randint(1, STEPS)):
            chance = random.random()
            if mine and chance < 0.1:
                mine.append(None)
            elif mine and chance < 0.25:
                mine.append(random.choice(mine))  # once more, or late
            else:
                mine.append(renamed(aged(random, random.choice(random.choice(pools("a")))), {"a": id}))
        places = sorted(random.random() for _ in mine)
        steps += [(place, id, write, random.choice(PAUSES)) for place, write in zip(places, mine, strict=True)]
    return [step for _, *step in sorted(steps, key=lambda step: step[0])]


def aged(random: Random, write: Write) -> Write:
    """Return the write with one of the ages."""
    if write.token is not None:
        return write._replace(age=AGES[write.token])
    return write._replace(age=random.choice(EXTERNAL_AGES) if write.state in FINAL_STATES else PENDING_AGE)


def run(random: Random, ids: list[str], writers: Sequence[Process], viewers: Sequence[Process]) -> None:
    """Play one round; the first viewer sees all of it, each other the part after it has joined."""
    plans = [plan(random, ids) for _ in writers]
    viewers[0].ask("watch", ids=ids)
    for process, steps in zip(writers, plans, strict=True):
        process.begin("play", steps=[(id, write and packed(write), pause) for id, write, pause in steps])
    for viewer in viewers[1:]:
        viewer.ask("watch", ids=ids)
    answers = [process.answer() for process in writers]
    reads: list[dict[str, str]] = []

    def play(id: str, chains: Sequence[Sequence[str]] = ()) -> Play:
        mine = [[place for place, step in enumerate(steps) if step[0] == id] for steps in plans]
        return Play(
            [[steps[place] for place in places] for steps, places in zip(plans, mine, strict=True)],
            [[given[place] for place in places] for given, places in zip(answers, mine, strict=True)],
            [[record for record in chain if f'"id":"{id}"' in record] for chain in chains],
            reads[0][id],
        )

    def settled() -> bool:
        reads[:] = [process.ask("read", ids=ids) for process in (*writers, *viewers)]
        return all(read == reads[0] for read in reads) and all(explained(play(id)) for id in ids)

    until(settled, lambda: f"no order of the writes leads to what is read: {reads}, from {plans}, answered {answers}")
    chains = [viewer.ask("seen", last=reads[0]) for viewer in viewers]
    for id in ids:
        found = play(id, chains)
        assert all(chain[-1:] == [found.last] for chain in found.chains), f"not seen to the end: {found}"
        assert explained(found), f"no order of the writes leads to what was seen: {found}"


State = tuple[tuple[int, ...], Stored | None, tuple[int, ...]]
"""The steps taken by each process, the stored record after them, and the length of the chain seen by each viewer."""


def explained(play: Play) -> bool:
    """Return whether there is an order of the steps that leads to all of it."""
    first: State = (0,) * len(play.plans), None, (0,) * len(play.chains)
    end = tuple(len(steps) for steps in play.plans), tuple(len(chain) for chain in play.chains)
    known, waiting = {first}, [first]
    while waiting:
        taken, stored, seen = waiting.pop()
        if (taken, seen) == end and shown(stored) == play.last:
            return True
        for state in following(play, taken, stored, seen):
            if state not in known:
                known.add(state)
                waiting.append(state)
    return False


def following(play: Play, taken: tuple[int, ...], stored: Stored | None, seen: tuple[int, ...]) -> Iterator[State]:
    """Give the states that one more step of each process leads to, if its answer was right there."""
    for number, (steps, answers, place) in enumerate(zip(play.plans, play.answers, taken, strict=True)):
        if place < len(steps):
            after, right = step(stored, steps[place], answers[place])
            if right:
                now = shown(after)
                moved = (
                    place + (place < len(chain) and chain[place] == now)
                    for chain, place in zip(play.chains, seen, strict=True)
                )
                yield (*taken[:number], place + 1, *taken[number + 1 :]), after, tuple(moved)


def step(stored: Stored | None, step: Any, answer: Any) -> tuple[Stored | None, bool]:
    """Return the stored record after a step, and whether the answer was right."""
    _, write, _ = step
    if write is None:
        if stored is None or stored.state in FINAL_STATES:
            return stored, answer is False
        return stored._replace(cancel_requested=True), answer is True
    after, _ = fold(stored, write, 0.0)  # the duration of a play is negligible compared with the ages
    if answer is None:
        return after, write.role is not Role.START
    return after, after is not None and after.run == answer


@cache
def shown(stored: Stored | None) -> str | None:
    """Return the public form of the stored record."""
    return None if stored is None else decode(stored).to_json()
