"""The promises of a backend that adds up the parts of jobs."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.abc import SupportsParts
from progresskit.parts import Declaration, Parts, Report
from progresskit.progress import FINAL_STATES, State, Version
from progresskit.start_tokens import new_token
from progresskit.steps import WHOLE

from .helpers import insist, opened, read, until
from .histories import TOKENS, renamed, shown
from .model import Model
from .process import served
from .writes import AGE, LEASE, TTL, declare, external_update, start, update

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from progresskit.abc import Backend
    from progresskit.progress import Write

    from .doubles import FakeClock

EXAMPLES = 100
"""How many random histories are run."""

CREATED = 1_700_000_000_000
"""When the parts of these tests began, in milliseconds since the epoch."""


def report(parent: str, name: str, state: State = State.RUNNING, hundredths: int = 0, **fields: Any) -> Report:
    """Return the report of a part, the first of its worker."""
    known: dict[str, Any] = {"token": "worker", "run_token": None, "weight": 1, "lease": LEASE, "ttl": TTL}
    known |= {"is_start": True, "created": CREATED, "age": 1.0}
    return Report(parent, name, state=state, hundredths=hundredths, **{**known, **fields})


class PartsContract:
    """Jobs made of parts: the sums follow `progresskit.progress.fold_report`, and a record of the parent shows them."""

    def test_a_declared_job_waits_until_a_part_starts(self, backend: Backend) -> None:
        send(backend, [declare("album", size=4, unit="pictures", description="Resizing")])
        progress = read(backend, "album")
        assert (progress.state, progress.current, progress.total, progress.percent) == (State.PENDING, 0, 4, 0)
        assert (progress.unit, progress.description, progress.parts) == ("pictures", "Resizing", Parts(4, 0, 0, 0, 0))
        send(backend, [], [report("album", "a", hundredths=5_000)])
        progress = read(backend, "album")
        assert (progress.state, progress.percent, progress.parts) == (State.RUNNING, 12.5, Parts(4, 0, 0, 0, 1))
        assert progress.cursor == f"{progress.life}-1.1.0p1.5000.0.0.0.1"

    def test_reports_of_a_batch_are_all_counted_also_those_of_one_parent(self, backend: Backend) -> None:
        send(backend, [declare("one", size=3), declare("two", size=2)])
        ends = [report("one", name, State.SUCCEEDED) for name in "ab"] + [report("two", "a", State.FAILED)]
        send(backend, [start("plain")], ends)
        assert read(backend, "one").parts == Parts(3, 2, 0, 0, 0)
        assert read(backend, "two").parts == Parts(2, 0, 1, 0, 0)
        assert read(backend, "plain").parts is None

    def test_a_repeated_batch_counts_once(self, backend: Backend) -> None:
        send(backend, [declare("album", size=3)])
        batch = [report("album", "a", State.SUCCEEDED), report("album", "b", hundredths=2_000)]
        for _ in range(3):
            send(backend, [], batch)
        assert (read(backend, "album").percent, read(backend, "album").parts) == (40, Parts(3, 1, 0, 0, 1))

    def test_the_job_ends_with_its_last_part_and_shows_when(self, backend: Backend, clock: FakeClock) -> None:
        send(backend, [declare("album", size=2)], [report("album", "a", State.SUCCEEDED, age=0)])
        clock.advance(10)
        send(backend, [], [report("album", "b", State.FAILED, hundredths=100)])
        progress = read(backend, "album")
        assert (progress.state, progress.parts, progress.percent) == (State.FAILED, Parts(2, 1, 1, 0, 0), 50.5)
        assert progress.started_at is not None
        assert progress.finished_at is not None
        assert (progress.finished_at - progress.started_at).total_seconds() == 10
        send(backend, [], [report("album", "b", State.SUCCEEDED, token="again")])
        assert read(backend, "album").cursor == progress.cursor

    def test_a_size_of_0_succeeds_at_once(self, backend: Backend) -> None:
        send(backend, [declare("album", size=0)])
        assert (read(backend, "album").state, read(backend, "album").percent) == (State.SUCCEEDED, 100)

    def test_parts_may_report_before_the_declaration(self, backend: Backend) -> None:
        send(backend, [], [report("album", "a", hundredths=5_000), report("album", "b", State.SUCCEEDED)])
        progress = read(backend, "album")
        assert (progress.state, progress.percent, progress.parts) == (State.PENDING, None, Parts(None, 1, 0, 0, 1))
        send(backend, [declare("album", size=2)])
        assert (read(backend, "album").state, read(backend, "album").percent) == (State.RUNNING, 75)
        assert read(backend, "album").version.run == 1

    def test_a_part_is_that_of_the_later_start_on_its_host_in_whatever_order_the_two_arrive(
        self, backend: Backend
    ) -> None:
        killed, present = new_token(), new_token()
        send(backend, [declare("album", size=2)], [report("album", "a", token=present, age=0)])
        send(backend, [], [report("album", "a", token=killed, age=0)])  # it was under way when its worker was killed
        send(backend, [], [report("album", "a", State.SUCCEEDED, token=present, is_start=False, age=0)])
        # Of a late one, the age and that of the other may be known to a second only.
        send(backend, [], [report("album", "b", token=killed, age=0)])
        send(backend, [], [report("album", "b", State.SUCCEEDED, token=present, late=True, age=1)])
        assert (read(backend, "album").state, read(backend, "album").parts) == (State.SUCCEEDED, Parts(2, 2, 0, 0, 0))

    def test_a_declaration_and_the_reports_of_one_batch_belong_together(self, backend: Backend) -> None:
        send(backend, [declare("album", size=1)], [report("album", "a", State.SUCCEEDED)])
        assert read(backend, "album").state is State.SUCCEEDED

    def test_a_job_with_a_worker_counts_its_parts_and_ends_as_the_worker_says(self, backend: Backend) -> None:
        send(backend, [start("job", declaration=Declaration("worker", 2), description="Waiting")])
        send(backend, [update("job", 2, description="Still waiting")], [report("job", "a", State.SUCCEEDED)])
        progress = read(backend, "job")
        assert (progress.percent, progress.description, progress.version) == (50, "Still waiting", Version(1, 1, 2))
        send(backend, [], [report("job", "b", State.SUCCEEDED)])
        assert read(backend, "job").state is State.RUNNING
        send(backend, [update("job", 3, state=State.SUCCEEDED, description="Done")])
        assert (read(backend, "job").state, read(backend, "job").parts) == (State.SUCCEEDED, Parts(2, 2, 0, 0, 0))

    def test_parts_of_an_earlier_run_add_nothing_and_are_gone(self, backend: Backend, clock: FakeClock) -> None:
        first = send(backend, [declare("album", size=1)], [report("album", "a")])["album"]
        send(backend, [], [report("album", "a", State.SUCCEEDED, run_token=first)])
        clock.advance(5)
        second = send(backend, [declare("album", size=2)])["album"]
        assert second != first
        assert "album" not in send(backend, [], [report("album", "a", State.SUCCEEDED, run_token=first)])
        assert read(backend, "album").parts == Parts(2, 0, 0, 0, 0)
        # The same name is another part in the new run.
        assert send(backend, [], [report("album", "a", hundredths=100, token="new")]) == {"album": second}
        assert (read(backend, "album").version.run, read(backend, "album").percent) == (2, 0.5)

    def test_the_run_of_each_parent_is_returned(self, backend: Backend) -> None:
        token = send(backend, [declare("album", size=3, token="declared"), start("plain")])
        assert token == {"album": "declared"}
        assert send(backend, [start("plain-2")], [report("album", "a")]) == token
        assert send(backend, [], [report("album", "a", run_token="another")]) == {}
        owned = send(backend, [start("job", token="owner", declaration=Declaration("owner", 1))])
        assert send(backend, [], [report("job", "a")]) == owned

    def test_a_request_to_cancel_ends_a_job_of_which_no_part_runs(self, backend: Backend) -> None:
        send(backend, [declare("waiting", size=3), declare("busy", size=3)], [report("busy", "a")])
        assert backend.request_cancel(["waiting", "busy"]) == {"waiting", "busy"}
        assert (read(backend, "waiting").state, read(backend, "waiting").parts) == (
            State.CANCELLED,
            Parts(3, 0, 0, 3, 0),
        )
        assert read(backend, "busy").state is State.RUNNING
        send(backend, [], [report("busy", "a", State.CANCELLED, is_start=False)])
        assert (read(backend, "busy").state, read(backend, "busy").parts) == (State.CANCELLED, Parts(3, 0, 0, 3, 0))

    def test_an_end_from_outside_is_that_of_the_parts_too(self, backend: Backend) -> None:
        reports = [report("album", "a", State.SUCCEEDED), report("album", "b"), report("album", "c")]
        send(backend, [declare("album", size=4)], reports)
        send(backend, [external_update("album", State.FAILED)])
        album = read(backend, "album")
        assert (album.state, album.parts) == (State.FAILED, Parts(4, 1, 2, 1, 0))
        send(backend, [], [report("album", "b", State.SUCCEEDED, is_start=False)])
        assert read(backend, "album") == album

    def test_a_job_is_stalled_when_no_running_part_was_heard_of_for_the_longest_lease(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        send(backend, [declare("album", size=3)])
        clock.advance(5 * LEASE)
        assert not read(backend, "album").stalled  # it waits for a worker
        send(backend, [], [report("album", "a", lease=10), report("album", "b", lease=20)])
        clock.advance(15)
        assert not read(backend, "album").stalled
        clock.advance(6)
        assert read(backend, "album").stalled
        send(backend, [], [report("album", "a", lease=10, is_start=False, age=22.0)])
        assert not read(backend, "album").stalled

    def test_a_report_renews_the_ttl_of_the_parent(self, backend: Backend, clock: FakeClock) -> None:
        send(backend, [declare("album", size=3, ttl=100)], [report("album", "a", ttl=100, hundredths=4_000)])
        for _ in range(3):
            clock.advance(60)
            send(backend, [], [report("album", "b", ttl=100)])
        assert read(backend, "album").parts == Parts(3, 0, 0, 0, 2)
        clock.advance(101)
        assert backend.read(["album"]) == {}
        send(backend, [declare("album", size=3)])
        assert read(backend, "album").parts == Parts(3, 0, 0, 0, 0)  # none of before

    def test_reports_do_not_renew_the_lease_of_a_worker(self, backend: Backend, clock: FakeClock) -> None:
        send(backend, [start("job", declaration=Declaration("worker", 2), lease=20)])
        clock.advance(15)
        send(backend, [], [report("job", "a", lease=60)])
        clock.advance(6)
        assert read(backend, "job").stalled

    def test_a_forgotten_job_has_no_parts(self, backend: Backend) -> None:
        send(backend, [declare("album", size=1)], [report("album", "a", State.SUCCEEDED)])
        assert backend.forget(["album"]) == {"album"}
        send(backend, [declare("album", size=1)])
        assert (read(backend, "album").parts, read(backend, "album").version.run) == (Parts(1, 0, 0, 0, 0), 1)

    def test_names_of_every_script_and_length_are_told_apart(self, backend: Backend) -> None:
        names = ["a", "A", "a ", "ä", "東京/1.jpg", "x" * 200, "x" * 199 + "y", "'\"\\:%s?", "🚀", "1", "01"]
        send(backend, [declare("album", size=len(names))])
        for name in names:
            send(backend, [], [report("album", name, State.SUCCEEDED)])
        assert read(backend, "album").parts == Parts(len(names), len(names), 0, 0, 0)

    def test_a_thousand_parts_in_one_batch_are_added_up(self, backend: Backend) -> None:
        send(backend, [declare("album", size=1_000)])
        send(backend, [], [report("album", f"part-{number}", hundredths=number) for number in range(1_000)])
        progress = read(backend, "album")
        assert (progress.percent, progress.parts) == (499_500 // 1_000 / 100, Parts(1_000, 0, 0, 0, 1_000))

    def test_large_weights_stay_exact(self, backend: Backend) -> None:
        total = 900_000 * 1_000_000
        send(backend, [declare("album", size=3, weight=total)])
        send(backend, [], [report("album", name, hundredths=9_999, weight=1_000_000) for name in "abc"])
        assert read(backend, "album").cursor.endswith(f"p1.{3 * 9_999 * 1_000_000}.0.0.0.3")

    def test_random_histories_of_parts_show_what_the_model_shows(self, backend: Backend, clock: FakeClock) -> None:
        from hypothesis import HealthCheck, given, settings

        model, examples = Model(clock), iter(range(sys.maxsize))

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(part_histories())
        def run(history: list[Any]) -> None:
            play_parts(history, backend, model, clock, f"p{next(examples)}")

        run()


class SharedPartsContract:
    """
    The parts of one job, of which two processes report and which two others watch.

    The fixture `url` is the address of a fresh and empty store; every process makes its backend from it alone.
    """

    def test_parts_that_two_processes_report_are_seen_alike_by_two_others_and_count_once(self, url: str) -> None:
        names = [[f"{writer}-{number}" for number in range(6)] + ["delivered twice"] for writer in "ab"]
        with ExitStack() as stack:
            backend = stack.enter_context(opened(url))
            writers, viewers = ([stack.enter_context(served(url)) for _ in range(2)] for _ in range(2))
            for viewer in viewers:
                viewer.ask("watch", ids=["album"])
            insist(lambda: send(backend, [declare("album", size=13, age=0.0, unit="pictures", token="declared")]))
            for writer, mine in zip(writers, names, strict=True):
                writer.begin("work_on_parts", parent="album", names=mine, items=20)
            for writer in writers:
                writer.answer()
            last = read(backend, "album")
            assert (last.state, last.parts) == (State.SUCCEEDED, Parts(13, 13, 0, 0, 0))
            for viewer in viewers:
                records = [json.loads(record) for record in viewer.ask("seen", last={"album": last.to_json()})]
                assert records[-1] == last.to_dict()
                percents = [record["percent"] for record in records]
                assert percents == sorted(percents)
                assert len({*percents}) > 3, percents

    def test_a_request_to_cancel_a_job_reaches_its_part_in_another_process(self, url: str) -> None:
        with served(url) as worker, opened(url) as backend:
            insist(lambda: send(backend, [declare("album", size=2, token="declared")]))
            worker.begin("work_on_parts", parent="album", names=["endless"], items=10**9, cancellable=True)
            until(lambda: read(backend, "album").state is State.RUNNING)
            assert backend.request_cancel(["album"]) == {"album"}
            worker.answer()
            assert (read(backend, "album").state, read(backend, "album").parts) == (
                State.CANCELLED,
                Parts(2, 0, 0, 2, 0),
            )


def send(backend: Backend, batch: list[Write], reports: list[Report] | None = None) -> dict[str, str]:
    """Write both; return the tokens of the runs with parts."""
    assert isinstance(backend, SupportsParts)
    return dict(backend.write_with_reports(batch, reports or [])[1])


# Random histories of one parent with two parts.


class Batch(NamedTuple):
    """Write a declaration or a record of the parent, and reports of its parts."""

    writes: list[Write]
    reports: list[Report]
    bound: bool


class Cancel(NamedTuple):
    """Ask the parent to stop."""


class Pass(NamedTuple):
    """Let time pass."""

    seconds: float


PARENT = "job"


def part_histories() -> SearchStrategy[list[Any]]:
    """
    Give lists of steps: all that senders, workers and parts could send, late, repeated and contradicting.

    No two runs, and no two starts of a part, begin at the same moment, whatever time passes between them, nor so close
    to the next millisecond, which records show, that microseconds would lead to it.
    """
    from hypothesis import strategies as st

    writes: list[Write] = [
        *(declare(PARENT, size, weight=weight, token=f"declared-{n}", age=n / 7.3 + 0.02, late=n % 3 == 0,
                  ttl=100 + n % 2 * 100, keeps_texts=n % 2 == 0, description=f"text {n}")
          for n, (size, weight) in enumerate(product((None, 0, 1, 2, 3), (None, 7)))),
        *(start(PARENT, token=token, attempt=attempt, age=n / 3.1,
                declaration=Declaration(token, size) if size else None)
          for n, (token, attempt, size) in enumerate(product(TOKENS, (1, 2), (None, 2)))),
        *(update(PARENT, 2, token=token, state=state, age=AGE + n / 1_000 + 1 / 2_048,
                 declaration=Declaration(token, size, None, 5.0 * n) if size else None)
          for n, (token, state, size) in enumerate(product(TOKENS, State, (None, 2, 3)))
          if state is not State.PENDING),
        *(external_update(PARENT, state, age=n / 8 + 0.01)
          for n, state in enumerate((State.PENDING, *sorted(FINAL_STATES)))),
    ]  # fmt: skip
    workers = [f"{token}0" for token in TOKENS]  # as long as those of the job, see `renamed`
    reports = [
        report(PARENT, name, state, value, token=token, weight=1 + 5 * (name == "b"), is_start=n % 3 > 0,
               late=n % 4 == 0, age=n % 90 + n / 1_000 + 1 / 2_048, lease=20 + n % 3 * 20, ttl=100 + n % 2 * 100)
        for n, (name, state, value, token) in enumerate(
            product("ab", [each for each in State if each is not State.PENDING], (0, 3_333, WHOLE), (*workers, None)))
        if token is not None or state in FINAL_STATES
    ]  # fmt: skip
    batches = st.builds(
        Batch,
        st.lists(st.sampled_from(writes), max_size=1),
        st.lists(st.sampled_from(reports), max_size=3),
        st.booleans(),
    )
    passes = st.builds(Pass, st.sampled_from([1.0, 19.5, 41.0, 150.0]))
    steps: SearchStrategy[Any] = st.one_of(batches, batches, batches, batches, st.builds(Cancel), passes)
    return st.builds(list.__add__, st.lists(steps, max_size=15), st.lists(steps, max_size=15))


def play_parts(history: list[Any], backend: Backend, model: Model, clock: FakeClock, id: str) -> None:
    """Do the same to both, and compare all that can be seen after each step."""
    known: str | None = None
    for step in history:
        match step:
            case Pass(seconds):
                clock.advance(seconds)
            case Cancel():
                assert backend.request_cancel([id]) == model.request_cancel([id])
            case Batch(writes, reports, bound):
                batch = [renamed(write, {PARENT: id}) for write in writes]
                mine = [each._replace(parent=id, run_token=known if bound else None) for each in reports]
                assert isinstance(backend, SupportsParts)
                _, found = backend.write_with_reports(batch, mine)
                _, right = model.write_with_reports(batch, mine)
                assert right.items() <= found.items(), step
                known = right.get(id, known)
        assert shown(backend.read([id])) == shown(model.read([id])), step
