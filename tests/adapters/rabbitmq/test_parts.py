"""What decides behind RabbitMQ's streams, without a broker: the broker's time, the order of lists, those who listen."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

from progresskit.backends.changes import Changes
from progresskit.backends.replica import Outcomes, Stamp
from progresskit.progress import State, Write
from progresskit.record_store import Tombstone
from progresskit.testing import external_update, start, update
from progresskit_rabbitmq.clock import CLOSE, BrokerClock
from progresskit_rabbitmq.messages import Message, Sender, unpack
from progresskit_rabbitmq.replica import JournalReplica, Place

# The broker's clock


class Broker:
    """Tells the time in whole seconds; `ahead` is by how much its clock is before the monotonic one."""

    def __init__(self, ahead: float, way: float = 0.002) -> None:
        self.ahead, self.way = ahead, way

    def answer(self, clock: BrokerClock, now: float) -> float:
        """Answer a question that is asked now; return when the answer is there."""
        died, answered = now + self.way, now + 2 * self.way
        clock.sample(now, math.floor(died + self.ahead), answered)
        return answered


@pytest.mark.parametrize("ahead", [0.0, 0.25, 0.499, 0.5, 0.999, 1_764_000_000.7])
def test_the_time_is_known_to_half_a_second_at_once_and_closely_after_few_questions(ahead: float) -> None:
    clock, broker = BrokerClock(), Broker(ahead)
    now = broker.answer(clock, 1_000.3)
    assert abs(clock.at(now) - now - ahead) <= clock.uncertainty <= 0.51
    asked = 1
    while clock.uncertainty > CLOSE:
        now = broker.answer(clock, now + clock.pause(now))
        asked += 1
    assert abs(clock.at(now) - now - ahead) <= CLOSE
    assert asked <= 8


def test_clocks_that_run_apart_are_followed() -> None:
    clock, broker, now = BrokerClock(), Broker(5.3), 0.0
    draw = random.Random(1)
    for _ in range(1_000):
        now += clock.pause(now)
        broker.ahead += 60 * 5e-5
        broker.way = draw.uniform(0.0005, 0.01)
        now = broker.answer(clock, now)
    assert abs(clock.at(now) - now - broker.ahead) < 2 * CLOSE


def test_a_clock_that_was_set_is_believed() -> None:
    clock, broker = BrokerClock(), Broker(100.4)
    now = broker.answer(clock, 1.0)
    broker.ahead = -3_000.9
    for _ in range(8):
        now = broker.answer(clock, now + clock.pause(now))
    assert abs(clock.at(now) - now - broker.ahead) <= CLOSE


# The order of lists


class Host:
    """A process whose time is wrong by so many seconds, and what it knows."""

    def __init__(self, wrong: float) -> None:
        self.replica = JournalReplica(1_000, Outcomes())
        self.replica.become_ready()
        self.sender = Sender(lambda: Host.now + wrong)

    now = 1_000.0

    def message(self, *writes: Write, forgets: Sequence[Tombstone] = ()) -> Message:
        message = unpack(self.sender.message(Changes(writes, (), forgets)).pack())
        assert message is not None
        return message

    def hear(self, message: Message, offset: int) -> None:
        place = Place(offset, message.sender, message.number)
        self.replica.fold_journal(message, place, own=message.sender == self.sender.name)
        self.sender.note_order(self.replica.order)

    def handle_concurrently(self, message: Message) -> None:
        self.replica.advance(message.changes, message.stamp)
        self.sender.note_order(message.stamp.order)

    def listed(self) -> list[str]:
        return [job.id for job in self.replica.entries.list(None, None, 99, Host.now)]


def replayed(journal: Sequence[Message], concurrent: Sequence[Message]) -> Host:
    """Return one who comes later, and reads the one after the other."""
    late = Host(0.0)
    late.replica.ready = False
    for message in concurrent:
        late.handle_concurrently(message)
    for offset, message in enumerate(journal):
        late.hear(message, offset)
    late.replica.become_ready()
    return late


def test_an_update_is_listed_after_all_that_its_sender_knew() -> None:
    ahead, behind = Host(0.5), Host(-0.5)
    journal = [behind.message(start("old")), ahead.message(start("new"))]
    for offset, message in enumerate(journal):
        for host in (ahead, behind):
            host.hear(message, offset)
    later = behind.message(update("old", 2, run=1))
    for host in (ahead, behind):
        host.handle_concurrently(later)
    for host in (ahead, behind, replayed(journal, [later])):
        assert host.listed() == ["old", "new"]


def test_the_order_of_lists_moves_no_lease_and_no_ttl() -> None:
    ahead, behind = Host(3_600.0), Host(0.0)
    first = ahead.message(start("ahead"))
    behind.hear(first, 1)
    behind.hear(behind.message(start("job", lease=10, ttl=60)), 2)
    assert behind.listed() == ["job", "ahead"]
    entry = behind.replica.entries["job"]
    assert (entry.heard, entry.expires) == (Host.now, Host.now + 60)
    assert entry.order > behind.replica.entries["ahead"].order


def test_an_old_record_that_is_read_again_does_not_go_before_newer_ones() -> None:
    host, other = Host(0.0), Host(0.0)
    begun = other.message(start("job"))
    keyframe = other.message(update("job", 1))
    host.hear(begun, 1)
    host.hear(other.message(update("job", 2, state=State.FAILED)), 2)
    host.hear(other.message(start("next")), 3)
    host.handle_concurrently(keyframe)
    assert host.listed() == ["next", "job"]


def test_a_message_beside_the_journal_decides_about_no_owner() -> None:
    host, worker = Host(0.0), Host(0.0)
    host.hear(worker.message(external_update("job")), 1)
    host.handle_concurrently(worker.message(update("job", 2, token="other")))
    assert host.replica.entries["job"].stored.state is State.PENDING
    host.hear(worker.message(start("job", token="other")), 2)
    host.handle_concurrently(worker.message(update("job", 2, token="other")))
    assert host.replica.entries["job"].stored.seq == 2


def test_a_message_is_read_as_it_was_written() -> None:
    write = start("job", kind="Zürich", meta={"a": [1, None]})
    tombstone = Tombstone("gone", None, 2, 1, 7)
    message = unpack(Message("a", 7, Stamp(1.5, 2.25), Changes([write], ["other"], [tombstone])).pack())
    assert message == Message("a", 7, Stamp(1.5, 2.25), Changes([write], ["other"], (tombstone,)))


@pytest.mark.parametrize(
    "text",
    [b"", b"nonsense", b"[]", b"{}", b"null", b"\xff", b'[1,"a",1,1.0,[],[]]', b'[1,"a",1,"x",1.0,[],[]]'],
)
def test_what_is_not_understood_is_nothing(text: bytes) -> None:
    assert unpack(text) is None


BAD_ROWS: list[Any] = [
    None,
    [],
    {"id": "bad"},
    ["bad", "start"],
    ["bad", "unknown role", None, 0, 1, 1, "running", None, "{}", 30.0, 60.0],
    ["bad", "start", "token", 0, 1, 1, "unknown state", None, "{}", 30.0, 60.0],
    ["bad", "start", "token", "1", 1, 1, "running", None, "{}", 30.0, 60.0],
    ["bad", "start", "token", 0, 1, 1, "running", None, {"id": "bad"}, 30.0, 60.0],
    ["bad", "start", ["token"], 0, 1, 1, "running", None, "{}", "30", 60.0],
]


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_record_that_cannot_be_read_keeps_nothing_beside_it_from_being_folded(row: Any) -> None:
    good = start("good")
    whole = json.loads(Message("a", 7, Stamp(1.5, 2.25), Changes([good], ["other"])).pack())
    whole[5] = [row, *whole[5], [*whole[5][0], "of a later release"]]
    whole[6] += [None, ["x"]]
    whole[7] += [None, ["x"], ["x", None, "1", 1, 1]]
    assert unpack(json.dumps(whole).encode()) == Message("a", 7, Stamp(1.5, 2.25), Changes([good, good], ["other"]))


# What was forgotten


def test_who_comes_late_finds_no_forgotten_job_whichever_stream_is_read_first() -> None:
    worker, other = Host(0.0), Host(0.0)
    begun, heartbeat = worker.message(start("stalled", lease=20)), worker.message(update("stalled", 1, lease=20))
    ended = worker.message(start("done", state=State.SUCCEEDED))
    for offset, message in enumerate((begun, ended)):
        other.hear(message, offset)
    other.handle_concurrently(heartbeat)
    gone = other.replica.entries.forgettable(["stalled", "done"], Host.now + 20)
    forgotten = other.message(forgets=gone)
    other.hear(forgotten, 2)
    assert other.listed() == []
    for concurrent_first in (True, False):
        late = replayed([begun, ended, forgotten], [heartbeat] if concurrent_first else [])
        late.handle_concurrently(heartbeat)
        assert late.listed() == []


def test_an_end_that_is_sent_again_restores_no_forgotten_job_and_its_next_run_is_taken() -> None:
    host = Host(0.0)
    end = start("job", state=State.FAILED)
    host.hear(host.message(end), 1)
    host.hear(host.message(forgets=host.replica.entries.forgettable(["job"], Host.now)), 2)
    host.hear(host.message(end), 3)
    assert host.listed() == []
    host.hear(host.message(start("job", token="next")), 4)
    host.hear(host.message(update("job", 2, token="next", state=State.FAILED)), 5)
    assert host.replica.entries.read(["job"], Host.now)["job"].version.seq == 2


def test_a_worker_that_returns_to_a_forgotten_job_is_heard() -> None:
    host = Host(0.0)
    host.hear(host.message(start("job", lease=20)), 1)
    forgotten = host.message(forgets=host.replica.entries.forgettable(["job"], Host.now + 20))
    host.hear(host.message(update("job", 2)), 2)
    host.hear(forgotten, 3)
    assert host.listed() == ["job"], "it had returned before"
    host.hear(host.message(forgets=host.replica.entries.forgettable(["job"], Host.now + 90)), 4)
    assert host.listed() == []
    host.hear(host.message(update("job", 2)), 5)
    assert host.listed() == ["job"]
