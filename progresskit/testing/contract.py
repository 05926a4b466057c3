"""
The suite that every backend has to pass: the promises of `progresskit.abc.Backend`, a test named after each.

The classes use two fixtures of the class that inherits them: `clock`, which `backend` judges leases and ttls by, and
`backend`, on a fresh and empty store. `SharedContract` uses `url` (see there), `OutageContract` uses `outage`.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from itertools import permutations
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from progresskit.abc import Backend, Lists, Pushes
from progresskit.errors import BackendUnavailable
from progresskit.progress import FINAL_STATES, Failure, State, Version, moment

from .doubles import RecordingObserver
from .model import Model
from .process import Act, Process
from .writes import LEASE, record, start, update, word

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from contextlib import AbstractContextManager

    from progresskit.progress import Progress, Write

    from .doubles import FakeClock

FINAL = sorted(FINAL_STATES)
PATIENCE = 20.0
"""Seconds after which something that another thread or process should have done counts as not done."""

EXAMPLES = 150
"""How many random histories are run."""


def read(backend: Backend, id: str) -> Progress:
    """Return the one record, which has to be there."""
    return backend.read([id])[id]


def seen(records: Iterable[Progress]) -> dict[str, tuple[str, float | None]]:
    """Return all that a viewer can see of records, the type of each number included, for comparing."""
    return {progress.id: (progress.to_json(), progress.lease) for progress in records}


def told(backend: Backend, write: Write) -> Progress:
    """Write one, and return what is stored then."""
    backend.write([write])
    return read(backend, write.id)


class BackendContract:
    """What every backend promises."""

    def test_the_suite_has_a_part_for_each_power_of_the_backend(self, backend: Backend) -> None:
        parts = {Pushes: PushesContract, Lists: ListsContract}
        for power, part in parts.items():
            assert isinstance(backend, power) == isinstance(self, part), part.__name__
        assert backend.shared == isinstance(self, SharedContract), "SharedContract"

    # 1. The fold.

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
            "created_at": moment(1_700_000_000.001),
            "started_at": moment(1_700_000_001.999),
            "updated_at": moment(1_700_000_002.5),
            "next_retry_at": moment(4_102_444_800),
            "finished_at": moment(0),
        }
        backend.write([start("job", **fields)])
        written = record("job", lease=LEASE, **fields)
        assert seen([read(backend, "job")]) == seen([written])

    def test_text_of_every_script_comes_back_unharmed(self, backend: Backend) -> None:
        text = "Zürich 東京 مرحبا 🚀👩\u200d🚀 'single' \"double\" \\back\\ %s :name ?1 \u2028 \ufffd \x01\x7f \r\n\t"
        progress = told(backend, start("job", description=text, unit=text, kind="ключ", meta={text: [text]}))
        assert (progress.description, progress.unit, progress.kind) == (text, text, "ключ")
        assert progress.meta == {text: [text]}

    def test_8_kib_of_meta_and_64_kib_of_result_come_back_whole(self, backend: Backend) -> None:
        meta, result = {"é": "ü" * 4_000}, ["ä" * 32_000, None, 5]
        progress = told(backend, start("job", state=State.SUCCEEDED, meta=meta, result=result))
        assert (progress.meta, progress.result) == (meta, result)

    def test_an_error_comes_back_with_whether_it_is_public(self, backend: Backend) -> None:
        for failure in (Failure("E", "secret"), Failure("E", "open", public=True), Failure("E", None)):
            assert told(backend, start(f"job-{failure.message}", state=State.FAILED, error=failure)).error == failure

    def test_numbers_stay_exact_and_of_their_kind(self, backend: Backend) -> None:
        for id, number in {"big": 2**53, "float": 0.1, "whole": 3.0, "zero": 0, "tiny": 5e-324}.items():
            progress = told(backend, start(id, current=number, total=number))
            assert [repr(progress.current), repr(progress.total)] == [repr(number)] * 2

    def test_an_update_replaces_the_record_whole(self, backend: Backend) -> None:
        backend.write([start("job", description="first", meta={"a": 1}, total=10)])
        progress = told(backend, update("job", 2, current=4))
        assert (progress.current, progress.total, progress.description, progress.meta) == (4, None, None, {})
        assert progress.version == Version(1, 1, 2)

    def test_an_older_update_that_comes_late_changes_nothing(self, backend: Backend) -> None:
        backend.write([start("job", current=1)])
        backend.write([update("job", 5, current=5)])
        assert told(backend, update("job", 4, current=4)).current == 5

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
            before = seen([told(backend, write)])
            assert seen([told(backend, write)]) == before
            assert seen([told(backend, write)]) == before

    def test_no_late_write_of_any_kind_replaces_an_end(self, backend: Backend) -> None:
        for state in FINAL:
            id = f"job-{state}"
            backend.write([start(id), word("unrelated")])
            end = update(id, 5, state=state, current=5)
            ended = seen([told(backend, end)])
            late = [
                update(id, 4, current=4),
                update(id, 6, current=6),
                update(id, 7, attempt=2),
                update(id, 8, state=State.RETRYING),
                start(id),
                end,
                update(id, 9, token="somebody else", attempt=9, run=9),
                *(word(id, verdict) for verdict in (State.PENDING, *FINAL)),
                *(update(id, 10, state=other) for other in FINAL),
            ]
            for write in late:
                assert seen([told(backend, write)]) == ended, write

    def test_no_late_write_replaces_a_verdict_from_outside(self, backend: Backend) -> None:
        for state in FINAL:
            id = f"job-{state}"
            backend.write([start(id)])
            ended = seen([told(backend, word(id, state, updated_at=moment(5)))])
            for write in [start(id), update(id, 2), update(id, 3, state=State.SUCCEEDED), word(id, State.FAILED)]:
                assert seen([told(backend, write)]) == ended, write

    def test_a_reused_id_begins_the_next_run(self, backend: Backend) -> None:
        for run in (1, 2, 3):
            assert backend.write([start("job", token=f"token-{run}", current=run)]) == {"job": run}
            backend.write([update("job", 2, token=f"token-{run}", run=run, state=State.SUCCEEDED)])
        progress = told(backend, update("job", 3, token="token-2", run=2, current=99))
        assert (progress.version, progress.state) == (Version(3, 1, 2), State.SUCCEEDED)

    def test_a_new_run_keeps_nothing_of_the_one_before(self, backend: Backend) -> None:
        backend.write([start("job", created_at=moment(1), kind="old", description="old")])
        backend.cancel(["job"])
        backend.write([word("job", State.FAILED, updated_at=moment(2), finished_at=moment(2))])
        progress = told(backend, start("job", token="next", created_at=moment(9)))
        written = record("job", version=Version(2, 1, 1), created_at=moment(9), lease=LEASE)
        assert seen([progress]) == seen([written])

    def test_a_retry_is_the_next_attempt_of_the_same_run(self, backend: Backend) -> None:
        backend.write([start("job", created_at=moment(1))])
        backend.write([update("job", 2, state=State.RETRYING, next_retry_at=moment(60))])
        assert backend.write([start("job", token="second", attempt=2, created_at=moment(50))]) == {"job": 1}
        progress = read(backend, "job")
        assert (progress.state, progress.version, progress.attempt) == (State.RUNNING, Version(1, 2, 1), 2)
        assert (progress.created_at, progress.next_retry_at) == (moment(1), None)
        assert told(backend, update("job", 9, current=9)).current == 0, "the first attempt writes no more"

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
        sent = told(backend, word("job", kind="mail", created_at=moment(1)))
        assert (sent.state, sent.version, sent.kind) == (State.PENDING, Version(1, 1, 0), "mail")
        assert backend.write([start("job", kind="mail", created_at=moment(2))]) == {"job": 1}
        progress = read(backend, "job")
        assert (progress.state, progress.version) == (State.RUNNING, Version(1, 1, 1))
        assert progress.created_at == moment(1), "when the job was first heard of"
        assert told(backend, update("job", 2, created_at=moment(2))).created_at == moment(1)

    def test_pending_never_replaces_a_run(self, backend: Backend) -> None:
        for state in State:
            id = f"job-{state}"
            if state is not State.PENDING:
                before = seen([told(backend, start(id, state=state, current=3))])
                assert seen([told(backend, word(id, attempt=2))]) == before

    def test_a_verdict_from_outside_ends_a_run_and_keeps_its_count(self, backend: Backend) -> None:
        lost = Failure("WorkerLostError", "signal 9")
        for state in (State.PENDING, State.RUNNING, State.RETRYING):
            id = f"job-{state}"
            first = word(id) if state is State.PENDING else start(id, state=state, current=40, total=100, rate=2.0)
            before = told(backend, first)
            ended = told(backend, word(id, State.FAILED, error=lost, updated_at=moment(7), finished_at=moment(8)))
            assert (ended.state, ended.error) == (State.FAILED, lost)
            assert (ended.current, ended.total) == (before.current, before.total)
            assert (ended.updated_at, ended.finished_at, ended.rate) == (moment(7), moment(8), None)
            assert ended.version == before.version._replace(seq=before.version.seq + 1)

    def test_a_verdict_about_an_unknown_job_is_kept(self, backend: Backend) -> None:
        progress = told(backend, word("job", State.CANCELLED))
        assert (progress.state, progress.version) == (State.CANCELLED, Version(1, 1, 0))

    def test_a_heartbeat_brings_back_what_the_store_forgot(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", ttl=10)])
        clock.advance(11)
        assert backend.read(["job"]) == {}
        backend.write([update("job", 8, run=4, current=8)])
        assert (read(backend, "job").version, read(backend, "job").current) == (Version(4, 1, 8), 8)

    def test_the_run_of_every_start_is_told(self, backend: Backend) -> None:
        backend.write([start("old"), start("ended", state=State.FAILED), word("sent")])
        right = {"fresh": 1, "old": 2, "ended": 2, "sent": 1}
        runs = backend.write([*(start(id, token="new") for id in right), update("unknown", 3, run=5)])
        assert {id: runs[id] for id in right} == right
        assert {id: runs[id] for id in runs} == {id: read(backend, id).version.run for id in runs}

    def test_an_empty_batch_is_nothing(self, backend: Backend) -> None:
        assert dict(backend.write([])) == {}

    def test_a_batch_of_a_thousand_is_folded_job_by_job(self, backend: Backend) -> None:
        ids = [f"job-{number}" for number in range(1_000)]
        runs = backend.write([start(id) for id in ids])
        # What is wrong is picked out first: a test runner that draws the difference of two such lists takes minutes.
        assert not [id for id in ids if runs.get(id) != 1]
        kinds: list[Callable[[str], Write]] = [
            lambda id: update(id, 2, current=2),
            lambda id: start(id, token="other"),
            lambda id: word(id, State.CANCELLED),
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

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(histories())
        def run(history: Any) -> None:
            play(history, backend, model, clock, f"h{next(examples)}")

        run()

    # 2. Absent is absent.

    def test_an_id_that_nobody_reported_is_absent(self, backend: Backend) -> None:
        backend.write([start("known")])
        assert backend.read(["unknown"]) == {}
        assert backend.read([]) == {}
        assert backend.read(["unknown", "known"]).keys() == {"known"}

    def test_asking_for_a_job_does_not_make_it(self, backend: Backend) -> None:
        backend.cancel(["job"])
        backend.cancels(["job"])
        backend.write([start("other")])
        assert backend.read(["job"]) == {}

    def test_ids_are_told_apart_to_the_last_letter(self, backend: Backend) -> None:
        ids = ["job", "Job", "JOB", "job_", "job.", "job:", "job-", "job_1", "jobs1", "0", "00", "x" * 128, "x" * 127]
        backend.write([start(id, description=id) for id in ids])
        assert {id: progress.description for id, progress in backend.read(ids).items()} == dict(
            zip(ids, ids, strict=True)
        )
        assert backend.cancel(["job"]) == {"job"}
        assert backend.cancels(ids) == {"job"}

    def test_a_thousand_ids_are_read_at_once(self, backend: Backend) -> None:
        ids = [f"job-{number}" for number in range(1_000)]
        backend.write([start(id, current=number) for number, id in enumerate(ids) if number % 2])
        records = backend.read(ids)
        assert {id: progress.current for id, progress in records.items()} == {
            id: number for number, id in enumerate(ids) if number % 2
        }

    def test_ids_may_be_any_collection_and_hold_one_twice(self, backend: Backend) -> None:
        backend.write([start("a"), start("b")])
        for ids in (["a", "b", "a"], ("a", "b"), {"a", "b"}, {"a": 1, "b": 2}.keys(), frozenset(("a", "b"))):
            assert backend.read(ids).keys() == {"a", "b"}
            assert backend.cancel(ids) == backend.cancels(ids) == {"a", "b"}

    # 3. Lease and ttl.

    def test_a_record_is_gone_when_its_ttl_is_over(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("short", ttl=60), start("long", ttl=600)])
        clock.advance(59)
        assert backend.read(["short", "long"]).keys() == {"short", "long"}
        clock.advance(1)
        assert backend.read(["short", "long"]).keys() == {"long"}
        assert backend.cancel(["short", "long"]) == {"long"}
        assert backend.cancels(["short", "long"]) == {"long"}

    def test_heartbeats_keep_a_job_that_is_longer_than_its_ttl(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", ttl=60)])
        for _ in range(20):
            clock.advance(40)
            backend.write([update("job", 1, ttl=60)])
        assert read(backend, "job").version == Version(1, 1, 1)

    def test_a_write_that_is_ignored_keeps_nothing_alive(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", ttl=60), start("ended", state=State.FAILED, ttl=60)])
        backend.write([update("job", 5, ttl=60)])
        clock.advance(40)
        backend.write([update("job", 3, ttl=60), word("ended", ttl=60)])
        backend.write([update("job", 6, token="nobody", ttl=60), update("ended", 9, ttl=60)])
        backend.write([word("job", ttl=60)])
        backend.cancel(["job"])
        clock.advance(20)
        assert backend.read(["job", "ended"]) == {}

    def test_what_expired_begins_again_as_if_it_had_never_been(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", ttl=60, created_at=moment(1)), start("sent", ttl=60)])
        backend.cancel(["job"])
        backend.write([start("job", token="second", ttl=60)])
        backend.cancel(["job"])
        clock.advance(60)
        assert backend.write([start("job", token="third"), word("sent")])["job"] == 1
        records = backend.read(["job", "sent"])
        assert seen(records.values()) == seen(
            [record("job", lease=LEASE), record("sent", State.PENDING, version=Version(1, 1, 0), lease=LEASE)]
        )

    def test_a_running_job_is_stalled_when_its_lease_is_over_and_not_before(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        backend.write([start("job", lease=20), start("other", lease=200)])
        clock.advance(19)
        assert not read(backend, "job").stalled
        clock.advance(1)
        assert read(backend, "job").stalled
        assert read(backend, "job").cursor == "1.1.1s"
        assert not read(backend, "other").stalled

    def test_a_heartbeat_ends_the_stall(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", lease=20)])
        clock.advance(25)
        assert read(backend, "job").stalled
        assert not told(backend, update("job", 1, lease=20)).stalled
        clock.advance(20)
        assert read(backend, "job").stalled

    def test_lease_and_ttl_are_those_of_the_last_write(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("longer", lease=10, ttl=60), start("shorter", lease=50, ttl=600)])
        backend.write([update("longer", 1, lease=50, ttl=600), update("shorter", 1, lease=10, ttl=60)])
        clock.advance(20)
        assert {id: job.stalled for id, job in backend.read(["longer", "shorter"]).items()} == {
            "longer": False,
            "shorter": True,
        }
        clock.advance(40)
        assert backend.read(["longer", "shorter"]).keys() == {"longer"}

    def test_a_job_that_is_heard_of_without_progress_is_not_stalled(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", lease=30)])
        for _ in range(12):
            clock.advance(10)
            assert not told(backend, update("job", 1, lease=30)).stalled

    def test_a_write_that_is_ignored_does_not_end_a_stall(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job")])
        backend.write([start("job", token="owner")])
        clock.advance(LEASE)
        backend.write([update("job", 2)])
        backend.cancel(["job"])
        assert read(backend, "job").stalled

    def test_only_a_running_job_stalls(self, backend: Backend, clock: FakeClock) -> None:
        states = [state for state in State if state is not State.PENDING]
        backend.write([word("pending"), *(start(state.value, state=state) for state in states)])
        clock.advance(LEASE * 2)
        stalled = {id for id, progress in backend.read([state.value for state in State]).items() if progress.stalled}
        assert stalled == {"running"}

    # 4. Requests to cancel.

    def test_a_request_to_cancel_is_refused_for_a_job_that_is_unknown_or_done(self, backend: Backend) -> None:
        backend.write([word("pending"), start("running"), start("retrying", state=State.RETRYING)])
        backend.write([start(state.value, state=state) for state in FINAL])
        ids = ["unknown", *(state.value for state in State)]
        assert backend.cancel(ids) == {"pending", "running", "retrying"}
        assert backend.cancels(ids) == {"pending", "running", "retrying"}
        assert {id for id, progress in backend.read(ids).items() if progress.cancel_requested} == backend.cancels(ids)

    def test_a_request_to_cancel_moves_the_cursor_and_not_the_version(self, backend: Backend) -> None:
        backend.write([start("job", current=3)])
        backend.cancel(["job"])
        progress = read(backend, "job")
        assert (str(progress.version), progress.cursor, progress.current) == ("1.1.1", "1.1.1c", 3)

    def test_asking_again_is_accepted_and_changes_nothing(self, backend: Backend) -> None:
        backend.write([start("job")])
        assert backend.cancel(["job"]) == backend.cancel(["job"]) == {"job"}

    def test_a_request_to_cancel_stays_with_its_run(self, backend: Backend) -> None:
        backend.write([word("job")])
        backend.cancel(["job"])
        steps = [
            start("job"),
            update("job", 2, current=2),
            update("job", 2, current=2),
            update("job", 3, state=State.RETRYING),
            start("job", token="second", attempt=2),
            update("job", 2, token="second", attempt=2),
        ]
        for write in steps:
            assert told(backend, write).cancel_requested, write
            assert backend.cancels(["job"]) == {"job"}

    def test_a_request_to_cancel_is_cleared_by_the_next_run(self, backend: Backend) -> None:
        backend.write([start("again"), start("redelivered")])
        backend.cancel(["again", "redelivered"])
        backend.write([update("again", 2, state=State.CANCELLED)])
        backend.write([start("again", token="new"), start("redelivered", token="new")])
        assert backend.cancels(["again", "redelivered"]) == set()
        assert not any(progress.cancel_requested for progress in backend.read(["again", "redelivered"]).values())

    def test_nothing_is_asked_of_nobody(self, backend: Backend) -> None:
        assert backend.cancel([]) == backend.cancels([]) == set()

    def test_a_thousand_jobs_are_cancelled_at_once(self, backend: Backend) -> None:
        ids = [f"job-{number}" for number in range(1_000)]
        backend.write([start(id) for id in ids])
        assert backend.cancel(ids) == backend.cancels(ids) == set(ids)


class PushesContract:
    """What a backend with `Pushes` promises."""

    def test_each_change_of_a_watched_job_is_told(self, backend: Pushes) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        listener = backend.listen(observer.tell, nothing)
        listener.watch(["job"])
        for write in [word("job"), start("job"), update("job", 2, current=2), update("job", 3, state=State.FAILED)]:
            stored = seen([told(store, write)])
            observer.wait_for(lambda progress, stored=stored: seen([progress]) == stored)  # type: ignore[misc]
        assert observer.states == [State.PENDING, State.RUNNING, State.FAILED]
        listener.close()

    def test_a_request_to_cancel_is_told(self, backend: Pushes) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        backend.listen(observer.tell, nothing).watch(["job"])
        store.write([start("job")])
        store.cancel(["job"])
        observer.wait_for(lambda progress: progress.cancel_requested)

    def test_a_heartbeat_is_told_so_that_leases_can_be_followed(self, backend: Pushes) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        backend.listen(observer.tell, nothing).watch(["job"])
        store.write([start("job")])
        observer.wait_for(lambda progress: len(observer.records) == 1)
        store.write([update("job", 1)])
        assert observer.wait_for(lambda progress: len(observer.records) == 2).version == Version(1, 1, 1)

    def test_what_is_not_watched_or_no_longer_is_not_told(self, backend: Pushes) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        listener = backend.listen(observer.tell, nothing)
        listener.watch(["left", "kept"])
        listener.unwatch(["left", "never watched"])
        store.write([start("left"), start("other"), start("kept")])
        store.write([update("left", 2), update("other", 2), update("kept", 2)])
        observer.wait_for(lambda progress: progress.version.seq == 2)
        assert {progress.id for progress in observer.records} == {"kept"}

    def test_a_closed_listener_is_told_nothing_while_others_are(self, backend: Pushes) -> None:
        closed, other, store = RecordingObserver(), RecordingObserver(), backend_of(backend)
        listeners = [backend.listen(observer.tell, nothing) for observer in (closed, other)]
        for listener in listeners:
            listener.watch(["job"])
        listeners[0].close()
        store.write([start("job")])
        other.wait_for(lambda progress: progress.id == "job")
        assert closed.records == []

    def test_watching_a_job_late_tells_what_changes_from_then_on(self, backend: Pushes) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        listener = backend.listen(observer.tell, nothing)
        store.write([start("job")])
        listener.watch(["job"])
        store.write([update("job", 2)])
        observer.wait_for(lambda progress: progress.version.seq == 2)

    def test_a_thousand_jobs_changed_in_one_batch_are_all_told(self, backend: Pushes) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        ids = [f"job-{number}" for number in range(1_000)]
        backend.listen(observer.tell, nothing).watch(ids)
        store.write([start(id) for id in ids])
        observer.wait_for(lambda progress: len(observer.records) >= 1_000, PATIENCE)
        assert {progress.id for progress in observer.records} == set(ids)

    def test_the_newest_state_always_arrives(self, backend: Pushes) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        backend.listen(observer.tell, nothing).watch(["job"])
        store.write([start("job")])
        for seq in range(2, 300):
            store.write([update("job", seq, current=seq)])
        observer.wait_for(lambda progress: progress.current == 299)


class ListsContract:
    """What a backend with `Lists` promises."""

    def test_jobs_are_listed_those_written_last_first(self, backend: Lists, clock: FakeClock) -> None:
        store = backend_of(backend)
        for id in ("a", "b", "c"):
            store.write([start(id)])
            clock.advance(1)
        store.write([update("a", 2)])
        assert [progress.id for progress in backend.list(kind=None, states=None, limit=10)] == ["a", "c", "b"]
        assert [progress.id for progress in backend.list(kind=None, states=None, limit=2)] == ["a", "c"]

    def test_what_is_listed_is_what_is_read(self, backend: Lists, clock: FakeClock) -> None:
        store = backend_of(backend)
        store.write([start("stalled", lease=5), start("running", current=5, meta={"a": 1}), word("pending")])
        store.write([word("running", State.FAILED)])
        store.cancel(["stalled"])
        clock.advance(6)
        listed = backend.list(kind=None, states=None, limit=10)
        assert seen(listed) == seen(store.read(["stalled", "running", "pending"]).values())
        assert next(progress for progress in listed if progress.id == "stalled").cursor == "1.1.1sc"

    def test_a_list_is_of_one_kind_or_of_some_states(self, backend: Lists) -> None:
        store = backend_of(backend)
        store.write([start(f"{kind}-{state}", kind=kind, state=state) for kind in ("mail", "Mail") for state in State])
        assert names(backend.list(kind="mail", states=None, limit=99)) == {f"mail-{state}" for state in State}
        some = {State.FAILED, State.RUNNING}
        assert names(backend.list(kind="Mail", states=some, limit=99)) == {"Mail-failed", "Mail-running"}
        assert names(backend.list(kind=None, states=FINAL_STATES, limit=99)) == {
            f"{kind}-{state}" for kind in ("mail", "Mail") for state in FINAL_STATES
        }
        assert backend.list(kind="post", states=None, limit=99) == []
        assert backend.list(kind=None, states=(), limit=99) == []

    def test_a_job_is_listed_under_the_kind_that_its_record_shows(self, backend: Lists) -> None:
        store = backend_of(backend)
        store.write([start("job", kind="old")])
        store.write([start("job", kind=None, token="next")])
        assert backend.list(kind="old", states=None, limit=99) == []
        store.write([word("job", State.FAILED, kind="of the verdict")])
        for kind in ("old", "of the verdict"):
            assert all(progress.kind == kind for progress in backend.list(kind=kind, states=None, limit=99))

    def test_what_is_gone_is_not_listed(self, backend: Lists, clock: FakeClock) -> None:
        backend_of(backend).write([start("short", ttl=10), start("long")])
        clock.advance(10)
        assert names(backend.list(kind=None, states=None, limit=99)) == {"long"}

    def test_an_empty_store_lists_nothing(self, backend: Lists) -> None:
        assert backend.list(kind=None, states=None, limit=99) == []


class SharedContract:
    """
    What a backend that other processes see promises.

    The fixture `url` is the address of a fresh and empty store; every process makes its backend from it alone, with the
    default settings, and judges by the real time.
    """

    def test_what_one_process_writes_another_reads_and_cancels(self, url: str) -> None:
        with Process(Act.HEED, url, ids=["job"]) as worker, opened(url) as backend:
            worker.go()
            until(lambda: "job" in backend.read(["job"]))
            assert read(backend, "job").state is State.RUNNING
            assert backend.cancel(["job"]) == {"job"}
            assert worker.answer() == {"asked": ["job"]}
            assert read(backend, "job").state is State.CANCELLED

    def test_two_processes_that_write_the_same_job_leave_one_owner_and_no_version_goes_back(self, url: str) -> None:
        with ExitStack() as stack:
            writers = [stack.enter_context(Process(Act.WRITE, url, ids=["job"], count=150)) for _ in range(2)]
            backend = stack.enter_context(opened(url))
            for writer in writers:
                writer.go()
            versions = list[Version]()
            while not all(writer.has_answered for writer in writers):
                versions += [progress.version for progress in backend.read(["job"]).values()]
            runs = [writer.answer()["runs"]["job"] for writer in writers]
            assert sorted(runs) == [1, 2]
            assert versions == sorted(versions)
            last = read(backend, "job")
            assert (last.version, last.current) == (Version(2, 1, 150), 150)
            assert last.description == str(writers[runs.index(2)].pid), "the record of the last owner, whole"

    def test_two_processes_that_write_batches_of_many_jobs_lose_none(self, url: str) -> None:
        groups = [[f"{name}-{number}" for number in range(100)] for name in "ab"]
        with ExitStack() as stack:
            writers = [stack.enter_context(Process(Act.WRITE, url, ids=ids, count=20)) for ids in groups]
            for writer in writers:
                writer.go()
            answers = [writer.answer() for writer in writers]
            backend = stack.enter_context(opened(url))
            assert [answer["runs"] for answer in answers] == [dict.fromkeys(ids, 1) for ids in groups]
            for ids in groups:
                assert {progress.current for progress in backend.read(ids).values()} == {20}
                assert backend.read(ids).keys() == set(ids)

    def test_a_killed_process_leaves_its_record_and_a_store_that_works(self, url: str) -> None:
        with Process(Act.WRITE, url, ids=["job"], count=10**9) as writer, opened(url) as backend:
            writer.go()
            until(lambda: any(progress.version.seq > 5 for progress in backend.read(["job"]).values()))
            writer.kill()
            left = read(backend, "job")
            assert left.state is State.RUNNING
            assert backend.write([start("job", token="redelivered")]) == {"job": left.version.run + 1}

    def test_a_forked_child_works_on_its_own_and_its_parent_goes_on(self, url: str) -> None:
        with Process(Act.FORK, url, ids=["parent", "child"], count=20) as forking, opened(url) as backend:
            forking.go()
            assert forking.answer() == {"child": 0}
            assert {id: progress.current for id, progress in backend.read(["parent", "child"]).items()} == {
                "parent": 20,
                "child": 20,
            }

    def test_what_was_stored_is_there_when_everybody_had_left(self, url: str) -> None:
        with opened(url) as backend:
            backend.write([start("job", current=5)])
        with opened(url) as backend:
            assert read(backend, "job").current == 5
            assert told(backend, update("job", 2, current=6)).current == 6


class OutageContract:
    """
    What a backend promises whose server can go away.

    The fixture `outage` is called for a context manager, within which the store of `backend` cannot be written to.
    """

    def test_what_cannot_be_written_now_says_so_and_can_be_written_later(
        self, backend: Backend, outage: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        backend.write([start("job", current=1)])
        with outage():
            for act in (lambda: backend.write([update("job", 2, current=2)]), lambda: backend.cancel(["job"])):
                try:
                    act()
                except BackendUnavailable:
                    continue
                raise AssertionError("nothing was raised, though the store could not be written to")
        assert told(backend, update("job", 3, current=3)).current == 3
        assert backend.cancel(["job"]) == {"job"}

    def test_reading_works_or_says_so_while_the_store_cannot_be_written_to(
        self, backend: Backend, outage: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        backend.write([start("job", current=1)])
        with outage(), suppress(BackendUnavailable):
            assert read(backend, "job").current == 1
        assert read(backend, "job").current == 1


def backend_of(power: Pushes | Lists) -> Backend:
    """Return the backend that has the power."""
    assert isinstance(power, Backend)
    return power


def names(records: Collection[Progress]) -> set[str]:
    """Return the ids of records, of which no two may be the same."""
    ids = {progress.id for progress in records}
    assert len(ids) == len(records)
    return ids


def nothing() -> None:
    """Stand in for a callback that is of no interest."""


def opened(url: str) -> AbstractContextManager[Backend]:
    """Make the backend of a URL as a kit does, and close it in the end."""
    from contextlib import closing

    from .process import connect

    return closing(connect(url))


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, "it never came"
        sleep(0.005)
