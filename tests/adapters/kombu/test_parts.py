"""The decisions behind Kombu's fanout: who is told what, when, and what two who disagree end up with."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit.backends.changes import Changes
from progresskit.backends.replica import Outcome, Stamp
from progresskit.progress import FINAL_STATES, Progress, State, Stored, Write
from progresskit.record_store import Tombstone, tombstones
from progresskit.testing import FakeClock, external_update, start, update
from progresskit_kombu.handler import MessageHandler
from progresskit_kombu.joining import (
    ANSWER_SECONDS,
    DELAYS,
    DISPUTE_DELAYS,
    IDLE_SECONDS,
    LINK_SECONDS,
    PAUSE_SECONDS,
    QUIET_SECONDS,
    Answering,
    Joining,
    LoopbackTimeout,
    Phase,
)
from progresskit_kombu.messages import Act, Message, unpack
from progresskit_kombu.replica import MergingReplica, merge

# Two who disagree

TIMES = (None, "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z")
RECORDS = st.builds(
    Stored,
    run=st.integers(1, 2),
    attempt=st.integers(1, 2),
    seq=st.integers(0, 3),
    token=st.sampled_from([None, "x", "y"]),
    state=st.sampled_from(list(State)),
    body=st.sampled_from(["{}", '{"a":1}']),
    override=st.sampled_from([None, "{}"]),
    created=st.sampled_from(TIMES),
    cancel_requested=st.booleans(),
    opened=st.floats(0, 2e9),  # what is decoded is finite: `decoding`
    restored=st.booleans(),
    born=st.integers(0, 2**53),
    tally=st.none(),  # this backend does not add up parts
)


def version(stored: Stored) -> tuple[int, int, int]:
    return stored.run, stored.attempt, stored.seq


@given(RECORDS, RECORDS)
def test_both_end_up_with_the_same_regardless_of_which_is_asked(one: Stored, other: Stored) -> None:
    assert merge(one, other) == merge(other, one)


@given(RECORDS, RECORDS)
def test_hearing_again_what_was_merged_changes_nothing(one: Stored, other: Stored) -> None:
    merged = merge(one, other)
    for heard in (one, other, merged):
        assert merge(merged, heard) == merged


@given(RECORDS, RECORDS)
def test_no_version_goes_back_and_no_end_of_a_run_is_undone(one: Stored, other: Stored) -> None:
    merged = merge(one, other)
    assert version(merged) >= max(version(one), version(other))
    for side in (one, other):
        if version(side)[:2] == version(merged)[:2] and side.state in FINAL_STATES:
            assert merged.state in FINAL_STATES


class Host:
    """A process: its replica and its clock."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.replica, self.clock = MergingReplica(), clock or FakeClock()

    def fold(self, changes: Changes) -> Outcome:
        return self.replica.fold(changes, Stamp(self.clock(), self.clock()))

    def write(self, writes: Sequence[Write]) -> dict[str, int]:
        return self.fold(Changes(writes)).runs

    def forget(self, id: str) -> set[str]:
        tombstones = self.replica.entries.forgettable([id], self.clock())
        return {*self.fold(Changes(forgets=tombstones)).forgotten}

    def adopt(self, kept: Sequence[Any], forgotten: Sequence[Tombstone] = ()) -> set[str]:
        return self.replica.adopt(kept, forgotten, self.clock())[2]

    def kept(self, ids: Collection[str]) -> list[Any]:
        return self.replica.snapshot(ids, self.clock())

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        return self.replica.entries.read(ids, self.clock())

    def listed(self, kind: str) -> list[Progress]:
        return self.replica.entries.list(kind, None, 9, self.clock())


def host(*writes: Write, clock: FakeClock | None = None) -> Host:
    made = Host(clock)
    for write in writes:
        made.write([write])
    return made


def exchange(one: Host, other: Host) -> None:
    """Let both say what they know until neither knows anything better."""
    for _ in range(4):
        other.adopt(one.kept(one.replica.known()))
        one.adopt(other.kept(other.replica.known()))
    assert not one.adopt(other.kept(other.replica.known()))
    assert not other.adopt(one.kept(one.replica.known()))


def test_two_who_were_notified_in_different_orders_come_to_agree_whatever_was_said() -> None:
    said = [
        external_update("job"),
        start("job", token="x"),
        start("job", token="y"),
        update("job", 5, token="x", current=5),
        external_update("job", State.FAILED),
    ]
    first = host(*said)
    for order in permutations(said):
        one, other = host(*said), host(*order)
        exchange(one, other)
        assert one.read(["job"]) == other.read(["job"])
        assert one.read(["job"])["job"].version >= first.read(["job"])["job"].version


