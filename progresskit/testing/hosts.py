"""The promises of a backend with processes on several hosts: their clocks may differ, without an effect."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import datetime
from time import time
from typing import TYPE_CHECKING

from progresskit.abc import SupportsListing
from progresskit.progress import State

from .helpers import opened, until
from .process import served
from .serving import packed
from .writes import start, update

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from progresskit.progress import Write

    from .process import Process

MINUTES = 5 * 60.0
"""How many seconds one host's clock is ahead of the right time, and the other's behind it."""


class HostsContract:
    """
    The promises of a backend that judges leases and ttls by the clock of a server.

    A backend without a server works on a single host, with one clock for all processes, and does not need this part.
    The fixture `url` is that of `SharedContract`.
    """

    def test_a_job_is_stalled_when_its_lease_is_over_whatever_the_clocks_say(self, url: str) -> None:
        with hosts(url) as (ahead, behind):
            for writer, reader in ((ahead, behind), (behind, ahead)):
                quick, slow = f"quick-{writer.pid}", f"slow-{writer.pid}"
                write(writer, start(slow, lease=MINUTES / 2), start(quick, lease=1))
                until(lambda quick=quick: stalled(ahead, [quick]) == stalled(behind, [quick]) == {quick})  # type: ignore[misc]
                assert stalled(reader, [slow]) == stalled(writer, [slow]) == set()
                write(writer, update(quick, 1, lease=MINUTES / 2))
                assert stalled(reader, [quick]) == set(), "heard of again"

    def test_a_record_is_kept_for_its_ttl_whatever_the_clocks_say(self, url: str) -> None:
        with hosts(url) as (ahead, behind):
            for writer, reader in ((ahead, behind), (behind, ahead)):
                short, long = f"short-{writer.pid}", f"long-{writer.pid}"
                write(writer, start(long, ttl=MINUTES / 2), start(short, ttl=2))
                until(lambda ids=[short, long]: known(ahead, ids) == known(behind, ids) == {ids[1]})  # type: ignore[misc]
                assert reader.ask("write", batch=[packed(start(short, token="again"))]) == {short: 1}

    def test_the_newest_start_owns_a_job_whatever_the_clocks_say(self, url: str) -> None:
        with hosts(url) as (ahead, behind):
            assert write(ahead, start("job", token="ahead", current=1)) == {"job": 1}
            assert write(behind, start("job", token="behind", current=2)) == {"job": 2}
            write(ahead, update("job", 50, token="ahead", run=1, current=50))
            write(behind, update("job", 3, token="behind", run=2, state=State.SUCCEEDED, current=3))
            write(ahead, update("job", 99, token="ahead", run=1, state=State.FAILED))
            for host in (ahead, behind):
                record = json.loads(host.ask("read", ids=["job"])["job"])
                assert (record["version"], record["current"], record["state"]) == ("2.1.3", 3, "succeeded")

    def test_jobs_are_listed_in_the_order_in_which_they_were_written_whatever_the_clocks_say(self, url: str) -> None:
        with opened(url) as backend:
            if not isinstance(backend, SupportsListing):
                return
        with hosts(url) as (ahead, behind):
            for writer, id in ((ahead, "a"), (behind, "b"), (ahead, "c"), (behind, "d"), (behind, "a")):
                write(writer, start(id, token=f"{id}-{writer.pid}"))
            assert ahead.ask("listed") == behind.ask("listed") == ["a", "d", "c", "b"]

    def test_a_job_is_watched_from_another_host_whatever_the_clocks_say(self, url: str) -> None:
        with hosts(url) as (ahead, behind):
            for worker, viewer, skew in ((ahead, behind, MINUTES), (behind, ahead, -MINUTES)):
                id = f"job-{worker.pid}"
                viewer.ask("watch", ids=[id])
                worker.ask("open", id=id)
                worker.ask("advance", id=id)
                worker.ask("end", id=id)
                seen = [json.loads(record) for record in viewer.ask("seen", last=worker.ask("read", ids=[id]))]
                assert (seen[-1]["state"], seen[-1]["current"]) == ("succeeded", 1)
                assert not any(record["stalled"] for record in seen)
                finished = datetime.fromisoformat(seen[-1]["finished_at"]).timestamp()
                assert abs(finished - time() - skew) < MINUTES / 2, "the times in a record are those of its worker"


@contextmanager
def hosts(url: str) -> Iterator[tuple[Process, Process]]:
    """Yield a process on a host with a clock that is ahead, and one on a host with a clock that is behind."""
    with served(url, MINUTES) as ahead, served(url, -MINUTES) as behind:
        for host, skew in ((ahead, MINUTES), (behind, -MINUTES)):
            assert abs(host.ask("time") - time() - skew) < MINUTES / 10
        yield ahead, behind


def write(host: Process, *batch: Write) -> dict[str, int]:
    """Write there."""
    runs: dict[str, int] = host.ask("write", batch=[packed(write) for write in batch])
    return runs


def known(host: Process, ids: Collection[str]) -> set[str]:
    """Return which of the jobs are there, as seen from that host."""
    return set(host.ask("read", ids=list(ids)))


def stalled(host: Process, ids: Collection[str]) -> set[str]:
    """Return which of the jobs are stalled, as seen from that host."""
    return {id for id, record in host.ask("read", ids=list(ids)).items() if json.loads(record)["stalled"]}
