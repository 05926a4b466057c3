"""Owners, and keys that are bound to a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import progresskit
from progresskit.integrations import Integration
from progresskit.progress import State
from progresskit.web import owner_only, sign

from .base import ShimFixtures
from .clients import blocks, eventually, is_refused, sent_events, streaming
from .jobs import finish, running, stored

if TYPE_CHECKING:
    import httpx


ADA, BOB, NOBODY = {"X-User": "ada"}, {"X-User": "bob"}, dict[str, str]()


SAME = {"Sec-Fetch-Site": "same-origin"}


def answers(client: httpx.Client, id: str, headers: dict[str, str]) -> list[httpx.Response]:
    """Ask for one job in each way there is by its raw id, the last to cancel it."""
    return [
        client.get(f"{id}/", headers=headers),
        client.get(f"{id}/events/", headers=headers),
        client.post(f"{id}/cancel/", headers=headers | SAME),
    ]


class UsersContract(ShimFixtures):
    """The access of owners, and of other users."""

    @pytest.fixture
    def store_url(self) -> str:
        """Return the URL of an empty store; a subclass may name other backends, too."""
        return "memory://"

    def configure(self, url: str = "memory://", **settings: Any) -> None:
        """Let owners alone see their jobs."""
        progresskit.configure(url, authorize=owner_only, user=self.user_of, **settings)

    def test_an_owner_sees_the_job_by_its_raw_id_and_nobody_else_does(
        self, client: httpx.Client, id: str, store_url: str
    ) -> None:
        self.configure(store_url, max_streams=0)
        with running(id, owner="ada") as observer:
            for others in (BOB, NOBODY):
                assert all(is_refused(answer) for answer in answers(client, id, others))
            observer.set_progress(3)
            assert eventually(lambda: client.get(f"{id}/", headers=ADA).json()["current"] == 3)
            _, stream, cancelled = answers(client, id, ADA)
            assert sent_events(stream)[0]["data"]
            assert cancelled.status_code == 202
            assert cancelled.json()["cancel_requested"] is True
        assert eventually(lambda: client.get(f"{id}/", headers=ADA).json()["state"] == "succeeded")
        assert is_refused(client.get(f"{id}/", headers=BOB))

    def test_who_has_no_job_of_an_id_cannot_know_whether_there_is_one(
        self, client: httpx.Client, id: str, store_url: str
    ) -> None:
        self.configure(store_url)
        finish(f"{id}-ada")
        with running(f"{id}-bob", owner="bob"):
            refused = [client.get(f"{id}-{name}/", headers=ADA) for name in ("ada", "bob", "unknown")]
        assert all(is_refused(answer) for answer in refused)
        assert len({answer.content for answer in refused}) == 1

    def test_among_many_those_of_others_are_null(self, client: httpx.Client, id: str, store_url: str) -> None:
        self.configure(store_url, max_streams=0)
        with running(f"{id}-a", owner="ada"), running(f"{id}-b", owner="bob"):
            params = {"key": [f"{id}-a", f"{id}-b", f"{id}-c", sign(f"{id}-b")]}
            jobs = client.get("", params=params, headers=ADA).json()["jobs"]
            events = sent_events(client.get("events/", params=params, headers=ADA))
        assert [name for name, job in jobs.items() if job is None] == [f"{id}-b", f"{id}-c"]
        assert len(events) == 4

    def test_an_owner_stays_through_retries_and_is_known_before_the_start(
        self, client: httpx.Client, id: str, store_url: str
    ) -> None:
        self.configure(store_url)
        kit = progresskit.default_kit.default()
        Integration(kit).enqueued(id, owner="ada")
        kit.flush()
        assert client.get(f"{id}/", headers=ADA).json()["state"] == "pending"
        for attempt in (1, 2):
            run = Integration(kit).start(id, attempt=attempt, owner="ada")
            kit.flush()
            assert eventually(lambda: client.get(f"{id}/", headers=ADA).json()["attempt"] == attempt)  # noqa: B023
            assert is_refused(client.get(f"{id}/", headers=BOB))
            run.retry()
        Integration(kit).end_externally(id, State.FAILED, error="lost")
        kit.flush()
        assert eventually(lambda: client.get(f"{id}/", headers=ADA).json()["state"] == "failed")

    def test_an_id_that_is_used_again_has_the_owner_of_its_new_run_or_none(
        self, client: httpx.Client, id: str, store_url: str
    ) -> None:
        def seen_by() -> list[str]:
            return [name for name in ("ada", "bob") if client.get(f"{id}/", headers={"X-User": name}).is_success]

        self.configure(store_url)
        for owner in ("ada", "bob", None):
            with running(id, owner=owner):
                assert eventually(lambda: seen_by() == ([owner] if owner else []))  # noqa: B023

    def test_no_page_is_sent_an_owner_and_a_job_cannot_make_one_up(
        self, client: httpx.Client, id: str, store_url: str
    ) -> None:
        self.configure(store_url, max_streams=0)
        with running(id, owner="ada", meta={"owner": "bob"}, description="owner"):
            record = client.get(f"{id}/", headers=ADA)
            key = sign(id)
            shown = [record, client.get(f"?key={key}"), client.get(f"{key}/events/"), client.get(f"{key}/?as=html")]
            assert record.json() == stored(id).to_dict()
            assert is_refused(client.get(f"{id}/", headers=BOB))
        assert not any("ada" in answer.text.replace(key, "") for answer in shown)

    def test_open_lets_everybody_watch_and_the_owner_alone_cancel(self, client: httpx.Client, id: str) -> None:
        self.configure(allow_anonymous=True)
        with running(id, owner="ada"):
            assert client.get(f"{id}/").status_code == 200
            assert is_refused(client.post(f"{id}/cancel/", headers=BOB | SAME))
            assert client.post(f"{id}/cancel/", headers=ADA | SAME).status_code == 202

    def test_a_function_of_the_site_may_ask_for_the_owner_among_other_things(
        self, client: httpx.Client, id: str
    ) -> None:
        def authorize(request: Any, id: str, right: str) -> bool:
            return self.user_of(request) == "root" or owner_only(request, id, right)

        progresskit.configure("memory://", authorize=authorize, user=self.user_of)
        with running(id, owner="ada"):
            statuses = [client.get(f"{id}/", headers={"X-User": name}).status_code for name in ("root", "ada", "bob")]
        assert statuses == [200, 200, 404]

    def test_who_is_signed_in_cannot_be_known_so_nobody_is_let_in(self, client: httpx.Client, id: str) -> None:
        def fail(request: Any) -> str:
            raise LookupError("no session")

        progresskit.configure("memory://", authorize=owner_only, user=fail)
        with running(id, owner="ada"):
            assert is_refused(client.get(f"{id}/", headers=ADA))
            assert is_refused(client.get(f"{sign(id, user='ada')}/", headers=ADA))

    def test_a_key_of_one_user_opens_nothing_for_another(self, client: httpx.Client, id: str) -> None:
        progresskit.configure("memory://", user=self.user_of, max_streams=0)
        key = sign(id, "cancel", user="ada")
        with running(id):
            for others in (BOB, NOBODY):
                assert all(is_refused(answer) for answer in answers(client, key, others))
            assert [answer.status_code for answer in answers(client, key, ADA)] == [200, 200, 202]

    def test_one_user_takes_at_most_the_places_of_one_user(self, client: httpx.Client, id: str) -> None:
        self.configure(max_streams_per_client=1, max_streams=3)
        keys = {name: sign(id, user=name) for name in ("ada", "bob")}
        with running(id, owner="ada"), streaming(client, f"{id}/events/", headers=ADA) as events:
            assert events.job()
            crowded = [
                client.get(f"{id}/events/", headers=ADA),
                client.get(f"{keys['ada']}/events/", headers=ADA),
                client.get("events/", params={"key": [sign(id), keys["ada"]]}, headers=ADA),
            ]
            with streaming(client, f"{keys['bob']}/events/", headers=BOB) as others:
                assert others.next("retry") == "1000"
                assert others.job()
        assert [blocks(answer)[0] for answer in crowded] == [{"retry": "2000"}] * 3
        assert all(sent_events(answer) for answer in crowded)