def test_of_two_who_started_at_the_same_moment_one_owns_the_next_run_and_goes_on() -> None:
    x, y = start("job", token="x"), start("job", token="y")
    one, other = host(x, y), host(y, x)
    exchange(one, other)
    for each in (one, other):
        each.write([update("job", 7, token="x", current=1), update("job", 2, token="y", current=2)])
        assert str(each.read(["job"])["job"].version) == "3.1.2"
        assert each.read(["job"])["job"].current == 2


def test_a_write_shows_when_its_sender_takes_another_for_the_owner() -> None:
    here = host(start("job", token="x"), start("job", token="y"))
    there = host(start("job", token="x"))
    write = update("job", 2, token="x")
    assert here.replica.is_disputed(write, there.replica.run_of(write))
    assert not here.replica.is_disputed(write, here.replica.run_of(write))
    assert not here.replica.is_disputed(update("unknown", 2, token="x"), 1)


# What a replica keeps


def test_what_is_reported_is_all_that_there_is_to_know() -> None:
    clock, later = FakeClock(), FakeClock(5.0)
    knows = host(external_update("job", kind="mail"), start("job", kind="mail", lease=20), clock=clock)
    knows.fold(Changes(cancels=["job"]))
    knows.write([external_update("job", State.FAILED)])
    clock.advance(7)
    hears = Host(later)
    exchanged = json.loads(json.dumps(knows.kept(["job", "unknown"])))
    assert hears.adopt(exchanged) == set()
    assert hears.read(["job"]) == knows.read(["job"])
    assert hears.replica.entries.cancel_requested(["job"], later()) == {"job"}
    assert hears.listed("mail") == knows.listed("mail")


def test_lease_and_ttl_of_what_was_reported_run_from_when_the_job_was_heard_of() -> None:
    clock, later = FakeClock(), FakeClock(5.0)
    knows, hears = host(start("job", lease=20, ttl=60), clock=clock), Host(later)
    clock.advance(15)
    hears.adopt(knows.kept(["job"]))
    later.advance(4)
    assert not hears.read(["job"])["job"].stalled
    later.advance(1)
    assert hears.read(["job"])["job"].stalled
    later.advance(40)
    assert hears.read(["job"]) == {}


def send_known(knows: Host, hears: Host, ids: set[str]) -> set[str]:
    """Tell what is known of jobs, as a message does; return those of which more is known there."""
    forgotten = tombstones(json.loads(json.dumps(knows.replica.forgotten(ids))))
    return hears.adopt(knows.kept(ids), forgotten)


def test_who_missed_that_a_job_was_forgotten_brings_it_back_to_nobody_and_forgets_it_too() -> None:
    ends = [start("job"), update("job", 2, state=State.SUCCEEDED)]
    knows, missed, late = host(*ends), host(*ends), host()
    assert knows.forget("job") == {"job"}
    assert send_known(missed, knows, {"job"}) == {"job"}, "it is answered"
    assert knows.read(["job"]) == {}
    for other in (missed, late):
        assert send_known(knows, other, knows.replica.known()) == set()
        assert other.read(["job"]) == {}
    assert send_known(host(*ends), late, {"job"}) == {"job"}, "who came late knows it as well"
    assert late.read(["job"]) == {}


def test_a_worker_that_returned_to_a_forgotten_job_is_not_forgotten_by_who_hears_of_that_later() -> None:
    clock = FakeClock()
    knows, other = (host(start("job", lease=20), clock=clock) for _ in range(2))
    clock.advance(20)
    knows.forget("job")
    other.write([update("job", 2, current=2)])
    assert send_known(knows, other, {"job"}) == {"job"}, "it is answered"
    assert send_known(other, knows, {"job"}) == set()
    assert knows.read(["job"])["job"].current == other.read(["job"])["job"].current == 2


def test_running_jobs_are_reported_before_those_that_are_done_and_those_heard_of_last_first() -> None:
    clock = FakeClock()
    knows = Host(clock)
    for id, state in {"a": State.FAILED, "b": State.RUNNING, "c": State.FAILED, "d": State.RUNNING}.items():
        knows.write([start(id, state=state)])
        clock.advance(1)
    assert [id for id, *_ in knows.kept(knows.replica.known())] == ["d", "b", "c", "a"]


# How one who joins comes to know


def joined(now: float = 0.0) -> Joining:
    joining = Joining(now)
    assert joining.next(now) is Act.PING
    joining.received(now)
    joining.ask(now)
    assert joining.next(now) is Act.HELLO
    joining.received(now)
    joining.hello_returned(now)
    return joining


