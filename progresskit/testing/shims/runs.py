"""A viewer is authorised for one run of a job: the site is asked again about another run or owner."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import progresskit
from progresskit.web import Surface, owner_only, sign

from .base import ShimFixtures
from .clients import Events, eventually, is_refused, streaming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from progresskit import ProgressObserver


ADA = {"X-User": "ada"}


PRIVATE = "the first row of the second owner"


class Table:
    """The site's own table of viewers by job. It counts how often it is asked."""

    def __init__(self, user_of: Callable[[Any], str | None]) -> None:
        self.user_of = user_of
        self.owners: dict[str, str] = {}
        self.user: str | None = "ada"
        self.asked = 0
        self.is_broken = False

    def authorize(self, request: Any, id: str, right: str) -> bool:
        self.asked += 1
        if self.is_broken:
            raise LookupError("the table is away")
        return self.owners.get(id) == self.user_of(request)

    async def authorize_in_loop(self, request: Any, id: str, right: str) -> bool:
        return self.authorize(request, id, right)

    def also_owner(self, request: Any, id: str, right: str) -> bool:
        return self.user_of(request) == "root" or owner_only(request, id, right)

    def signed_in(self, request: Any) -> str | None:
        self.asked += 1
        if self.is_broken:
            raise LookupError("the table is away")
        return self.user_of(request) if self.user == self.user_of(request) else None


WAYS = ("owner_only", "owner_only among other things", "a function", "a coroutine function", "a token of one user")


class Site:
    """A site that decides in one of the ways there are, and the jobs that it runs."""

    def __init__(self, way: str, user_of: Callable[[Any], str | None]) -> None:
        self.way, self.table = way, Table(user_of)
        self.jobs: list[ProgressObserver] = []
        ways: dict[str, dict[str, Any]] = {
            "owner_only": {"authorize": owner_only, "user": user_of},
            "owner_only among other things": {"authorize": self.table.also_owner, "user": user_of},
            "a function": {"authorize": self.table.authorize},
            "a coroutine function": {"authorize": self.table.authorize_in_loop},
            "a token of one user": {"user": self.table.signed_in},
        }
        progresskit.configure("memory://", max_streams=20, **ways[way])

    def begin(self, id: str, owner: str, **about: Any) -> ProgressObserver:
        """Run a job of that owner's, over any that runs under the id; return when it is stored."""
        self.table.owners[id] = self.table.user = owner
        job = progresskit.observe(id, owner=owner, total=4, **about)
        self.jobs.append(job)  # a job without references is cancelled
        progresskit.flush()
        return job

    def key(self, id: str) -> str:
        return sign(id, user="ada") if self.way == "a token of one user" else id


def other_run(site: Site, id: str) -> ProgressObserver:
    """Take the id over for another user, and report."""
    job = site.begin(id, "bob", description=PRIVATE)
    job.set_progress(3)
    progresskit.flush()
    return job


def rest_of(events: Events) -> list[dict[str, str]]:
    return [block for block in events if "data" in block or "retry" in block]


