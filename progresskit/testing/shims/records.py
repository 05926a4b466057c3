"""The records: `GET KEY/` and `GET ?key=A&key=B`, long polls included."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import progresskit
from progresskit.web import Surface, sign

from .base import ShimFixtures
from .clients import eventually, sent_events, streaming
from .jobs import finish, running, stored

if TYPE_CHECKING:
    import httpx


class RecordsContract(ShimFixtures):
    """The answers to requests for records."""

    def test_a_record_is_the_same_json_as_in_python(self, client: httpx.Client, id: str, key: str) -> None:
        with running(id):
            response = client.get(f"{key}/")
            record = stored(id)
        assert response.status_code == 200
        assert response.json() == record.to_dict()
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["ETag"] == f'"{record.cursor}"'
        assert response.headers["Vary"] == "Accept"
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert response.headers["Retry-After"] == "1"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in response.headers

    def test_a_job_that_is_done_has_nothing_to_retry_for(self, client: httpx.Client, id: str, key: str) -> None:
        finish(id)
        response = client.get(f"{key}/")
        assert response.json()["done"] is True
        assert "Retry-After" not in response.headers

    @pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"other", W/"{}"', '"a,b" , "{}"', "*"])
    def test_who_has_the_newest_is_notified(self, client: httpx.Client, id: str, key: str, form: str) -> None:
        with running(id):
            response = client.get(f"{key}/", headers={"If-None-Match": form.format(stored(id).cursor)})
            assert response.status_code == 304
            assert response.content == b""
            assert response.headers["ETag"] == f'"{stored(id).cursor}"'
            assert response.headers["Retry-After"] == "1"
            assert response.headers["Cache-Control"] == "private, no-cache"

    def test_who_has_an_older_one_gets_the_newest(self, client: httpx.Client, id: str, key: str) -> None:
        with running(id) as observer:
            old = client.get(f"{key}/").headers["ETag"]
            observer.advance()
            progresskit.flush()
            response = client.get(f"{key}/", headers={"If-None-Match": old})
        assert response.status_code == 200
        assert response.json()["current"] == 1

    def test_a_long_poll_holds_until_there_is_news(self, client: httpx.Client, id: str, key: str) -> None:
        with running(id) as observer, ThreadPoolExecutor() as pool:
            headers = {"If-None-Match": f'"{stored(id).cursor}"', "Prefer": "wait=20"}
            answer = pool.submit(client.get, f"{key}/", headers=headers)
            assert eventually(lambda: Surface().limiter.acquired == 1)
            assert not answer.done()
            observer.advance()
            response = answer.result()
        assert response.status_code == 200
        assert response.json()["current"] == 1
        assert response.headers["Preference-Applied"] == "wait=20"

    def test_a_long_poll_ends_without_news_after_its_time(self, client: httpx.Client, id: str, key: str) -> None:
        with running(id):
            begun = time.monotonic()
            response = client.get(f"{key}/", headers={"If-None-Match": f'"{stored(id).cursor}"', "Prefer": "wait=1"})
            assert time.monotonic() - begun >= 1
        assert response.status_code == 304
        assert response.headers["Preference-Applied"] == "wait=1"

    def test_a_long_poll_does_not_hold_what_is_news_already_or_done(
        self, client: httpx.Client, id: str, key: str
    ) -> None:
        with running(id):
            assert client.get(f"{key}/", headers={"If-None-Match": '"0.0.0"', "Prefer": "wait=20"}).status_code == 200
            assert client.get(f"{key}/", headers={"Prefer": "wait=20"}).status_code == 200
        response = client.get(f"{key}/", headers={"If-None-Match": f'"{stored(id).cursor}"', "Prefer": "wait=20"})
        assert response.status_code == 304
        assert "Preference-Applied" not in response.headers

    @pytest.mark.parametrize("ask", [{"params": {"as": "html"}}, {"headers": {"Accept": "text/html"}}])
    def test_html_is_a_fragment_in_which_all_text_is_escaped(
        self, client: httpx.Client, id: str, key: str, ask: dict[str, Any]
    ) -> None:
        with running(id, description="<script>alert('x')</script>", unit='"<b>'):
            response = client.get(f"{key}/", **ask)
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["Vary"] == "Accept"
        assert '<progress max="100" value="0"' in response.text
        assert "&lt;script&gt;" in response.text
        assert "<script" not in response.text
        assert "<b>" not in response.text
        assert " style=" not in response.text

    def test_html_and_json_of_one_record_are_not_taken_for_each_other(
        self, client: httpx.Client, id: str, key: str
    ) -> None:
        with running(id):
            etag = client.get(f"{key}/").headers["ETag"]
            response = client.get(f"{key}/", headers={"If-None-Match": etag, "Accept": "text/html"})
            assert response.status_code == 200
            again = client.get(f"{key}/", headers={"If-None-Match": response.headers["ETag"], "Accept": "text/html"})
            assert again.status_code == 304

    def test_the_query_says_the_form_over_the_header(self, client: httpx.Client, id: str, key: str) -> None:
        with running(id):
            response = client.get(f"{key}/?as=json", headers={"Accept": "text/html"})
        assert response.json()["id"] == id

    def test_head_is_get_without_the_body(self, client: httpx.Client, id: str, key: str) -> None:
        with running(id):
            for path in (f"{key}/", f"?key={key}", "progresskit.js", "openapi.json", f"{key}/events/"):
                head = client.head(path)
                assert head.status_code == 200
                assert head.content == b""
                with client.stream("GET", path) as whole:
                    for name in ("Content-Type", "ETag", "Cache-Control", "Vary"):
                        assert head.headers.get(name) == whole.headers.get(name), (path, name)

    def test_a_job_that_nobody_reported_is_worth_asking_for_again(self, client: httpx.Client, key: str) -> None:
        response = client.get(f"{key}/")
        assert response.status_code == 404
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.headers["Retry-After"] == "1"

    def test_a_long_poll_holds_until_the_job_is_reported(self, client: httpx.Client, id: str, key: str) -> None:
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(client.get, f"{key}/", headers={"Prefer": "wait=20"})
            assert eventually(lambda: Surface().limiter.acquired == 1)
            with running(id):
                response = answer.result()
        assert response.status_code == 200
        assert response.json()["state"] == "running"

    def test_a_long_poll_for_a_job_that_does_not_come_ends_as_unknown(self, client: httpx.Client, key: str) -> None:
        response = client.get(f"{key}/", headers={"Prefer": "wait=1"})
        assert response.status_code == 404
        assert response.headers["Retry-After"] == "1"
        assert response.headers["Preference-Applied"] == "wait=1"

    def test_a_stream_opens_and_waits_for_the_job(self, client: httpx.Client, id: str, key: str) -> None:
        with streaming(client, f"{key}/events/") as events:
            assert events.next("retry") == "1000"
            with running(id):
                assert events.job()["state"] == "running"

    def test_many_records_come_by_their_keys(self, client: httpx.Client, id: str) -> None:
        here, done, nowhere = sign(f"{id}-a"), sign(f"{id}-b"), sign(f"{id}-c")
        finish(f"{id}-b")
        with running(f"{id}-a"):
            response = client.get("", params={"key": [here, done, nowhere, "bad key"]})
            records = [stored(f"{id}-a"), stored(f"{id}-b")]
        assert response.status_code == 200
        assert response.json() == {
            "jobs": {here: records[0].to_dict(), done: records[1].to_dict(), nowhere: None, "bad key": None}
        }
        assert response.headers["Vary"] == "Accept"
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert response.headers["Retry-After"] == "1"

    def test_the_tag_of_many_changes_with_each(self, client: httpx.Client, id: str) -> None:
        params = {"key": [sign(f"{id}-a"), sign(f"{id}-b")]}
        finish(f"{id}-a")
        with running(f"{id}-b") as observer:
            etag = client.get("", params=params).headers["ETag"]
            assert client.get("", params=params, headers={"If-None-Match": etag}).status_code == 304
            observer.advance()
            progresskit.flush()
            assert client.get("", params=params, headers={"If-None-Match": etag}).status_code == 200
        response = client.get("", params=params)
        assert response.headers["ETag"] != etag
        assert "Retry-After" not in response.headers

    def test_a_key_for_several_jobs_is_as_good_as_several_keys(self, client: httpx.Client, id: str) -> None:
        ids = [f"{id}-a", f"{id}-b"]
        several, unknown = sign(ids), sign(id)
        records = {id: finish(id).to_dict() for id in ids}
        assert client.get(f"{several}/").json() == {"jobs": records}
        assert client.get("", params={"key": [several, unknown]}).json() == {"jobs": records | {unknown: None}}
        events = sent_events(client.get(f"{several}/events/"))
        assert {(event := json.loads(block["data"]))["key"]: event["job"] for block in events} == records

    def test_a_loop_of_long_polls_sees_a_job_from_before_its_beginning_to_its_end(
        self, client: httpx.Client, id: str, key: str
    ) -> None:
        def follow() -> list[dict[str, Any]]:
            seen: list[dict[str, Any]] = []
            headers = {"Prefer": "wait=20"}
            while not seen or not seen[-1]["done"]:
                response = client.get(f"{key}/", headers=headers)
                if response.status_code == 200:
                    seen.append(response.json())
                    headers["If-None-Match"] = response.headers["ETag"]
                assert response.status_code in (200, 304, 404)
            return seen

        with ThreadPoolExecutor() as pool:
            following = pool.submit(follow)
            assert eventually(lambda: Surface().limiter.acquired == 1)
            with running(id) as observer:
                for _ in range(4):
                    observer.advance()
                    progresskit.flush()
            seen = following.result(120)
        assert seen[-1] == stored(id).to_dict()
        assert [job["current"] for job in seen] == sorted(job["current"] for job in seen)
        assert len({job["cursor"] for job in seen}) == len(seen)