def test_who_is_alone_knows_it_after_a_quiet_moment() -> None:
    joining = joined()
    phases = []
    for now in (QUIET_SECONDS * 0.9, QUIET_SECONDS):
        assert joining.next(now) is None
        phases.append(joining.phase)
    assert phases == [Phase.WAITING, Phase.CURRENT]


def test_a_whole_answer_is_enough_and_parts_of_one_are_waited_for_but_not_for_ever() -> None:
    joining = joined()
    joining.snapshot_received(True, 0.01)
    assert joining.next(0.01) is None
    assert joining.phase is Phase.CURRENT
    joining, now = joined(), 0.0
    while joining.phase is Phase.WAITING and now < 5:
        joining.snapshot_received(False, now)
        joining.next(now)
        now += 0.05
    assert ANSWER_SECONDS <= now <= ANSWER_SECONDS + 0.11


def test_a_ping_is_repeated_until_it_is_heard_and_given_up_in_the_end() -> None:
    joining, said = Joining(0.0), 0
    with pytest.raises(LoopbackTimeout):
        for step in range(1_000):
            said += joining.next(step * 0.01) is Act.PING
    assert said > 10
    assert joining.phase is Phase.LINKING


@pytest.mark.parametrize("heard", [False, True])
def test_who_hears_nothing_for_long_tries_whether_anything_would_be(heard: bool) -> None:
    joining = joined()
    joining.next(QUIET_SECONDS)
    assert joining.next(QUIET_SECONDS + IDLE_SECONDS) is Act.PING
    late = QUIET_SECONDS + IDLE_SECONDS + LINK_SECONDS
    if heard:
        joining.received(late - 1)
        assert joining.next(late) is None
    else:
        with pytest.raises(LoopbackTimeout):
            joining.next(late)


def test_a_hello_that_is_lost_is_noticed() -> None:
    joining = joined()
    joining.ask(10.0)
    assert joining.next(10.0) is Act.HELLO
    with pytest.raises(LoopbackTimeout):
        joining.next(10.0 + LINK_SECONDS)


def test_many_who_join_at_once_are_answered_together_once() -> None:
    answering = Answering()
    for step in range(20):
        answering.greeted({"a", "b"}, step * DELAYS[1] / 40)
    assert answering.due is not None
    assert answering.take(answering.due) == {"a", "b"}
    assert answering.take(100.0) is None
    answering.greeted({"a"}, 100.0)
    assert answering.due is not None
    first = answering.due
    assert answering.take(first) == {"a"}
    answering.greeted({"a"}, first)
    assert answering.due >= first + PAUSE_SECONDS


def test_what_another_has_reported_is_not_reported_again() -> None:
    answering = Answering()
    answering.greeted({"a", "b", "c"}, 0.0)
    answering.answered(["a", "b"], complete=False)
    assert answering.take(DELAYS[1]) == {"c"}
    answering.greeted({"a"}, 10.0)
    answering.answered(["a"], complete=True)
    assert answering.take(11.0) is None
    answering.greeted((), 20.0)
    assert answering.take(21.0) == set(), "who knows of nothing says that, lest it is waited for"


def test_what_is_known_better_is_said_a_little_later() -> None:
    answering = Answering()
    answering.disputed((), 0.0)
    assert answering.take(1.0) is None
    answering.disputed(["job"], 2.0)
    assert answering.take(2.0 + DISPUTE_DELAYS[0] * 0.9) is None
    assert answering.take(2.0 + DISPUTE_DELAYS[1]) == {"job"}


@pytest.mark.parametrize(
    "damage", [("running", "unknown state"), ("1,1,1", '1,"x",1'), ("\n", " "), ("[", "[["), ("30.0", "null")]
)
def test_what_another_keeps_and_cannot_be_read_keeps_nothing_beside_it_from_being_taken_in(
    damage: tuple[str, str],
) -> None:
    there, here = host(start("good"), start("bad")), host()
    good, bad = (json.loads(json.dumps(there.kept([id])[0])) for id in ("good", "bad"))
    assert damage[0] in bad[2]
    bad[2] = bad[2].replace(*damage)
    for packed in (bad, None, [], ["bad"]):
        message = Message("other", 1, Act.SNAPSHOT, [True, [packed, good], []])
        MessageHandler(here.replica).handle(message, False, 0.0, here.clock())
        assert here.read(["good", "bad"]).keys() == {"good"}


# The rest


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "{}", "null", '[1,"a",1,"unknown",[]]', '[2,"a",1,"ping",[]]', b"\xff"]
)
def test_what_is_not_understood_is_nothing(text: str | bytes) -> None:
    assert unpack(text) is None
    assert unpack(Message("a", 1, Act.PING, None).pack()) == Message("a", 1, Act.PING, None)
