"""Processes of a pool begin with nothing of the process that they are forked from."""

from __future__ import annotations

from collections.abc import Callable

from progresskit.progress import State
from tests.services.waiting import PATIENCE

from .site import Site


def test_twenty_processes_share_no_connection_with_a_parent_whose_job_is_live(sites: Callable[..., Site]) -> None:
    parent = "the-parents"
    site = sites("prefork", name="forked", options=["--max-tasks-per-child", "1"], env={"PROJ_PARENT_JOB": parent})
    site.until(parent, State.RUNNING)
    results = [site.send("inherited") for _ in range(20)]
    for result in results:
        done = site.done(result.id)
        assert (done.state, done.current, done.version.run) == (State.SUCCEEDED, 10, 1)
    pids, inherited = zip(*(result.get(timeout=PATIENCE) for result in results), strict=True)

    assert len(set(pids)) == 20
    assert site.worker.pid not in pids
    assert list(inherited) == [[]] * 20, "connections of the parent's that were open in a child"
    live = site.kit.get(parent)
    assert live is not None
    assert (live.state, live.current) == (State.RUNNING, 1), "no child has ended it"
