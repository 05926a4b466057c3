"""The promises of a backend that several processes share, tested with other processes."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from random import Random
from typing import TYPE_CHECKING, Any

from progresskit.kit import Kit
from progresskit.progress import State, Version
from progresskit.remote_runs import Accepted, Conflict, RemoteReport

from . import crowds
from .helpers import PATIENCE, opened, read, until, write_and_read
from .process import Act, Process, served
from .undecodable import Planting
from .watching import found, viewing
from .writes import start, update

if TYPE_CHECKING:
    import pytest


def accepted(answer: Accepted | Conflict) -> Accepted:
    assert isinstance(answer, Accepted), answer
    return answer


class SharedContract(Planting):
    """
    The promises of a backend that other processes share.

    The fixture `url` is the address of a fresh and empty store; every process makes its backend from it alone, with the
    default settings and the real clock.
    """

    def test_what_one_process_writes_another_reads_and_cancels(self, url: str) -> None:
        with Process(Act.SUBSCRIBE_CANCELS, url, ids=["job"]) as worker, opened(url) as backend:
            worker.go()
            until(lambda: "job" in backend.read(["job"]))
            assert read(backend, "job").state is State.RUNNING
            assert backend.request_cancel(["job"]) == {"job"}
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

    def test_processes_that_come_at_once_to_a_store_that_nobody_has_used_all_write_to_it(self, url: str) -> None:
        ids = [f"job-{number}" for number in range(4)]
        with ExitStack() as stack:
            writers = [stack.enter_context(Process(Act.WRITE, url, ids=[id], count=3, late=True)) for id in ids]
            for writer in writers:
                writer.go()
            assert [writer.answer()["runs"] for writer in writers] == [{id: 1} for id in ids]

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

    def test_random_histories_of_two_processes_are_seen_alike_by_two_others_and_as_the_fold_allows(
        self, url: str
    ) -> None:
        seed = crowds.seed()
        with ExitStack() as stack:
            writers, viewers = ([stack.enter_context(served(url)) for _ in range(2)] for _ in range(2))
            for number in range(crowds.ROUNDS):
                ids = [f"job-{number}-{job}" for job in range(crowds.JOBS)]
                try:
                    crowds.run(Random(seed + number), ids, writers, viewers)
                except AssertionError as problem:
                    raise AssertionError(f"{crowds.SEED}={seed + number}: {problem}") from problem

    def test_a_request_reaches_a_quiet_job_in_another_process(self, url: str) -> None:
        with served(url) as worker, opened(url) as backend:
            worker.ask("open", id="job")
            for _ in range(3):
                worker.ask("advance", id="job")
                until(lambda: read(backend, "job").current > 0)
            assert backend.request_cancel(["job"]) == {"job"}
            assert worker.ask("wait_for_cancel", id="job"), "neither pushed nor requested"
            worker.ask("end", id="job")
            assert read(backend, "job").state is State.SUCCEEDED, "whether to stop is for the job to say"

    def test_a_viewer_in_another_process_sees_a_job_to_its_end(self, url: str) -> None:
        with served(url) as worker, served(url) as viewer, opened(url) as backend:
            viewer.ask("watch", ids=["job"])
            worker.ask("open", id="job")
            for _ in range(4):
                worker.ask("advance", id="job")
            worker.ask("end", id="job")
            records = viewer.ask("seen", last={"job": read(backend, "job").to_json()})
            assert [json.loads(record)["current"] for record in records][-1] == 4
            assert json.loads(records[-1])["state"] == "succeeded"

    def test_what_one_process_forgets_all_have_forgotten_and_who_comes_later_too(self, url: str) -> None:
        with opened(url) as writer, opened(url) as other:
            writer.write([start("done"), start("stalled", lease=0.1), start("alive")])
            writer.write([update("done", 2, state=State.SUCCEEDED), update("stalled", 2, lease=0.1)])
            writer.write([update("stalled", 2, lease=0.1), update("alive", 2)])
            ids = ["done", "stalled", "alive"]
            until(lambda: sum(job.done or job.stalled for job in other.read(ids).values()) == 2)
            assert other.forget(ids) == {"done", "stalled"}
            assert other.read(ids).keys() == writer.read(ids).keys() == {"alive"}
            with opened(url) as late:
                assert late.read(ids).keys() == {"alive"}
                assert late.write([start("done", token="next", current=7)]) == {"done": 1}
                for backend in (writer, other, late):
                    assert (read(backend, "done").state, read(backend, "done").current) == (State.RUNNING, 7)
            writer.write([update("stalled", 3, current=3)])
            assert read(other, "stalled").current == 3, "its worker has returned"

    def test_a_program_elsewhere_reports_one_run_through_two_processes(self, url: str) -> None:
        settings: dict[str, Any] = {"flush_seconds": PATIENCE}
        with closing(Kit(url, **settings)) as one, closing(Kit(url, **settings)) as other:
            record, run = accepted(one._report("job", RemoteReport(1, values={"current": 1, "total": 20})))
            for seq in range(2, 11):
                record, run = accepted((one, other)[seq % 2]._report(run, RemoteReport(seq, values={"current": seq})))
                assert (record.version, record.current, record.total) == (Version(1, 1, seq), seq, 20)
            assert other._report(run, RemoteReport(10, values={"current": 10})) == Accepted(record, run)
            assert other._report(run, RemoteReport(9)) is Conflict.PASSED
            accepted(one._report(run, RemoteReport(11, State.RETRYING)))
            record, _ = accepted(other._report(run, RemoteReport(12)))
            assert (record.version, record.current) == (Version(1, 2, 12), 10)
            _, newer = accepted(other._report("job", RemoteReport(1)))
            assert one._report(run, RemoteReport(13, State.FAILED)) is Conflict.REPLACED
            record, _ = accepted(one._report(newer, RemoteReport(2, State.SUCCEEDED)))
            assert (record.version, record.state) == (Version(2, 1, 2), State.SUCCEEDED)
            assert other._report(newer, RemoteReport(3)) is Conflict.ENDED
            assert read(other.backend, "job") == record

    def test_the_older_of_two_starts_of_one_id_says_once_that_it_is_ignored(
        self, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        def warnings() -> int:
            return sum("Job job was started again" in message for message in caplog.messages)

        settings: dict[str, Any] = {"heartbeat": 0.2, "flush_seconds": PATIENCE}
        with closing(Kit(url, **settings)) as older, closing(Kit(url, **settings)) as newer:
            first = older.observe("job")
            older.flush()
            second = newer.observe("job")
            newer.flush()

            def go_on() -> None:
                first.advance()
                second.advance()
                older.flush()
                newer.flush()

            def is_warned() -> bool:
                go_on()
                return warnings() > 0

            until(is_warned)
            for _ in range(3):
                go_on()
            first.succeed()
            second.succeed()
        assert warnings() == 1

    def test_what_was_stored_is_there_when_everybody_had_left(self, url: str) -> None:
        with opened(url) as backend:
            backend.write([start("job", current=5)])
        with opened(url) as backend:
            assert read(backend, "job").current == 5
            assert write_and_read(backend, update("job", 2, current=6)).current == 6

    def test_who_comes_after_a_record_that_cannot_be_decoded_sees_the_others_to_their_ends(self, url: str) -> None:
        with opened(url) as writer:
            writer.write([start("good", current=1), start("bad")])
            self.plant(writer, "bad", "{")
            with opened(url) as backend:
                assert backend.read(["good", "bad"]).keys() == {"good"}
                with viewing(backend, ["bad", "good"]) as viewer:
                    found(viewer, lambda progress: progress.current == 1)
                    writer.write([update("good", 2, state=State.SUCCEEDED, current=2)])
                    assert found(viewer, lambda progress: progress.done).current == 2