@contextmanager
def polling(ask: Callable[[], httpx.Response]) -> Iterator[Callable[[], httpx.Response]]:
    """Send the request in a thread; yield a function that waits for the answer."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        yield lambda: answer.result(60)


def watched(id: str) -> bool:
    """Return whether a viewer waits for updates of the job."""
    hub = Surface().kit.hub
    return id in hub._watched and not hub._watched[id].new


def many_job(events: Events) -> Any:
    while (event := events.job())["job"] is None:
        pass
    return event["job"]


class RunsContract(ShimFixtures):
    """The records of other runs and owners, as viewers get them."""

    @pytest.fixture(params=WAYS)
    def way(self, request: pytest.FixtureRequest) -> Site:
        """Return a site that decides in one of the ways."""
        return Site(request.param, self.user_of)

    def test_a_stream_ends_before_it_reports_a_run_that_is_not_its_viewers(
        self, client: httpx.Client, id: str, way: Site
    ) -> None:
        way.begin(id, "ada", description="ada's")
        with streaming(client, f"{way.key(id)}/events/", headers=ADA) as events:
            assert events.job()["description"] == "ada's"
            other_run(way, id)
            rest = rest_of(events)
        assert rest == [{"retry": "1000"}]
        assert is_refused(client.get(f"{way.key(id)}/events/", headers=ADA))
        assert is_refused(client.get(f"{way.key(id)}/", headers=ADA))

    def test_among_many_a_run_of_another_is_sent_as_null_and_the_others_go_on(
        self, client: httpx.Client, id: str, way: Site
    ) -> None:
        keys = {name: way.key(f"{id}-{name}") for name in ("a", "b")}
        jobs = [way.begin(f"{id}-{name}", "ada") for name in keys]
        with streaming(client, "events/", params={"key": [*keys.values()]}, headers=ADA) as events:
            assert {events.job()["key"], events.job()["key"]} == {*keys.values()}
            theirs = way.begin(f"{id}-a", "bob", description=PRIVATE)
            assert events.job() == {"key": keys["a"], "job": None}
            theirs.set_progress(2)
            progresskit.flush()
            jobs[1].set_progress(1)
            assert [(event := events.job())["key"], event["job"]["current"]] == [keys["b"], 1]
            jobs[1].succeed()
            rest = rest_of(events)
        assert [block.get("id") for block in rest] == ["end"]
        assert json.loads(rest[0]["data"])["job"]["state"] == "succeeded"
        theirs.succeed()

    def test_who_is_refused_everything_has_nothing_more_to_wait_for(
        self, client: httpx.Client, id: str, way: Site
    ) -> None:
        way.begin(id, "ada")
        key = way.key(id)
        with streaming(client, "events/", params={"key": key}, headers=ADA) as events:
            assert events.job()["job"]["current"] == 0
            other_run(way, id)
            rest = rest_of(events)
        assert [(json.loads(block["data"]), block["id"]) for block in rest] == [({"key": key, "job": None}, "end")]

    def test_a_long_poll_is_refused_when_another_users_run_begins(
        self, client: httpx.Client, id: str, way: Site
    ) -> None:
        way.begin(id, "ada")
        etag = client.get(f"{way.key(id)}/", headers=ADA).headers["ETag"]
        headers = ADA | {"If-None-Match": etag, "Prefer": "wait=20"}
        with polling(lambda: client.get(f"{way.key(id)}/", headers=headers)) as answer:
            assert eventually(lambda: watched(id))
            other_run(way, id)
            assert is_refused(answer())

    def test_a_long_poll_for_many_is_sent_null_of_another_users_run(
        self, client: httpx.Client, id: str, way: Site
    ) -> None:
        keys = {name: way.key(f"{id}-{name}") for name in ("a", "b")}
        for name in keys:
            way.begin(f"{id}-{name}", "ada")
        params = {"key": [*keys.values()]}
        etag = client.get("", params=params, headers=ADA).headers["ETag"]
        headers = ADA | {"If-None-Match": etag, "Prefer": "wait=20"}
        with polling(lambda: client.get("", params=params, headers=headers)) as answer:
            assert eventually(lambda: watched(f"{id}-a") and watched(f"{id}-b"))
            other_run(way, f"{id}-a")
            jobs = answer().json()["jobs"]
        assert jobs[keys["a"]] is None
        assert jobs[keys["b"]]["current"] == 0

    def test_the_next_run_of_the_same_user_goes_on_where_it_is(self, client: httpx.Client, id: str, way: Site) -> None:
        way.begin(id, "ada")
        key = way.key(id)
        with (
            streaming(client, f"{key}/events/", headers=ADA) as one,
            streaming(client, "events/", params={"key": [key, "bad"]}, headers=ADA) as many,
        ):
            assert one.job()["version"] == many_job(many)["version"] == "1.1.1"
            again = way.begin(id, "ada", description="again")
            assert one.job()["version"].startswith("2.")
            assert many_job(many)["description"] == "again"
            again.succeed()
            assert one.job()["done"]
            assert many_job(many)["done"]
            assert [block for block in (*one, *many) if "retry" in block] == []

    @pytest.mark.parametrize("name", WAYS[2:])
    def test_a_site_that_fails_to_decide_again_refuses(self, client: httpx.Client, id: str, name: str) -> None:
        site = Site(name, self.user_of)
        site.begin(id, "ada")
        with streaming(client, f"{site.key(id)}/events/", headers=ADA) as events:
            assert events.job()["current"] == 0
            site.table.is_broken = True
            site.begin(id, "ada", description=PRIVATE)
            assert rest_of(events) == [{"retry": "1000"}]

    @pytest.mark.parametrize("name", WAYS[2:])
    def test_within_a_run_a_site_is_not_asked_again(self, client: httpx.Client, id: str, name: str) -> None:
        site = Site(name, self.user_of)
        job = site.begin(id, "ada")
        with streaming(client, f"{site.key(id)}/events/", headers=ADA) as events:
            assert events.job()["current"] == 0
            asked = site.table.asked
            for count in range(1, 4):
                job.set_progress(count)
                assert events.job()["current"] == count
            job.succeed()
            assert json.loads(rest_of(events)[0]["data"])["state"] == "succeeded"
        assert site.table.asked == asked

    def test_a_token_that_is_bound_to_nobody_opens_every_run_of_its_id(
        self, client: httpx.Client, id: str, key: str
    ) -> None:
        site = Site("owner_only", self.user_of)
        site.begin(id, "ada")
        with streaming(client, f"{key}/events/") as events:
            assert events.job()["version"] == "1.1.1"
            theirs = site.begin(id, "bob")
            assert events.job()["version"] == "2.1.1"
            theirs.succeed()
            assert events.job()["done"]

    def test_a_run_that_begins_while_a_stream_waits_for_the_job_is_asked_about(
        self, client: httpx.Client, id: str, way: Site
    ) -> None:
        if way.way.startswith("owner_only"):
            assert is_refused(client.get(f"{id}/events/", headers=ADA))
            return
        way.table.owners[id] = "ada"
        with streaming(client, f"{way.key(id)}/events/", headers=ADA) as events:
            assert events.next("retry") == "1000"
            assert eventually(lambda: watched(id))
            other_run(way, id)
            assert rest_of(events) == [{"retry": "1000"}]
