"""The first promise of a backend: a write changes the stored record as the fold does."""

from __future__ import annotations

import sys
from itertools import permutations
from threading import Thread
from typing import TYPE_CHECKING, Any

from progresskit.progress import FINAL_STATES, Failure, Role, State, Version, life_of, moment
from progresskit.start_tokens import UNDER_WAY_SECONDS, new_token
from progresskit.steps import Step, StepState

from .helpers import PATIENCE, read, seen, write_and_read
from .model import Model
from .writes import LEASE, external_update, record, start, update

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.abc import Backend
    from progresskit.progress import Write

    from .doubles import FakeClock

FINAL = sorted(FINAL_STATES)


class FoldContract:
    """The stored record after writes of every kind, in every order."""

    examples = 150
    """How many random histories are run."""

    def test_a_start_is_run_1(self, backend: Backend) -> None:
        assert backend.write([start("job")]) == {"job": 1}
        progress = read(backend, "job")
        assert (progress.state, progress.version) == (State.RUNNING, Version(1, 1, 1))

    def test_a_record_comes_back_as_it_was_written_to_the_last_field(self, backend: Backend) -> None:
        fields: dict[str, Any] = {
            "kind": "app.tasks.import_rows",
            "current": 123.25,
            "total": 2**53,
            "unit": "rows",
            "description": "Importing",
            "meta": {"a": [1, 2.5, None, True, {"b": "c"}], "": "an empty key"},
            "rate": 12.5,
            "eta": 1e-07,
            "parent": "parent-1",
            "steps": (Step("Lesen", 1, StepState.SUCCEEDED, 100), Step("読む", 1_000_000, StepState.RUNNING)),
            "step": 2,
            "given_percent": 12.34,
            "created_at": moment(1_700_000_000.001),
            "started_at": moment(1_700_000_001.999),
            "updated_at": moment(1_700_000_002.5),
            "next_retry_at": moment(4_102_444_800),
            "finished_at": moment(0),
        }
        backend.write([start("job", **fields)])
        written = record("job", lease=LEASE, **fields)
        assert seen([read(backend, "job")]) == seen([written])

    def test_steps_end_with_a_job_that_is_ended_from_outside(self, backend: Backend) -> None:
        steps = (Step("Read", 1, StepState.SUCCEEDED, 100), Step("Parse", 3, StepState.RUNNING, 50), Step("Store"))
        backend.write([start("job", steps=steps, step=2, given_percent=50)])
        progress = write_and_read(backend, external_update("job", State.FAILED))
        assert progress.steps is not None
        assert [step.state for step in progress.steps] == [StepState.SUCCEEDED, StepState.FAILED, StepState.PENDING]
        assert (progress.step, progress.percent) == (2, 50)

    def test_text_of_every_script_comes_back_unharmed(self, backend: Backend) -> None:
        text = "Zürich 東京 مرحبا 🚀👩\u200d🚀 'single' \"double\" \\back\\ %s :name ?1 \u2028 \ufffd \x01\x7f \r\n\t"
        progress = write_and_read(backend, start("job", description=text, unit=text, kind="ключ", meta={text: [text]}))
        assert (progress.description, progress.unit, progress.kind) == (text, text, "ключ")
        assert progress.meta == {text: [text]}

    def test_8_kib_of_meta_and_64_kib_of_result_come_back_whole(self, backend: Backend) -> None:
        meta, result = {"é": "ü" * 4_000}, ["ä" * 32_000, None, 5]
        progress = write_and_read(backend, start("job", state=State.SUCCEEDED, meta=meta, result=result))
        assert (progress.meta, progress.result) == (meta, result)

    def test_an_error_comes_back_with_whether_it_is_public(self, backend: Backend) -> None:
        for failure in (Failure("E", "secret"), Failure("E", "open", public=True), Failure("E", None)):
            assert (
                write_and_read(backend, start(f"job-{failure.message}", state=State.FAILED, error=failure)).error
                == failure
            )

    def test_numbers_stay_exact_and_of_their_kind(self, backend: Backend) -> None:
        for id, number in {"big": 2**53, "float": 0.1, "whole": 3.0, "zero": 0, "tiny": 5e-324}.items():
            progress = write_and_read(backend, start(id, current=number, total=number))
            assert [repr(progress.current), repr(progress.total)] == [repr(number)] * 2

    def test_an_update_replaces_the_record_whole(self, backend: Backend) -> None:
        backend.write([start("job", description="first", meta={"a": 1}, total=10)])
        progress = write_and_read(backend, update("job", 2, current=4))
        assert (progress.current, progress.total, progress.description, progress.meta) == (4, None, None, {})
        assert progress.version == Version(1, 1, 2)

    def test_an_older_update_that_comes_late_changes_nothing(self, backend: Backend) -> None:
        backend.write([start("job", current=1)])
        backend.write([update("job", 5, current=5)])
        assert write_and_read(backend, update("job", 4, current=4)).current == 5

    def test_whatever_the_order_of_delivery_the_end_is_the_same(self, backend: Backend) -> None:
        def history(id: str) -> list[Write]:
            return [start(id), update(id, 2), update(id, 3, current=3), update(id, 4, state=State.SUCCEEDED, current=4)]

        orders = list(permutations(range(4)))
        for number, order in enumerate(orders):
            writes = history(f"job-{number}")
            for place in order:
                backend.write([writes[place]])
        for progress in backend.read([f"job-{number}" for number in range(len(orders))]).values():
            assert (progress.state, progress.current, progress.version) == (State.SUCCEEDED, 4, Version(1, 1, 4))

    def test_the_same_write_again_changes_nothing(self, backend: Backend) -> None:
        writes = [start("job"), update("job", 2, current=2), update("job", 3, state=State.FAILED)]
        for write in writes:
            before = seen([write_and_read(backend, write)])
            assert seen([write_and_read(backend, write)]) == before
            assert seen([write_and_read(backend, write)]) == before

    def test_no_late_write_of_any_kind_replaces_an_end(self, backend: Backend) -> None:
        for state in FINAL:
            id = f"job-{state}"
            backend.write([start(id), external_update("unrelated")])
            end = update(id, 5, state=state, current=5)
            ended = seen([write_and_read(backend, end)])
            late = [
                update(id, 4, current=4),
                update(id, 6, current=6),
                update(id, 7, attempt=2),
                update(id, 8, state=State.RETRYING),
                start(id),
                end,
                update(id, 9, token="somebody else", attempt=9, run=9),
                *(external_update(id, override) for override in (State.PENDING, *FINAL)),
                *(update(id, 10, state=other) for other in FINAL),
            ]
            for write in late:
                assert seen([write_and_read(backend, write)]) == ended, write

    def test_no_late_write_replaces_an_external_end(self, backend: Backend) -> None:
        for state in FINAL:
            id = f"job-{state}"
            backend.write([start(id)])
            ended = seen([write_and_read(backend, external_update(id, state, updated_at=moment(5)))])
            for write in [
                start(id),
                update(id, 2),
                update(id, 3, state=State.SUCCEEDED),
                external_update(id, State.FAILED),
            ]:
                assert seen([write_and_read(backend, write)]) == ended, write

    def test_a_reused_id_begins_the_next_run(self, backend: Backend) -> None:
        for run in (1, 2, 3):
            assert backend.write([start("job", token=f"token-{run}", current=run)]) == {"job": run}
            backend.write([update("job", 2, token=f"token-{run}", run=run, state=State.SUCCEEDED)])
        progress = write_and_read(backend, update("job", 3, token="token-2", run=2, current=99))
        assert (progress.version, progress.state) == (Version(3, 1, 2), State.SUCCEEDED)

    def test_a_new_run_keeps_nothing_of_the_one_before(self, backend: Backend) -> None:
        backend.write([start("job", created_at=moment(1), kind="old", description="old")])
        backend.request_cancel(["job"])
        backend.write([external_update("job", State.FAILED, updated_at=moment(2), finished_at=moment(2))])
        progress = write_and_read(backend, start("job", token="next", created_at=moment(9)))
        written = record("job", version=Version(2, 1, 1), created_at=moment(9), lease=LEASE, life=life_of(1_000))
        assert seen([progress]) == seen([written])

    def test_a_retry_is_the_next_attempt_of_the_same_run(self, backend: Backend) -> None:
        backend.write([start("job", created_at=moment(1))])
        backend.write([update("job", 2, state=State.RETRYING, next_retry_at=moment(60))])
        assert backend.write([start("job", token="second", attempt=2, created_at=moment(50))]) == {"job": 1}
        progress = read(backend, "job")
        assert (progress.state, progress.version, progress.attempt) == (State.RUNNING, Version(1, 2, 1), 2)
        assert (progress.created_at, progress.next_retry_at) == (moment(1), None)
        assert write_and_read(backend, update("job", 9, current=9)).current == 0, "the first attempt writes no more"

    def test_a_redelivered_task_is_a_new_run(self, backend: Backend) -> None:
        backend.write([start("job", current=7)])
        assert backend.write([start("job", token="redelivered")]) == {"job": 2}
        assert read(backend, "job").current == 0

    def test_a_start_of_an_older_attempt_is_a_new_run(self, backend: Backend) -> None:
        backend.write([start("job", attempt=3)])
        assert backend.write([start("job", token="older", attempt=2)]) == {"job": 2}
        assert read(backend, "job").version == Version(2, 2, 1)

    def test_of_two_live_writers_the_one_that_started_last_owns_the_record(self, backend: Backend) -> None:
        backend.write([start("job", token="first")])
        backend.write([start("job", token="second")])
        for seq in range(2, 12):
            backend.write([update("job", seq, token="first", run=1, current=100 + seq)])
            backend.write([update("job", seq, token="second", run=2, current=seq)])
            assert read(backend, "job").current == seq
        backend.write([update("job", 99, token="first", run=1, state=State.FAILED)])
        assert read(backend, "job").version == Version(2, 1, 11)

    def test_a_pending_job_starts_in_the_run_it_was_sent_in(self, backend: Backend) -> None:
        sent = write_and_read(backend, external_update("job", kind="mail", created_at=moment(1)))
        assert (sent.state, sent.version, sent.kind) == (State.PENDING, Version(1, 1, 0), "mail")
        assert backend.write([start("job", kind="mail", created_at=moment(2))]) == {"job": 1}
        progress = read(backend, "job")
        assert (progress.state, progress.version) == (State.RUNNING, Version(1, 1, 1))
        assert progress.created_at == moment(1), "when the job was first heard of"
        assert write_and_read(backend, update("job", 2, created_at=moment(2))).created_at == moment(1)

    def test_a_task_that_was_cancelled_while_it_waited_does_not_start(self, backend: Backend) -> None:
        backend.write([external_update("sent"), start("tried"), update("tried", 2, state=State.RETRYING)])
        assert backend.request_cancel(["sent", "tried"]) == {"sent", "tried"}
        backend.write([external_update(id, State.CANCELLED) for id in ("sent", "tried")])
        for id, attempt in (("sent", 1), ("tried", 2)):
            cancelled = seen([read(backend, id)])
            begun = start(id, token="late", attempt=attempt, role=Role.DEQUEUE)
            assert backend.write([begun]) == {id: 1}
            backend.write([update(id, 2, token="late", attempt=attempt)])
            backend.write([begun._replace(seq=3, state=State.SUCCEEDED, late=True)])
            assert seen([read(backend, id)]) == cancelled
            assert backend.cancel_requested([id]) == {id}, "so that it stops"
            assert backend.write([start(id, token="next", attempt=attempt)]) == {id: 2}, "no task, but a reused id"

    def test_a_task_that_was_not_cancelled_while_it_waited_starts(self, backend: Backend) -> None:
        def begun(id: str) -> Write:
            return start(id, token="new", role=Role.DEQUEUE)

        backend.write([external_update("sent"), external_update("asked"), start("died"), start("stopped")])
        backend.request_cancel(["asked", "stopped"])
        backend.write([update("stopped", 2, state=State.CANCELLED), external_update("revoked", State.CANCELLED)])
        runs = backend.write([begun(id) for id in ("sent", "asked", "died", "stopped", "revoked", "unknown")])
        assert runs == {"sent": 1, "asked": 1, "died": 2, "stopped": 2, "revoked": 2, "unknown": 1}
        records = backend.read([*runs])
        assert {id: progress.state for id, progress in records.items()} == dict.fromkeys(runs, State.RUNNING)
        assert {id for id, progress in records.items() if progress.cancel_requested} == {"asked"}

    def test_pending_never_replaces_a_run(self, backend: Backend) -> None:
        for state in State:
            id = f"job-{state}"
            if state is not State.PENDING:
                before = seen([write_and_read(backend, start(id, state=state, current=3))])
                assert seen([write_and_read(backend, external_update(id, attempt=2))]) == before

    def test_an_external_end_ends_a_run_and_keeps_its_count(self, backend: Backend) -> None:
        lost = Failure("WorkerLostError", "signal 9")
        for state in (State.PENDING, State.RUNNING, State.RETRYING):
            id = f"job-{state}"
            first = (
                external_update(id)
                if state is State.PENDING
                else start(id, state=state, current=40, total=100, rate=2.0)
            )
            before = write_and_read(backend, first)
            ended = write_and_read(
                backend, external_update(id, State.FAILED, error=lost, updated_at=moment(7), finished_at=moment(8))
            )
            assert (ended.state, ended.error) == (State.FAILED, lost)
            assert (ended.current, ended.total) == (before.current, before.total)
            assert (ended.updated_at, ended.finished_at, ended.rate) == (moment(7), moment(8), None)
            assert ended.version == before.version._replace(seq=before.version.seq + 1)

    def test_an_external_end_of_an_unknown_job_is_kept(self, backend: Backend) -> None:
        progress = write_and_read(backend, external_update("job", State.CANCELLED))
        assert (progress.state, progress.version) == (State.CANCELLED, Version(1, 1, 0))

    def test_an_end_that_is_sent_again_does_not_replace_the_next_run(self, backend: Backend, clock: FakeClock) -> None:
        for owner in ("one", "another"):  # of the next run: the same process or another one
            id = f"job-of-{owner}"
            end = start(id, token="ended", seq=2, state=State.FAILED, age=0.5)
            backend.write([end])
            clock.advance(5)
            backend.write([start(id, token=owner, current=1, age=1)])
            again = end._replace(role=Role.UPDATE, run=1, late=True, age=5.5)
            before = seen([read(backend, id)])
            assert seen([write_and_read(backend, again)]) == before
            ended = write_and_read(backend, update(id, 2, token=owner, run=2, state=State.SUCCEEDED, age=1))
            assert (ended.state, ended.version) == (State.SUCCEEDED, Version(2, 1, 2))
            assert write_and_read(backend, again).state is State.SUCCEEDED

    def test_an_end_that_is_sent_again_is_restored_where_it_is_missing(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        backend.write([start("job", ttl=10)])
        backend.write([update("job", 2, state=State.FAILED, ttl=10)])
        clock.advance(11)
        assert backend.read(["job"]) == {}
        again = update("job", 2, run=1, state=State.FAILED, late=True, age=11)
        assert (write_and_read(backend, again).state, read(backend, "job").version) == (State.FAILED, Version(1, 1, 2))

    def test_an_external_end_that_comes_late_does_not_end_a_run_that_began_after_it(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        backend.write([start("job", token="lost", age=1)])
        clock.advance(10)
        backend.write([start("job", token="redelivered", age=1)])
        clock.advance(10)
        before = seen([read(backend, "job")])
        assert seen([write_and_read(backend, external_update("job", State.FAILED, age=15))]) == before
        assert write_and_read(backend, external_update("job", State.FAILED, age=5)).version == Version(2, 1, 2)

    def test_an_external_end_of_a_pending_job_is_applied_even_if_that_is_announced_a_moment_later(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        backend.write([external_update("refused", age=1), external_update("sent-again", age=1)])
        assert write_and_read(backend, external_update("refused", State.CANCELLED, age=2)).state is State.CANCELLED
        again = external_update("sent-again", State.FAILED, age=2)._replace(late=True)
        assert write_and_read(backend, again).state is State.PENDING, "it was about the time before an outage"

    def test_what_began_is_known_better_by_each_write_of_the_owner(self, backend: Backend, clock: FakeClock) -> None:
        # The start was a second under way, so that the run seems to have begun later than it did.
        for id, again in {
            "again": start("again", age=3),
            "news": update("news", 2, age=3, state=State.RETRYING),
        }.items():
            backend.write([start(id, age=0)])
            clock.advance(2)
            backend.write([again])
            assert write_and_read(backend, external_update(id, State.FAILED, age=2.5)).state is State.FAILED

    def test_a_start_whose_answer_was_lost_does_not_replace_a_later_one(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        first = start("job", token="first", age=1)
        backend.write([first])  # and its sender does not get the answer
        clock.advance(10)
        assert backend.write([start("job", token="second", age=1)]) == {"job": 2}
        clock.advance(10)
        before = seen([read(backend, "job")])
        again = first._replace(seq=9, state=State.SUCCEEDED, late=True, age=21)
        assert backend.write([again]) == {"job": 2}
        assert seen([read(backend, "job")]) == before
        assert seen([write_and_read(backend, update("job", 10, token="first", run=2, age=21))]) == before
        assert write_and_read(backend, update("job", 2, token="second", run=2, age=11)).version == Version(2, 1, 2)

    def test_of_two_starts_on_one_host_the_later_one_stays_in_whatever_order_they_arrive(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        # A start that was sent just before its worker was killed reaches the store after the next worker's start.
        killed, present = new_token(), new_token()
        assert backend.write([start("job", token=present, age=0)]) == {"job": 1}
        assert backend.write([start("job", token=killed, age=0)]) == {"job": 1}
        ended = write_and_read(backend, update("job", 2, token=present, run=1, state=State.SUCCEEDED, age=0))
        assert (ended.state, ended.version) == (State.SUCCEEDED, Version(1, 1, 2))
        assert backend.write([start("job", token=killed, age=0)]) == {"job": 1}
        # A late start, where the ages of both starts are only known to a second.
        assert backend.write([start("late", token=killed, age=0)]) == {"late": 1}
        assert backend.write([start("late", token=present, late=True, age=1)]) == {"late": 2}
        assert write_and_read(backend, update("late", 2, token=present, run=2, age=1)).version == Version(2, 1, 2)
        clock.advance(UNDER_WAY_SECONDS + 1)  # no start is under way for so long: the store's clock decides
        assert backend.write([start("job", token=killed, age=0)]) == {"job": 2}

    def test_a_start_that_an_outage_held_back_replaces_what_began_before_it(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        backend.write([start("job", token="first", age=1)])
        clock.advance(10)
        assert backend.write([start("job", token="second", late=True, age=5)]) == {"job": 2}
        backend.write([external_update("sent")])
        clock.advance(10)
        assert backend.write([start("sent", late=True, age=12)]) == {"sent": 1}
        assert read(backend, "sent").state is State.RUNNING

    def test_a_start_that_comes_at_once_is_the_newest_whatever_its_age(self, backend: Backend) -> None:
        backend.write([start("job", token="first", age=1)])
        assert backend.write([start("job", token="second", age=100)]) == {"job": 2}

    def test_of_runs_that_are_restored_the_one_that_began_last_stays(self, backend: Backend, clock: FakeClock) -> None:
        def old(id: str) -> Write:
            return update(id, 2, token="old", run=1, state=State.FAILED, late=True, age=20)

        def new(id: str, seq: int = 5) -> Write:
            return update(id, seq, token="new", run=2, age=10)

        backend.write([old("job")])
        backend.write([new("job")])
        backend.write([new("other")])
        backend.write([old("other")])
        backend.write([external_update("killed", State.FAILED, age=15)])
        backend.write([new("killed")])
        for id in ("job", "other", "killed"):
            assert (read(backend, id).state, read(backend, id).version) == (State.RUNNING, Version(2, 1, 5)), id
            assert write_and_read(backend, new(id, 6)).version == Version(2, 1, 6)
        backend.write([start("job", token="newest", age=0)])
        assert write_and_read(backend, update("job", 9, token="yet another", run=9)).version == Version(3, 1, 1)

    def test_the_life_of_an_id_lasts_from_its_first_run_until_it_is_forgotten(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        backend.write([external_update("job", created_at=moment(1_000))])
        first = read(backend, "job").life
        assert first == life_of(1_000_000)
        for write in [
            start("job", created_at=moment(1_001)),
            update("job", 2, created_at=moment(1_001), state=State.SUCCEEDED),
            start("job", token="next", created_at=moment(1_002)),
            external_update("job", State.FAILED, created_at=moment(1_003)),
            start("job", token="last", created_at=moment(1_004), ttl=10),
        ]:
            assert write_and_read(backend, write).life == first
        assert read(backend, "job").cursor == f"{first}-3.1.1"
        clock.advance(10)
        assert write_and_read(backend, start("job", created_at=moment(1_005))).cursor == f"{life_of(1_005_000)}-1.1.1"

    def test_a_heartbeat_brings_back_what_the_store_forgot(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", ttl=10)])
        clock.advance(11)
        assert backend.read(["job"]) == {}
        backend.write([update("job", 8, run=4, current=8)])
        assert (read(backend, "job").version, read(backend, "job").current) == (Version(4, 1, 8), 8)

    def test_the_end_of_a_job_that_the_store_forgot_is_kept(self, backend: Backend, clock: FakeClock) -> None:
        for state in FINAL:
            backend.write([start(f"job-{state}", ttl=10)])
            backend.write([update(f"job-{state}", 2, ttl=10)])
        clock.advance(11)
        for state in FINAL:
            progress = write_and_read(backend, update(f"job-{state}", 3, state=state, current=3))
            assert (progress.state, progress.version, progress.current) == (state, Version(1, 1, 3), 3)

    def test_the_run_of_every_start_is_reported(self, backend: Backend) -> None:
        backend.write([start("old"), start("ended", state=State.FAILED), external_update("sent")])
        right = {"fresh": 1, "old": 2, "ended": 2, "sent": 1}
        runs = backend.write([*(start(id, token="new") for id in right), update("unknown", 3, run=5)])
        assert {id: runs[id] for id in right} == right
        assert {id: runs[id] for id in runs} == {id: read(backend, id).version.run for id in runs}

    def test_an_empty_batch_is_nothing(self, backend: Backend) -> None:
        assert dict(backend.write([])) == {}

    def test_a_batch_of_a_thousand_is_folded_job_by_job(self, backend: Backend) -> None:
        ids = [f"job-{number}" for number in range(1_000)]
        runs = backend.write([start(id) for id in ids])
        # Wrong entries are selected first: a test runner that draws the difference of two such lists takes minutes.
        assert not [id for id in ids if runs.get(id) != 1]
        kinds: list[Callable[[str], Write]] = [
            lambda id: update(id, 2, current=2),
            lambda id: start(id, token="other"),
            lambda id: external_update(id, State.CANCELLED),
            lambda id: update(id, 2, token="nobody"),
        ]
        backend.write([kinds[number % 4](id) for number, id in enumerate(ids)])
        records = backend.read(ids)
        shown = [(str(records[id].version), records[id].state.value, records[id].current) for id in ids]
        each = [("1.1.2", "running", 2), ("2.1.1", "running", 0), ("1.1.2", "cancelled", 0), ("1.1.1", "running", 0)]
        assert not [(is_, wanted) for is_, wanted in zip(shown, each * 250, strict=True) if is_ != wanted]

    def test_threads_that_write_at_once_each_get_their_own_and_share_as_the_fold_says(self, backend: Backend) -> None:
        count, problems = 25, list[BaseException]()

        def work(name: str) -> None:
            try:
                run = backend.write([start("shared", token=name), start(name)])["shared"]
                for seq in range(2, count):
                    backend.write([update("shared", seq, token=name, run=run, description=name), update(name, seq)])
                    assert read(backend, name).version.seq == seq
            except BaseException as problem:
                problems.append(problem)

        names = [f"thread-{number}" for number in range(4)]
        # So that no connection is made again for the first reader while a start is under way.
        assert backend.read(names) == {}
        threads = [Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert problems == []
        assert [progress.version.seq for progress in backend.read(names).values()] == [count - 1] * 4
        assert read(backend, "shared").version == Version(4, 1, count - 1)

    def test_random_histories_show_what_the_model_shows(self, backend: Backend, clock: FakeClock) -> None:
        from hypothesis import HealthCheck, given, settings

        from .histories import histories, play

        model, examples = Model(clock), iter(range(sys.maxsize))

        @settings(max_examples=self.examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(histories())
        def run(history: Any) -> None:
            play(history, backend, model, clock, f"h{next(examples)}")

        run()
