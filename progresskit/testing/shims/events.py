"""The streams: `GET KEY/events/` and `GET events/?key=A&key=B`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import progresskit
from progresskit.memory import MemoryBackend
from progresskit.testing.doubles import FakeClock
from progresskit.web import Stream, sign

from .base import ShimFixtures
from .clients import Events, sent_events, streaming
from .jobs import finish, running, stored

if TYPE_CHECKING:
    import httpx


class EventsContract(ShimFixtures):
    """The events of streams."""

    def test_a_stream_reports_each_change_and_ends_after_the_final_one(
        self, client: httpx.Client, id: str, key: str
    ) -> None:
        with running(id) as observer, streaming(client, f"{key}/events/") as events:
            seen = [events.job()]
            for _ in range(4):
                observer.advance()
                seen.append(events.job())
            observer.succeed()
            rest = list(events)
        assert [job["current"] for job in seen] == [0, 1, 2, 3, 4]
        assert [block["event"] for block in rest] == ["progress"]
        assert json.loads(rest[0]["data"]) == stored(id).to_dict()
        assert rest[0]["id"] == stored(id).cursor

    def test_the_headers_of_a_stream_keep_it_flowing(self, client: httpx.Client, id: str, key: str) -> None:
        with running(id):
            for path in (f"{key}/events/", f"events/?key={key}"):
                with client.stream("GET", path, headers={"Accept-Encoding": "gzip, br"}) as response:
                    assert response.headers["Content-Type"] == "text/event-stream"
                    assert response.headers["Cache-Control"] == "no-cache, no-transform"
                    assert response.headers["X-Accel-Buffering"] == "no"
                    assert response.headers["Content-Encoding"] == "identity"
                    assert "Content-Length" not in response.headers
                    assert Events(response).next("data")

    @pytest.mark.parametrize("by", ["header", "query"])
    def test_a_reconnect_that_has_seen_the_final_record_is_stopped(
        self, client: httpx.Client, id: str, key: str, by: str
    ) -> None:
        cursor = finish(id).cursor

        def again(seen: str) -> httpx.Response:
            if by == "query":
                return client.get(f"{key}/events/", params={"last_event_id": seen})
            return client.get(f"{key}/events/", headers={"Last-Event-ID": seen})

        assert again(cursor).status_code == 204
        assert again(cursor).content == b""
        assert [block["id"] for block in sent_events(again("1.1.1"))] == [cursor]

    def test_what_was_seen_of_a_forgotten_job_does_not_hide_the_next_one(
        self, client: httpx.Client, id: str, key: str
    ) -> None:
        clock = FakeClock()
        progresskit.configure(backend=MemoryBackend(clock), ttl=60)
        before = finish(id)
        etags = {path: client.get(path).headers["ETag"] for path in (f"{key}/", f"?key={key}", f"{key}/?as=html")}
        clock.advance(61)
        assert client.get(f"{key}/").status_code == 404
        after = finish(id)
        assert (after.version, after.state) == (before.version, before.state)
        for path, etag in etags.items():
            response = client.get(path, headers={"If-None-Match": etag})
            assert (response.status_code, response.headers["ETag"] != etag) == (200, True), path
        [block, *_] = sent_events(client.get(f"{key}/events/", headers={"Last-Event-ID": before.cursor}))
        assert block["id"] == after.cursor

    def test_a_reconnect_in_the_middle_is_sent_only_what_is_new(self, client: httpx.Client, id: str, key: str) -> None:
        with running(id) as observer:
            headers = {"Last-Event-ID": stored(id).cursor}
            with streaming(client, f"{key}/events/", headers=headers) as events:
                assert events.next("retry")
                observer.advance()
                assert events.job()["current"] == 1

    def test_a_stream_of_fragments_has_one_in_each_event(self, client: httpx.Client, id: str, key: str) -> None:
        with progresskit.observe(id, description="two\r\nlines\rand <b>"):
            pass
        block, last = sent_events(client.get(f"{key}/events/?as=html"))
        assert last["event"] == "done"
        assert block["id"] == stored(id).cursor
        assert block["data"].startswith("<div ")
        assert block["data"].endswith("</div>")
        assert "two lines and &lt;b&gt;" in block["data"]

    def test_fragments_of_many_jobs_end_with_an_event_of_its_own_once_all_are_done(
        self, client: httpx.Client, id: str
    ) -> None:
        ids = (f"{id}-1", f"{id}-2")
        for each in ids:
            finish(each)
        query = "&".join(f"key={sign(each)}" for each in ids)
        events = [block["event"] for block in sent_events(client.get(f"events/?{query}&as=html"))]
        assert events == ["progress", "progress", "done"]

    def test_a_quiet_stream_says_that_it_is_there(
        self, client: httpx.Client, id: str, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert Stream.comment_seconds == 15
        monkeypatch.setattr(Stream, "comment_seconds", 0.05)
        with running(id), streaming(client, f"{key}/events/") as events:
            assert events.job()
            assert [events.next(""), events.next("")] == ["", ""]

    def test_many_jobs_share_a_stream_that_ends_when_all_are_done(self, client: httpx.Client, id: str) -> None:
        ids = [f"{id}-a", f"{id}-b"]
        first, second = sign(ids[0]), sign(ids[1])
        with running(ids[0]) as a, streaming(client, "events/", params={"key": [first, second, "bad"]}) as events:
            beginning = [events.job(), events.job()]
            with running(ids[1]) as b:
                change = events.job()
                a.succeed()
                end = events.job()
                b.succeed()
            rest = list(events)
        assert beginning[0] == {"key": "bad", "job": None}
        assert (beginning[1]["key"], beginning[1]["job"]["state"]) == (first, "running")
        assert (change["key"], change["job"]["state"]) == (second, "running")
        assert (end["key"], end["job"]["state"]) == (first, "succeeded")
        assert [(block["event"], block["id"]) for block in rest] == [("progress", "end")]
        assert json.loads(rest[0]["data"]) == {"key": second, "job": stored(ids[1]).to_dict()}

    def test_an_event_of_many_has_no_id_before_the_end(self, client: httpx.Client, id: str) -> None:
        keys = {"key": [sign(f"{id}-a"), sign(f"{id}-b")]}
        finish(f"{id}-a")
        finish(f"{id}-b")
        events = sent_events(client.get("events/", params=keys))
        assert ["id" in event for event in events] == [False, True]
        assert events[-1]["id"] == "end"

    @pytest.mark.parametrize("by", ["header", "query"])
    def test_a_reconnect_after_the_end_of_many_is_stopped(
        self, client: httpx.Client, id: str, key: str, by: str
    ) -> None:
        finish(id)
        params = {"key": key} | ({"last_event_id": "end"} if by == "query" else {})
        headers = {"Last-Event-ID": "end"} if by == "header" else {}
        assert client.get("events/", params=params, headers=headers).status_code == 204

    def test_a_stream_of_bad_keys_only_reports_each_and_ends(self, client: httpx.Client) -> None:
        events = sent_events(client.get("events/", params={"key": ["one", "~two"]}))
        assert [json.loads(event["data"]) for event in events] == [
            {"key": "one", "job": None},
            {"key": "~two", "job": None},
        ]
        assert events[-1]["id"] == "end"

    def test_two_keys_of_one_job_are_both_sent(self, client: httpx.Client, id: str) -> None:
        finish(id)
        keys = [sign(id), sign(id, "cancel")]
        events = sent_events(client.get("events/", params={"key": keys}))
        assert [json.loads(event["data"])["key"] for event in events] == keys
