"""Jobs made of parts on RabbitMQ: processes that receive messages in any order agree, and one that comes late too."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from progresskit.backends.changes import Changes
from progresskit.backends.replica import Outcomes, Stamp
from progresskit.parts import Parts, Report
from progresskit.progress import State
from progresskit.testing import declare, start, update
from progresskit.testing.helpers import read, until
from progresskit.testing.parts import report
from progresskit_rabbitmq import RabbitMQBackend
from progresskit_rabbitmq.messages import Message, Sender, unpack
from progresskit_rabbitmq.replica import JournalReplica, Place
from progresskit_rabbitmq.router import PartRouter, Route

from .gates import Gate

# Without a broker

NAMES = ("a", "b", "c")

ENDS = {"succeed": State.SUCCEEDED, "fail": State.FAILED, "cancel": State.CANCELLED}


class Process:
    """A process that works on parts, and what it knows of those of all."""

    def __init__(self, name: str, journal: list[Message]) -> None:
        self.replica, self.router = JournalReplica(100, Outcomes()), PartRouter()
        self.replica.become_ready()
        self.sender = Sender(lambda: self.now)
        self.name, self.now, self.journal, self.folded = name, 1_000.0, journal, 0
        self.inbox = list[Message]()
        self.tokens = dict[str, str]()
        self.sums = [0]

    def message(self, changes: Changes) -> Message:
        message = unpack(self.sender.message(changes).pack())
        assert message is not None
        return message

    def read_journal(self, most: int = 10**9) -> None:
        for message in self.journal[self.folded : self.folded + most]:
            self.replica.fold_journal(message, Place(self.folded, message.sender, message.number), own=False)
            self.folded += 1
        self.look()

    def take(self, message: Message) -> None:
        self.replica.advance(message.changes, message.stamp)
        self.look()

    def look(self) -> None:
        entry = self.replica.entries.get("album")
        if entry is not None and entry.stored.tally is not None:
            self.sums.append(entry.stored.tally.sum)

    def report(self, each: Report, others: list[Process]) -> None:
        self.now += 1
        stamp = self.sender.stamp()
        routes = self.router.divide([each], self.replica.entries, stamp, ())
        if routes[Route.JOURNAL]:
            self.journal.append(self.message(Changes(reports=routes[Route.JOURNAL])))
            self.read_journal()  # a write returns when the journal has brought it back
        elif beside := [*routes[Route.KEYFRAME], *routes[Route.LIVE]]:
            message = self.message(Changes(reports=beside))
            self.take(message)
            for other in others:
                other.inbox.append(message)
        self.router.note(routes, stamp.time)

    def outcome(self) -> tuple[object, ...]:
        stored = self.replica.entries["album"].stored
        assert stored.tally is not None
        return stored.state, stored.tally.parts, stored.tally.run_token, stored.run


def steps() -> st.SearchStrategy[list[Any]]:
    works = st.tuples(
        st.integers(0, 1), st.sampled_from(NAMES), st.sampled_from(["start", "raise", *ENDS]), st.integers(0, 9_999)
    )
    arrivals = st.tuples(st.integers(0, 2), st.sampled_from(["journal", "inbox", "lost"]), st.integers(0, 3))
    return st.lists(st.one_of(works, works, arrivals), max_size=40)


@given(steps())
def test_processes_agree_however_messages_arrive_and_no_report_lowers_the_sum(history: list[Any]) -> None:
    journal = list[Message]()
    processes = [Process(name, journal) for name in ("worker-1", "worker-2", "viewer")]
    journal.append(processes[0].message(Changes([declare("album", size=len(NAMES), token="declared")])))
    number = count()
    for step in history:
        process, others = processes[step[0]], [each for each in processes if each is not processes[step[0]]]
        match step[1:]:
            case ("journal", most):
                process.read_journal(most)
            case ("inbox", place) if place < len(process.inbox):
                process.take(process.inbox.pop(place))
            case ("lost", place) if place < len(process.inbox):
                del process.inbox[place]
            case (name, "start", value):
                process.tokens[name] = f"{process.name}-{next(number)}"
                process.report(report("album", name, token=process.tokens[name], hundredths=value, age=0.0), others)
            case (name, what, value) if name in process.tokens:
                state = ENDS.get(what, State.RUNNING)
                fields: dict[str, Any] = {"token": process.tokens[name], "is_start": False, "age": 0.01}
                process.report(report("album", name, state, value, **fields), others)
    processes.append(Process("late", journal))
    for process in processes:
        process.read_journal()
        for message in process.inbox:
            process.take(message)
        assert process.sums == sorted(process.sums)
    assert len({process.outcome() for process in processes}) == 1


def test_a_message_that_holds_no_report_or_declaration_spoils_no_other() -> None:
    good, declared = report("album", "a", State.FAILED), declare("album", size=3, token="declared")
    whole = json.loads(Message("a", 7, Stamp(1.5, 2.25), Changes([declared], reports=[good])).pack())
    rows, reports = whole[5], whole[8]
    row, told = rows[0], reports[0]
    rows += [
        [*row[:14], spoiled, None] for spoiled in (7, [], ["t", "3", None, 0.0, False], ["t", -1, None, 0.0, False])
    ]
    reports += [None, [], told[:5], ["album", "b", *told[2:5], "1", *told[6:]], [*told[:7], None, *told[8:]]]
    message = unpack(json.dumps(whole).encode())
    assert message is not None
    assert message.changes == Changes([declared], [], (), [good])


# With a broker


def test_who_comes_when_every_worker_has_gone_sees_all_that_was_counted(
    opened: Callable[..., RabbitMQBackend], url: str
) -> None:
    with closing(RabbitMQBackend(url)) as worker:
        worker.write([declare("album", size=3, unit="pictures", description="Resizing")])
        worker.write_with_reports([], [report("album", name, token=name) for name in "ab"])
        for value in (1_000, 2_000, 3_000):
            worker.write_with_reports([], [report("album", "a", hundredths=value, token="a", is_start=False)])
        worker.write_with_reports([], [report("album", "b", State.SUCCEEDED, token="b", is_start=False)])
        worker.write([start("job")])
        worker.write([update("job", 2, current=2)])
    progress = read(opened(), "album")
    assert (progress.percent, progress.parts) == (43.33, Parts(3, 1, 0, 0, 1))
    assert (progress.unit, progress.description, progress.state) == ("pictures", "Resizing", State.RUNNING)


def test_what_no_stream_has_is_sent_to_who_comes_while_the_part_goes_on(
    opened: Callable[..., RabbitMQBackend],
) -> None:
    worker, late = opened(), opened()
    worker.write_with_reports([declare("album", size=1)], [report("album", "a")])
    worker.write_with_reports([], [report("album", "a", hundredths=4_000, is_start=False)])
    until(lambda: read(late, "album").percent == 40)


def test_a_process_that_has_not_read_the_whole_journal_counts_no_parts(
    opened: Callable[..., RabbitMQBackend], gates: dict[str, Gate]
) -> None:
    early = opened()
    run_token = early.write_with_reports([declare("album", size=2)], [report("album", "a", State.SUCCEEDED)])[1]
    early.write([start("job")])
    gates["first"] = gate = Gate()
    late = opened()
    assert late.read(["album", "job"]).keys() == {"job"}
    gate.open()
    early.write([start("another")])
    until(lambda: "album" in late.read(["album"]))
    assert read(late, "album").parts == Parts(2, 1, 0, 0, 0)
    assert opened().write_with_reports([], [report("album", "b", State.SUCCEEDED)])[1] == run_token
    until(lambda: read(early, "album").state is State.SUCCEEDED)
