"""The model of a job made of parts: random histories against a simple reference, and the rules one by one."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit.decoding import decode
from progresskit.parts import Declaration, Part, Parts, Report, Tally
from progresskit.progress import (
    FINAL_STATES,
    Effect,
    Role,
    State,
    Stored,
    Write,
    ask_to_cancel,
    fold,
    fold_report,
    is_stalled,
    moment,
)
from progresskit.steps import WHOLE
from progresskit.testing import external_update, record, start, update
from progresskit.testing.writes import declare

NOW = 1_700_000_000.0
LEASE = 30.0


class Job:
    """A parent and its parts, as a store keeps them; the clock is advanced by hand."""

    def __init__(self) -> None:
        self.stored: Stored | None = None
        self.parts: dict[str, Part] = {}
        self.now = NOW

    def write(self, write: Write) -> Effect:
        before = self.stored
        self.stored, effect = fold(self.stored, write, self.now)
        assert self.stored is not None
        if before is not None and self.stored.run != before.run:
            self.parts.clear()
        return effect

    def report(self, name: str = "part", state: State = State.RUNNING, hundredths: int = 0, **fields: object) -> Effect:
        return self.take(report(name, state, hundredths, **fields))

    def take(self, report: Report) -> Effect:
        self.stored, part, effect = fold_report(self.stored, self.parts.get(report.name), report, self.now)
        if part is not None:
            self.parts[report.name] = part
        return effect

    def cancel(self) -> None:
        assert self.stored is not None
        self.stored = ask_to_cancel(self.stored, self.now)

    @property
    def tally(self) -> Tally:
        assert self.stored is not None
        assert self.stored.tally is not None
        return self.stored.tally

    def state(self) -> State:
        assert self.stored is not None
        return self.stored.state


def report(name: str, state: State = State.RUNNING, hundredths: int = 0, **fields: object) -> Report:
    known: dict[str, object] = {
        "parent": "job",
        "name": name,
        "token": "worker",
        "run_token": None,
        "state": state,
        "weight": 1,
        "hundredths": hundredths,
        "lease": LEASE,
        "ttl": 3_600.0,
        "is_start": True,
        "created": 1_700_000_000_000,
    }
    return Report(**{**known, **fields})  # type: ignore[arg-type]


@pytest.fixture
def job() -> Job:
    return Job()


# Random histories.


class Attempt(NamedTuple):
    """One start of a part by a worker: what it reports, in this order."""

    name: str
    token: str
    values: tuple[int, ...]
    end: State | None
    weight: int


WEIGHTS = {"a": 1, "b": 3, "c": 1_000_000}
attempts = st.builds(
    Attempt,
    st.sampled_from("abc"),
    st.sampled_from(["one", "two", "three"]),
    st.lists(st.integers(0, WHOLE), min_size=1, max_size=4).map(lambda values: tuple(sorted(values))),
    st.sampled_from([None, *sorted(FINAL_STATES)]),
    st.just(1),
).map(lambda attempt: attempt._replace(weight=WEIGHTS[attempt.name], token=f"{attempt.name}-{attempt.token}"))


def reports_of(attempt: Attempt) -> list[Report]:
    """Return what the worker sends, one after the other; the first is its start."""
    states = [State.RUNNING] * len(attempt.values) + ([attempt.end] if attempt.end else [])
    values = [*attempt.values, attempt.values[-1]]
    return [
        report(attempt.name, state, value, token=attempt.token, weight=attempt.weight, is_start=number == 0)
        for number, (state, value) in enumerate(zip(states, values, strict=False))
    ]


@st.composite
def deliveries(draw: st.DrawFn) -> list[Report]:
    """Draw the reports of some attempts in any order, with repetitions, of which some are lost."""
    sent = [each for attempt in draw(st.lists(attempts, max_size=5)) for each in reports_of(attempt)]
    return draw(st.lists(st.sampled_from(sent), max_size=20)) if sent else []


def check_sums(job: Job) -> None:
    """Compare the sums with those of the parts that are stored, added up anew."""
    tally, parts = job.tally, job.parts.values()
    assert tally.sum == sum(part.weight * part.hundredths for part in parts)
    assert tally.parts[1:] == (
        sum(part.state is State.SUCCEEDED for part in parts),
        sum(part.state is State.FAILED for part in parts),
        sum(part.state is State.CANCELLED for part in parts),
        sum(part.state not in FINAL_STATES for part in parts),
    )


@given(deliveries())
def test_the_sums_are_those_of_the_highest_values_whatever_is_lost_or_repeated(delivered: list[Report]) -> None:
    job = Job()
    job.write(declare("job", size=1_000_004))
    highest: dict[str, int] = {}
    for each in delivered:
        before = job.tally.sum
        job.take(each)
        assert job.tally.sum >= before  # a report never lowers the percent
        check_sums(job)
        succeeded = each.state is State.SUCCEEDED and job.parts[each.name].state is State.SUCCEEDED
        highest[each.name] = max(highest.get(each.name, 0), WHOLE if succeeded else each.hundredths)
    assert {name: part.hundredths for name, part in job.parts.items()} == highest


@given(deliveries())
def test_a_second_delivery_of_all_that_was_delivered_adds_nothing_to_what_succeeded(delivered: list[Report]) -> None:
    job = Job()
    for each in delivered:
        job.take(each)
    succeeded = {name for name, part in job.parts.items() if part.state is State.SUCCEEDED}
    for each in delivered:
        job.take(each._replace(late=True))
    assert succeeded <= {name for name, part in job.parts.items() if part.state is State.SUCCEEDED}
    if delivered:
        check_sums(job)


@given(st.permutations(["a", "b", "c"]), st.data())
def test_each_part_counts_once_in_any_order_of_the_workers(names: list[str], data: st.DataObject) -> None:
    """Three workers whose reports are mixed in any way, each of which keeps the order of its own."""
    job = Job()
    queues = [reports_of(Attempt(name, f"{name}-1", (0, 5_000), State.SUCCEEDED, WEIGHTS[name])) for name in names]
    declared_at = data.draw(st.integers(0, 9), label="declared after so many reports")
    for number in range(10):
        if number == declared_at:
            job.write(declare("job", size=3, weight=1_000_004))
        left = [queue for queue in queues if queue]
        if left:
            job.take(data.draw(st.sampled_from(left)).pop(0))
    assert (job.state(), job.tally.parts[:2], job.tally.running) == (State.SUCCEEDED, (3, 3), 0)


@given(st.data())
def test_the_last_report_of_each_part_is_enough(data: st.DataObject) -> None:
    """All others may be lost: a report holds absolute values."""
    complete, lossy = Job(), Job()
    for job in (complete, lossy):
        job.write(declare("job", size=3))
    for name in "abc":
        end = data.draw(st.sampled_from([None, *sorted(FINAL_STATES)]))
        values = tuple(sorted(data.draw(st.lists(st.integers(0, WHOLE), min_size=1, max_size=3))))
        sent = reports_of(Attempt(name, name, values, end, 1))
        for each in sent:
            complete.take(each)
        lossy.take(sent[-1])
    assert (lossy.state(), lossy.tally.parts, lossy.tally.sum) == (
        complete.state(),
        complete.tally.parts,
        complete.tally.sum,
    )


# The identity of a part.


def test_a_redelivered_part_counts_once_while_both_workers_report(job: Job) -> None:
    job.write(declare("job", size=1))
    job.report(token="first", hundredths=4_000)
    job.now += 60
    job.report(token="second", hundredths=100)
    job.report(token="first", hundredths=6_000, is_start=False, age=60)
    assert (job.parts["part"].token, job.tally.sum, job.tally.running) == ("second", 6_000, 1)
    job.report(token="first", state=State.FAILED, hundredths=6_000, is_start=False, age=61)
    assert job.tally.parts == (1, 0, 0, 0, 1)
    job.report(token="second", state=State.SUCCEEDED, hundredths=9_999, is_start=False)
    assert (job.state(), job.tally.sum) == (State.SUCCEEDED, WHOLE)


def test_succeeded_is_permanent(job: Job) -> None:
    job.report(state=State.SUCCEEDED)
    job.now += 1
    for state in State:
        job.report(state=state, token="later")
        job.report(state=state, token=None)
    assert job.tally.parts == (None, 1, 0, 0, 0)


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_a_part_that_ended_otherwise_may_start_again_until_the_group_is_final(job: Job, state: State) -> None:
    job.write(declare("job", size=2))
    job.report(state=state, hundredths=5_000)
    job.now += 1
    job.report(token="again", hundredths=10)
    assert (job.tally.parts[1:], job.tally.sum) == ((0, 0, 0, 1), 5_000)
    job.report(token="again", state=State.SUCCEEDED, is_start=False)
    job.report("other", State.SUCCEEDED)
    assert job.state() is State.SUCCEEDED
    assert job.report(token="third") is Effect.IGNORED


def test_the_first_weight_of_a_part_holds(job: Job) -> None:
    job.report(weight=2, hundredths=100)
    job.report(weight=9, hundredths=200, is_start=False)
    assert job.tally.sum == 400


def test_a_start_that_is_sent_again_does_not_take_the_part_from_a_later_one(job: Job) -> None:
    job.report(token="first")
    job.now += 10
    job.report(token="second")
    job.report(token="first", state=State.FAILED, late=True, age=10)
    assert job.parts["part"].token == "second"
    assert job.tally.failed == 0


def test_after_a_loss_the_later_of_two_workers_owns_the_part_in_any_order(job: Job) -> None:
    old = report("part", token="old", is_start=False, age=60)
    new = report("part", token="new", is_start=False, age=5)
    for order in ([old, new], [new, old]):
        job.parts.clear()
        job.stored = None
        for each in order:
            job.take(each)
        assert job.parts["part"].token == "new"


def test_an_external_end_concerns_the_start_before_it_and_no_later_one(job: Job) -> None:
    job.report(token="first")
    job.now += 10
    job.report(token="second")
    job.report(token=None, state=State.CANCELLED, age=5)
    assert job.tally.running == 1
    job.report(token=None, state=State.CANCELLED)
    assert (job.tally.running, job.tally.cancelled) == (0, 1)


# Runs.


def test_a_part_of_another_run_adds_nothing(job: Job) -> None:
    job.write(declare("job", size=1, token="first"))
    job.report(state=State.SUCCEEDED, run_token="first")
    assert job.state() is State.SUCCEEDED
    job.now += 1
    job.write(declare("job", size=2, token="second"))
    assert job.report("late", hundredths=9_000, run_token="first") is Effect.IGNORED
    assert job.tally.parts == (2, 0, 0, 0, 0)
    assert job.report("mine", hundredths=9_000, run_token="second") is Effect.APPLIED


def test_while_the_parent_is_final_an_unbound_part_adds_nothing(job: Job) -> None:
    job.write(declare("job", size=0))
    assert job.state() is State.SUCCEEDED
    assert job.report() is Effect.IGNORED
    job.now += 1
    job.write(declare("job", size=1))
    assert job.report() is Effect.APPLIED


def test_parts_before_the_declaration_are_counted_in_its_run(job: Job) -> None:
    job.report("a", hundredths=5_000)
    assert (job.state(), job.tally.hundredths, job.tally.parts) == (State.PENDING, None, (None, 0, 0, 0, 1))
    job.write(declare("job", size=2))
    assert (job.state(), job.tally.hundredths) == (State.RUNNING, 2_500)
    assert job.stored is not None
    assert job.stored.run == 1


def test_parts_before_the_start_of_the_worker_are_counted_in_its_run(job: Job) -> None:
    job.report("a", hundredths=5_000)
    job.write(start("job", token="owner", declaration=Declaration("owner", 4)))
    assert (job.state(), job.tally.hundredths, job.tally.running) == (State.RUNNING, 1_250, 1)
    assert job.stored is not None
    assert (job.stored.run, job.stored.token) == (1, "owner")


def test_a_worker_may_start_after_the_parts_of_a_declared_job(job: Job) -> None:
    job.write(declare("job", size=2))
    job.report("a", hundredths=5_000)
    assert job.state() is State.RUNNING
    job.write(start("job", token="owner"))
    assert job.stored is not None
    assert (job.stored.run, job.tally.sum) == (1, 5_000)


def test_the_next_attempt_keeps_the_parts_and_the_next_run_does_not(job: Job) -> None:
    job.write(start("job", token="first", declaration=Declaration("first", 2)))
    job.report("a", State.SUCCEEDED)
    job.write(start("job", token="second", attempt=2, declaration=Declaration("second", 2)))
    assert job.tally.succeeded == 1
    job.write(update("job", 5, token="second", attempt=2, state=State.FAILED))
    job.write(start("job", token="third", declaration=Declaration("third", 2)))
    assert (job.tally.run_token, job.tally.succeeded) == ("third", 0)


# Declarations.


def test_a_repeated_declaration_opens_nothing_and_changes_nothing(job: Job) -> None:
    job.write(declare("job", size=1, token="one"))
    job.report(state=State.SUCCEEDED)
    ended = job.stored
    assert job.write(declare("job", size=1, token="one")) is Effect.IGNORED
    assert job.stored == ended


def test_a_declaration_changes_size_and_texts_and_never_seq(job: Job) -> None:
    job.write(declare("job", size=10, description="Resizing"))
    job.report("a", State.SUCCEEDED)
    job.now += 1
    job.write(declare("job", size=4, description="Fewer"))
    assert job.stored is not None
    assert (job.tally.hundredths, job.stored.seq, '"description":"Fewer"' in job.stored.body) == (2_500, 0, True)
    job.write(declare("job", size=8))
    assert (job.tally.hundredths, job.tally.declarations) == (1_250, 3)


def test_a_late_declaration_that_is_older_than_the_present_one_changes_nothing(job: Job) -> None:
    job.write(declare("job", size=10, token="first"))
    job.now += 10
    job.write(declare("job", size=4, token="second"))
    job.write(declare("job", size=10, token="first", late=True, age=10))
    assert job.tally.size == 4


def test_a_late_declaration_opens_no_run_over_a_later_one(job: Job) -> None:
    job.write(declare("job", size=0, token="first"))
    job.now += 10
    job.write(declare("job", size=0, token="second"))
    ended = job.stored
    assert job.write(declare("job", size=5, token="first", late=True, age=10)) is Effect.IGNORED
    assert job.stored == ended


def test_a_lower_size_settles_the_group(job: Job) -> None:
    job.report("a", State.SUCCEEDED)
    job.report("b", State.SUCCEEDED)
    assert job.state() is State.PENDING
    job.write(declare("job", size=3))
    assert job.state() is State.RUNNING
    job.write(declare("job", size=1))
    assert (job.state(), job.tally.parts) == (State.SUCCEEDED, (1, 2, 0, 0, 0))


def test_the_texts_of_a_job_with_a_worker_are_those_of_the_worker(job: Job) -> None:
    job.write(start("job", description="Mine"))
    job.write(declare("job", size=3, description="Another"))
    assert job.stored is not None
    assert '"description":"Mine"' in job.stored.body
    assert job.tally.size == 3


# The end of a group.


def test_a_size_of_0_succeeds_at_once(job: Job) -> None:
    job.write(declare("job", size=0))
    assert job.state() is State.SUCCEEDED


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        ((State.SUCCEEDED, State.SUCCEEDED), State.SUCCEEDED),
        ((State.SUCCEEDED, State.CANCELLED), State.CANCELLED),
        ((State.CANCELLED, State.FAILED), State.FAILED),
    ],
)
def test_the_end_follows_from_those_of_the_parts(job: Job, ends: tuple[State, ...], state: State) -> None:
    job.write(declare("job", size=len(ends)))
    for number, end in enumerate(ends):
        assert job.state() not in FINAL_STATES
        job.report(f"part-{number}")
        job.report(f"part-{number}", end, is_start=False)
    assert job.state() is state
    assert job.stored is not None
    assert (job.stored.seq, job.tally.finished_at) == (1, NOW)


def test_more_parts_than_the_size_must_all_end(job: Job) -> None:
    job.write(declare("job", size=1))
    job.report("a")
    job.report("b")
    job.report("a", State.SUCCEEDED, is_start=False)
    assert job.state() is State.RUNNING
    job.report("b", State.SUCCEEDED, is_start=False)
    assert job.state() is State.SUCCEEDED


def test_after_a_request_to_cancel_parts_that_never_started_count_as_cancelled(job: Job) -> None:
    job.write(declare("job", size=5))
    job.report("a", State.SUCCEEDED)
    job.report("b")
    job.cancel()
    assert job.state() is State.RUNNING
    job.report("b", State.CANCELLED, is_start=False)
    assert (job.state(), job.tally.parts) == (State.CANCELLED, (5, 1, 0, 4, 0))


def test_a_group_of_which_no_part_runs_is_cancelled_at_once(job: Job) -> None:
    job.write(declare("job", size=2))
    job.cancel()
    assert (job.state(), job.tally.cancelled) == (State.CANCELLED, 2)


def test_with_an_unknown_size_a_group_never_ends_by_itself(job: Job) -> None:
    job.report("a", State.SUCCEEDED)
    job.cancel()
    assert job.state() is State.PENDING


def test_a_job_with_a_worker_ends_as_the_worker_says(job: Job) -> None:
    job.write(start("job", declaration=Declaration("worker", 1)))
    job.report("a", State.FAILED)
    assert job.state() is State.RUNNING
    job.write(update("job", 2, state=State.SUCCEEDED))
    assert job.state() is State.SUCCEEDED
    assert job.report("b") is Effect.IGNORED


@pytest.mark.parametrize(
    ("size", "state", "parts"),
    [
        (5, State.FAILED, Parts(5, 1, 1 + 2, 1, 0)),
        (5, State.CANCELLED, Parts(5, 1, 1, 2 + 1, 0)),
        (5, State.SUCCEEDED, Parts(5, 1 + 2, 1, 1, 0)),
        (2, State.FAILED, Parts(2, 1, 1 + 2, 0, 0)),
        (None, State.FAILED, Parts(None, 1, 1 + 2, 0, 0)),
    ],
)
def test_an_end_from_outside_is_that_of_running_parts_and_those_that_never_started_are_cancelled(
    job: Job, size: int | None, state: State, parts: Parts
) -> None:
    if size is not None:
        job.write(declare("job", size=size))
    for name, how in (("c", State.RUNNING), ("d", State.RUNNING), ("a", State.SUCCEEDED), ("b", State.FAILED)):
        job.report(name, how)
    job.write(external_update("job", state))
    assert job.stored is not None
    record = decode(job.stored, id="job")
    assert (record.state, record.parts) == (state, parts)
    assert job.report("c", State.SUCCEEDED) is Effect.IGNORED


# Percent, time left, leases.


@pytest.mark.parametrize("order", [("end", "heard"), ("heard", "end")])
def test_a_record_says_when_the_group_ended_whether_a_report_is_heard_before_or_after_that(
    job: Job, order: tuple[str, str]
) -> None:
    # Each process that folds a log may receive the entries of two streams in another order.
    job.write(declare("job", size=2, token="declared"))
    job.report("a", State.SUCCEEDED)
    for entry in order:
        job.now = NOW + (10 if entry == "end" else 11)
        job.report("b" if entry == "end" else "a", State.SUCCEEDED)
    assert job.stored is not None
    record = decode(job.stored, id="job")
    assert (record.state, record.finished_at, record.updated_at) == (
        State.SUCCEEDED,
        moment(NOW + 10),
        moment(NOW + 10),
    )


def test_percent_is_whole_hundredths_rounded_down(job: Job) -> None:
    job.write(declare("job", size=3))
    job.report("a", State.SUCCEEDED)
    assert job.tally.hundredths == 3_333
    job.report("b", hundredths=9_999)
    job.report("c", hundredths=9_999)
    assert job.tally.hundredths == 9_999


def test_weights_count(job: Job) -> None:
    job.write(declare("job", size=2, weight=4))
    job.report("a", State.SUCCEEDED, weight=3)
    assert job.tally.hundredths == 7_500


def test_percent_stays_below_100_before_the_end_whatever_the_weights(job: Job) -> None:
    job.write(declare("job", size=2, weight=1))
    job.report("a", State.SUCCEEDED, weight=1_000_000)
    assert job.tally.hundredths == 9_999


def test_the_time_left_is_at_the_mean_speed_since_the_first_part(job: Job) -> None:
    job.write(declare("job", size=4))
    assert job.tally.seconds_left(job.now) is None
    job.report("a")
    job.now += 30
    job.report("a", State.SUCCEEDED, is_start=False)
    assert job.tally.seconds_left(job.now) == 90


def test_a_group_is_stalled_when_no_part_was_heard_of_for_the_longest_lease(job: Job) -> None:
    job.write(declare("job", size=3))
    assert job.stored is not None
    assert not is_stalled(job.stored, NOW, 1.0, NOW + 1_000)  # it waits for a worker
    job.report("a", lease=10)
    job.report("b", lease=30)
    job.now += 29.9
    assert not is_stalled(job.stored, NOW, 1.0, job.now)
    job.now += 0.1
    assert is_stalled(job.stored, NOW, 1.0, job.now)
    assert job.report("a", lease=10, is_start=False) is Effect.RENEWED
    assert not is_stalled(job.stored, NOW, 1.0, job.now)


def test_the_cursor_follows_the_parts() -> None:
    progress = record("job", tally=Tally("run", size=3, declarations=1, sum=10_100, succeeded=1, running=1))
    assert progress.cursor == f"{progress.life}-1.1.1p1.10100.1.0.0.1"
    assert progress.to_dict()["parts"] == {"size": 3, "succeeded": 1, "failed": 0, "cancelled": 0, "running": 1}
    assert progress.percent == 33.66
    assert record("job", updated_at=moment(NOW)).to_dict()["parts"] is None


def test_a_declaration_is_no_start_of_a_worker() -> None:
    assert declare("job", size=1).role is Role.DECLARE
