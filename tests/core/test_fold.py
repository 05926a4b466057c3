"""The fold, rule by rule as the contract has it, and what has to hold of it whatever comes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progresskit.decoding import decode
from progresskit.progress import (
    FINAL_STATES,
    STARTS,
    Effect,
    Role,
    State,
    Stored,
    Version,
    Write,
    fold,
    life_of,
    moment,
)
from progresskit.start_tokens import token_at
from progresskit.testing import external_update, start, update
from progresskit.testing.histories import writes

FINAL = sorted(FINAL_STATES)
LIVE = [State.RUNNING, State.RETRYING]


NOW = 1_000.0
"""When everything happens here; what began before that has an age."""


def folded(*history: Write, stored: Stored | None = None) -> Stored:
    for write in history:
        stored, _ = fold(stored, write, NOW)
    assert stored is not None
    return stored


def effect(stored: Stored | None, write: Write) -> Effect:
    """Tell what the write does, and check that what is stored changes if and only if it says so."""
    after, effect = fold(stored, write, NOW)
    changed = after if stored is None or after is None else after._replace(opened=stored.opened)
    assert (changed != stored) == (effect is Effect.APPLIED)
    if effect is Effect.IGNORED:
        assert after == stored
    return effect


def version(stored: Stored) -> Version:
    return decode(stored).version


# 1. A start.


def test_a_start_where_nothing_is_stored_is_run_1() -> None:
    assert version(folded(start("job"))) == (1, 1, 1)


def test_a_start_that_comes_late_with_more_news_counts_with_all_of_it() -> None:
    # Its first record could not be stored at once, and what is sent in the end is the newest.
    stored = folded(start("job", seq=7, state=State.SUCCEEDED))
    assert (version(stored), stored.state) == ((1, 1, 7), State.SUCCEEDED)


def test_a_start_goes_on_with_the_run_that_is_pending() -> None:
    stored = folded(external_update("job"), start("job", token="worker"))
    assert (version(stored), stored.token) == ((1, 1, 1), "worker")


def test_a_run_was_created_when_it_was_first_heard_of() -> None:
    sent, begun = moment(1), moment(2)
    stored = folded(
        external_update("job", created_at=sent), start("job", created_at=begun), update("job", 2, created_at=begun)
    )
    assert decode(stored).created_at == sent


@pytest.mark.parametrize("state", LIVE)
def test_a_start_of_a_later_attempt_goes_on_with_the_run(state: State) -> None:
    stored = folded(start("job", state=state), start("job", token="next", attempt=2))
    assert (version(stored), stored.token) == ((1, 2, 1), "next")


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("state", LIVE)
def test_a_start_of_no_later_attempt_is_a_new_run(state: State, attempt: int) -> None:
    stored = folded(start("job", attempt=2, state=state), start("job", token="next", attempt=attempt))
    assert (version(stored), stored.token) == ((2, attempt, 1), "next")


@pytest.mark.parametrize("attempt", [1, 2, 3])
@pytest.mark.parametrize("state", FINAL)
def test_a_start_after_an_end_is_a_new_run_whatever_its_attempt(state: State, attempt: int) -> None:
    stored = folded(start("job", attempt=2, state=state), start("job", token="next", attempt=attempt))
    assert version(stored) == (2, attempt, 1)


def test_the_newest_start_owns_the_record() -> None:
    both = folded(start("job", token="first"), start("job", token="second"))
    for late in (
        update("job", 9, token="first", run=1),
        update("job", 9, token="first", run=2, attempt=9),
        update("job", 9, token="first", state=State.FAILED),
    ):
        assert effect(both, late) is Effect.IGNORED
    assert effect(both, update("job", 2, token="second", run=2)) is Effect.APPLIED


@pytest.mark.parametrize("state", [State.RUNNING, State.RETRYING, *FINAL])
def test_of_two_starts_on_one_host_the_later_one_owns_the_record(state: State) -> None:
    earlier, later = (token_at(b"one", number << 20) for number in (1, 2))
    stored = folded(start("job", token=later, state=state))
    assert effect(stored, start("job", token=earlier)) is Effect.IGNORED
    next_attempt = start("job", token=earlier, attempt=2)  # is later than the one before, whatever the clock says
    assert effect(stored, next_attempt) is (Effect.IGNORED if state in FINAL_STATES else Effect.APPLIED)
    stored = folded(start("job", token=earlier, state=state, age=1))
    assert effect(stored, start("job", token=later, late=True, age=2)) is Effect.APPLIED


def test_a_new_run_keeps_nothing_of_the_one_before() -> None:
    first = folded(external_update("job", created_at=moment(1)), start("job"), external_update("job", State.FAILED))
    stored = folded(start("job", token="next", created_at=moment(5)), stored=first._replace(cancel_requested=True))
    assert (stored.override, stored.cancel_requested, decode(stored).created_at) == (None, False, moment(5))


# 2. A write of the owner.


@pytest.mark.parametrize(("attempt", "seq", "expected"), [
    (1, 3, Effect.APPLIED),
    (1, 9, Effect.APPLIED),
    (2, 1, Effect.APPLIED),
    (1, 2, Effect.RENEWED),
    (1, 1, Effect.IGNORED),
    (0, 9, Effect.IGNORED),
])  # fmt: skip
def test_the_owners_write_is_taken_if_it_is_newer(attempt: int, seq: int, expected: Effect) -> None:
    assert effect(folded(start("job", seq=2)), update("job", seq, attempt=attempt)) is expected


def test_a_heartbeat_restores_a_record_that_is_missing_in_the_run_it_was_given() -> None:
    assert version(folded(update("job", 8, run=3))) == (3, 1, 8)


def test_a_heartbeat_restores_a_record_that_is_pending_only() -> None:
    # The store was emptied, and the sender's update came first.
    assert version(folded(external_update("job"), update("job", 8, run=3))) == (1, 1, 8)


def test_the_last_write_repeated_renews_even_when_it_was_an_end() -> None:
    end = update("job", 2, state=State.SUCCEEDED)
    assert effect(folded(start("job"), end), end) is Effect.RENEWED


# 3. Final is final.


@pytest.mark.parametrize("state", FINAL)
@pytest.mark.parametrize("override", [False, True])
def test_no_late_write_replaces_an_end(state: State, override: bool) -> None:
    end = external_update("job", state) if override else update("job", 3, state=state)
    ended = folded(start("job"), end)
    for late in [
        update("job", 2),
        update("job", 4),
        update("job", 5, attempt=2),
        update("job", 6, token="other", run=9),
        *(update("job", 7, state=other) for other in State if other is not State.PENDING),
        *(external_update("job", other) for other in (State.PENDING, *FINAL)),
    ]:
        assert effect(ended, late) is not Effect.APPLIED, late


# 4. An external update.


def test_pending_is_stored_where_nothing_is() -> None:
    assert decode(folded(external_update("job"))).state is State.PENDING


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
def test_pending_never_replaces_a_run(state: State) -> None:
    assert effect(folded(start("job", state=state)), external_update("job", attempt=2)) is Effect.IGNORED


def test_pending_again_only_renews() -> None:
    assert (
        effect(folded(external_update("job", description="first")), external_update("job", description="second"))
        is Effect.RENEWED
    )


@pytest.mark.parametrize("override", FINAL)
@pytest.mark.parametrize("first", [external_update("job"), *(start("job", state=state) for state in LIVE)])
def test_an_external_end_ends_a_run_that_is_not_final(first: Write, override: State) -> None:
    before = folded(first)
    stored = folded(external_update("job", override), stored=before)
    assert (stored.state, stored.body) == (override, before.body)
    assert version(stored) == version(before)._replace(seq=before.seq + 1)


def test_an_external_end_sets_how_it_ended_and_leaves_what_was_counted() -> None:
    counted = start("job", current=3, total=9, rate=1.0, eta=6.0, description="Reading", meta={"a": 1}, kind="mail")
    progress = decode(
        folded(counted, external_update("job", State.CANCELLED, updated_at=moment(8), finished_at=moment(9)))
    )
    assert (progress.current, progress.total, progress.description) == (3, 9, "Reading")
    assert (progress.meta, progress.kind) == ({"a": 1}, "mail")
    assert (progress.rate, progress.eta) == (None, None)
    assert (progress.updated_at, progress.finished_at) == (moment(8), moment(9))


def test_a_start_after_an_external_end_is_a_new_run() -> None:
    assert version(folded(start("job"), external_update("job", State.FAILED), start("job", token="redelivered"))) == (
        2,
        1,
        1,
    )


# When runs began: an age is subtracted from the time of the store.


@pytest.mark.parametrize(("age", "expected"), [(9, Effect.APPLIED), (10, Effect.APPLIED), (11, Effect.IGNORED)])
def test_an_external_end_counts_unless_the_run_began_after_it_was_made(age: float, expected: Effect) -> None:
    assert effect(folded(start("job", age=10)), external_update("job", State.FAILED, age=age)) is expected


@pytest.mark.parametrize("state", [State.RUNNING, *FINAL])
def test_a_late_start_replaces_no_run_that_began_after_it(state: State) -> None:
    newer = folded(start("job", token="newer", age=10, state=state))
    late = start("job", token="older", age=20, late=True, state=State.SUCCEEDED)
    assert effect(newer, late) is Effect.IGNORED
    assert effect(newer, update("job", 2, token="older", age=20)) is Effect.IGNORED
    assert version(folded(late._replace(age=5), stored=newer)) == (2, 1, 1)
    assert version(folded(late._replace(late=False), stored=newer)) == (2, 1, 1), "who comes at once is the newest"


@pytest.mark.parametrize("age", [5, 50])
def test_a_late_start_goes_on_with_what_is_pending(age: float) -> None:
    stored = folded(external_update("job", age=10), start("job", age=age, late=True))
    assert (version(stored), stored.token) == ((1, 1, 1), "worker")


def test_an_end_that_is_sent_again_does_not_go_on_with_what_was_sent_after_it() -> None:
    sent = folded(external_update("job", age=10))
    assert effect(sent, update("job", 9, age=20, late=True, state=State.FAILED)) is Effect.IGNORED
    assert effect(sent, update("job", 9, age=5, late=True, state=State.FAILED)) is Effect.APPLIED
    assert effect(sent, update("job", 9, age=20)) is Effect.APPLIED, "a live one may have begun before that was said"


@pytest.mark.parametrize("first", [
    update("job", 9, token="older", age=20, late=True, state=State.FAILED),
    update("job", 9, token="older", age=20),
    start("job", token="older", age=20, late=True),
    external_update("job", State.FAILED, age=20),
])  # fmt: skip
def test_what_restored_a_record_gives_way_to_a_run_that_began_later(first: Write) -> None:
    restored = folded(first)
    newer = update("job", 5, token="newer", run=4, age=10)
    assert version(folded(newer, stored=restored)) == (4, 1, 5)
    assert version(folded(newer._replace(run=1), stored=restored)) == (2, 1, 5)
    assert effect(restored, newer._replace(age=30)) is Effect.IGNORED
    assert effect(folded(newer, stored=restored), update("job", 10, token="older", age=20)) is Effect.IGNORED


def test_what_a_start_opened_gives_way_to_starts_only() -> None:
    stored = folded(start("job", token="older", age=20))
    assert effect(stored, update("job", 5, token="newer", run=4, age=10)) is Effect.IGNORED


def test_each_write_of_the_owner_can_only_show_that_its_run_began_earlier() -> None:
    stored = folded(start("job", age=1))
    for write, opened in (
        (update("job", 1, age=3), 997),
        (update("job", 2, age=2), 997),
        (update("job", 3, age=9), 991),
    ):
        stored = folded(write, stored=stored)
        assert stored.opened == opened


def test_a_run_that_is_to_begin_yet_was_stored_before_the_clock_was_set_back() -> None:
    ahead = folded(start("job", age=-3_600))
    assert effect(ahead, external_update("job", State.CANCELLED)) is Effect.APPLIED
    assert effect(ahead, start("job", token="next", late=True)) is Effect.APPLIED
    assert folded(update("job", 1, age=5), stored=ahead).opened == NOW - 5


def test_a_life_begins_with_the_first_run() -> None:
    first = folded(external_update("job", created_at=moment(1)))
    later = folded(
        start("job", created_at=moment(2), state=State.FAILED),
        start("job", token="next", created_at=moment(3)),
        stored=first,
    )
    assert decode(first).life == decode(later).life == life_of(1_000)
    assert life_of(0) == life_of(-5) == "0"
    assert [life_of(35), life_of(36), life_of(36**5 + 1)] == ["z", "10", "100001"]


# What holds whatever comes: any writes at all, in any order.


@given(st.lists(writes("a"), min_size=1, max_size=12), writes("a"))
def test_nothing_late_replaces_what_began_after_it(history: list[Write], write: Write) -> None:
    stored = folded(*history)
    after = folded(write, stored=stored)
    if after.token != stored.token and (write.late or write.role is Role.UPDATE) and stored.state is not State.PENDING:
        assert after.opened >= stored.opened


@given(st.lists(writes("a"), min_size=1, max_size=12), writes("a"))
def test_no_external_end_ends_a_run_that_began_after_it(history: list[Write], write: Write) -> None:
    stored = folded(*history)
    if write.role is Role.EXTERNAL and NOW - write.age < stored.opened and stored.state is not State.PENDING:
        assert effect(stored, write) is not Effect.APPLIED


@given(st.lists(writes("a"), min_size=1, max_size=12))
def test_an_id_is_of_one_life_for_as_long_as_it_is_known(history: list[Write]) -> None:
    assert folded(*history).born == folded(history[0]).born == history[0].created


@given(st.data(), st.integers(2, 4))
def test_of_runs_that_are_restored_in_any_order_the_one_that_began_last_is_there(
    data: st.DataObject, count: int
) -> None:
    sent = [
        [
            start("a", token=f"run-{n}", age=100 - n, late=True),
            update("a", 5, token=f"run-{n}", run=n, age=100 - n, late=True, state=State.FAILED),
            update("a", 4, token=f"run-{n}", run=n, age=100 - n),
        ]
        for n in range(count)
    ]
    delivered = data.draw(st.permutations([write for writes in sent for write in writes]))
    stored = folded(*delivered)
    assert (stored.token, stored.seq, stored.state) == (f"run-{count - 1}", 5, State.FAILED)


@given(st.lists(writes("a"), max_size=12))
@example([external_update("a", attempt=2), start("a", attempt=1)])
def test_the_version_never_goes_back(history: list[Write]) -> None:
    states = [folded(*history[:length]) for length in range(1, len(history) + 1)]
    versions = [version(stored) for stored in states]
    assert versions == sorted(versions)
    for before, after in pairwise(states):
        changed = after._replace(opened=before.opened) != before
        assert version(before) < version(after) if changed else before.opened >= after.opened, "a newer version"


@given(st.lists(writes("a"), min_size=1, max_size=12), writes("a"))
def test_final_is_final_for_its_run(history: list[Write], late: Write) -> None:
    stored = folded(*history)
    after = folded(late, stored=stored)
    if stored.state in FINAL_STATES:
        assert after._replace(opened=stored.opened) == stored or after.run > stored.run


@given(st.lists(writes("a"), max_size=12), writes("a"))
def test_every_write_says_truly_what_it_did_and_does_it_once(history: list[Write], write: Write) -> None:
    stored = folded(*history) if history else None
    effect(stored, write)
    after = folded(write, stored=stored)
    assert effect(after, write) is not Effect.APPLIED


@given(st.lists(writes("a"), min_size=1, max_size=12), writes("a"))
def test_pending_never_changes_what_is_there(history: list[Write], write: Write) -> None:
    pending = write._replace(role=Role.EXTERNAL, token=None, state=State.PENDING)
    assert effect(folded(*history), pending) is not Effect.APPLIED


@given(st.lists(writes("a"), min_size=1, max_size=12), writes("a"), st.booleans())
def test_a_request_to_cancel_and_the_creation_stay_with_their_run(
    history: list[Write], write: Write, asked: bool
) -> None:
    stored = folded(*history)._replace(cancel_requested=asked)
    after = folded(write, stored=stored)
    if after.run == stored.run:
        assert (after.cancel_requested, after.created) == (asked, stored.created)
    else:
        assert not after.cancel_requested


@given(st.lists(writes("a"), min_size=1, max_size=12), writes("a"))
def test_only_the_owner_a_start_or_an_external_end_changes_a_live_run(history: list[Write], write: Write) -> None:
    stored = folded(*history)
    if stored.state is State.PENDING or stored.restored or effect(stored, write) is not Effect.APPLIED:
        return
    assert write.token == stored.token or write.role in STARTS or (write.role is Role.EXTERNAL and write.state.final)


def of_one_owner(token: str = "worker", attempt: int = 1, run: int = 1, end: State | None = None) -> list[Write]:
    """Write as a worker does: a start, some news, perhaps an end."""
    news = [update("a", seq, token=token, attempt=attempt, run=run, current=seq) for seq in (2, 3, 4)]
    ends = [update("a", 5, token=token, attempt=attempt, run=run, current=5, state=end)] if end else []
    return [start("a", token=token, attempt=attempt), *news, *ends]


@given(st.data(), st.sampled_from([None, State.RETRYING, *FINAL]))
def test_the_delivery_order_of_one_owners_writes_does_not_change_the_end(
    data: st.DataObject, end: State | None
) -> None:
    sent = of_one_owner(end=end)
    repeated = data.draw(st.lists(st.sampled_from(sent), max_size=4))
    stored = folded(*data.draw(st.permutations(sent + repeated)))
    assert stored._replace(restored=False) == folded(*sent)


@given(st.data(), st.sampled_from(FINAL), st.sampled_from([None, *FINAL]))
def test_of_two_writers_in_any_interleaving_the_one_that_started_last_has_the_record(
    data: st.DataObject, first_end: State, second_end: State | None
) -> None:
    first, second = of_one_owner("first", end=first_end), of_one_owner("second", run=2, end=second_end)
    after = data.draw(st.integers(0, len(first) - 1))
    later = data.draw(interleavings(first[after + 1 :], second[1:]))
    stored = folded(*first[: after + 1], second[0], *later)
    assert stored == folded(*first[:1], *second)
    assert (stored.run, stored.token) == (2, "second")


@given(st.data(), st.integers(2, 4))
def test_late_writes_of_earlier_attempts_never_show_in_a_later_one(data: st.DataObject, attempts: int) -> None:
    tries = [of_one_owner(f"try-{n}", attempt=n, end=State.RETRYING) for n in range(1, attempts + 1)]
    tries[-1][-1] = tries[-1][-1]._replace(state=State.SUCCEEDED)
    held_back: list[Write] = []
    stored: Stored | None = None
    for number, sent in enumerate(tries, 1):
        kept = data.draw(st.integers(1, len(sent))) if number < attempts else len(sent)
        stored = folded(*data.draw(interleavings(sent[:kept], held_back)), stored=stored)
        held_back = sent[kept:] if number == 1 else held_back + sent[kept:]
        held_back = [write for write in held_back if write.role not in STARTS]
    assert stored is not None
    assert (version(stored), stored.state) == ((1, attempts, 5), State.SUCCEEDED)


@st.composite
def interleavings(draw: st.DrawFn, one: list[Write], other: list[Write]) -> list[Write]:
    """Give both lists merged, the start of the first before everything, the order within each kept."""
    head, one, other = one[:1], one[1:], list(other)
    merged = list(head)
    while one and other:
        merged.append(one.pop(0) if draw(st.booleans()) else other.pop(0))
    return merged + one + other
