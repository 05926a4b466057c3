"""Every shim of the table answers as the contract's fifth part says, row by row, over real sockets."""

from __future__ import annotations

import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import progresskit
from progresskit.memory import MemoryBackend
from progresskit.testing import FakeClock
from progresskit.web import Stream, sign
from progresskit.web.limiter import PROCESS_LIMITER

from .clients import Events, eventually, is_refused, streaming, told
from .jobs import finish, running, stored

pytestmark = pytest.mark.usefixtures("contract")

WEB = Path(progresskit.__file__).with_name("web")


# GET /progress/KEY/


def test_a_record_is_the_same_json_as_in_python(client: httpx.Client, id: str, key: str) -> None:
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


def test_a_job_that_is_done_has_nothing_to_retry_for(client: httpx.Client, id: str, key: str) -> None:
    finish(id)
    response = client.get(f"{key}/")
    assert response.json()["done"] is True
    assert "Retry-After" not in response.headers


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"other", W/"{}"', '"a,b" , "{}"', "*"])
def test_who_has_the_newest_is_told_so(client: httpx.Client, id: str, key: str, form: str) -> None:
    with running(id):
        response = client.get(f"{key}/", headers={"If-None-Match": form.format(stored(id).cursor)})
        assert response.status_code == 304
        assert response.content == b""
        assert response.headers["ETag"] == f'"{stored(id).cursor}"'
        assert response.headers["Retry-After"] == "1"
        assert response.headers["Cache-Control"] == "private, no-cache"


def test_who_has_an_older_one_gets_the_newest(client: httpx.Client, id: str, key: str) -> None:
    with running(id) as observer:
        old = client.get(f"{key}/").headers["ETag"]
        observer.advance()
        progresskit.flush()
        response = client.get(f"{key}/", headers={"If-None-Match": old})
    assert response.status_code == 200
    assert response.json()["current"] == 1


def test_a_long_poll_holds_until_there_is_news(client: httpx.Client, id: str, key: str) -> None:
    with running(id) as observer, ThreadPoolExecutor() as pool:
        headers = {"If-None-Match": f'"{stored(id).cursor}"', "Prefer": "wait=20"}
        answer = pool.submit(client.get, f"{key}/", headers=headers)
        assert eventually(lambda: PROCESS_LIMITER.acquired == 1)
        assert not answer.done()
        observer.advance()
        response = answer.result()
    assert response.status_code == 200
    assert response.json()["current"] == 1
    assert response.headers["Preference-Applied"] == "wait=20"


def test_a_long_poll_ends_without_news_after_its_time(client: httpx.Client, id: str, key: str) -> None:
    with running(id):
        begun = time.monotonic()
        response = client.get(f"{key}/", headers={"If-None-Match": f'"{stored(id).cursor}"', "Prefer": "wait=1"})
        assert time.monotonic() - begun >= 1
    assert response.status_code == 304
    assert response.headers["Preference-Applied"] == "wait=1"


def test_a_long_poll_does_not_hold_what_is_news_already_or_done(client: httpx.Client, id: str, key: str) -> None:
    with running(id):
        assert client.get(f"{key}/", headers={"If-None-Match": '"0.0.0"', "Prefer": "wait=20"}).status_code == 200
        assert client.get(f"{key}/", headers={"Prefer": "wait=20"}).status_code == 200
    response = client.get(f"{key}/", headers={"If-None-Match": f'"{stored(id).cursor}"', "Prefer": "wait=20"})
    assert response.status_code == 304
    assert "Preference-Applied" not in response.headers


@pytest.mark.parametrize("ask", [{"params": {"as": "html"}}, {"headers": {"Accept": "text/html"}}])
def test_html_is_a_fragment_in_which_all_text_is_escaped(
    client: httpx.Client, id: str, key: str, ask: dict[str, Any]
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


def test_html_and_json_of_one_record_are_not_taken_for_each_other(client: httpx.Client, id: str, key: str) -> None:
    with running(id):
        etag = client.get(f"{key}/").headers["ETag"]
        response = client.get(f"{key}/", headers={"If-None-Match": etag, "Accept": "text/html"})
        assert response.status_code == 200
        again = client.get(f"{key}/", headers={"If-None-Match": response.headers["ETag"], "Accept": "text/html"})
        assert again.status_code == 304


def test_the_query_says_the_form_over_the_header(client: httpx.Client, id: str, key: str) -> None:
    with running(id):
        response = client.get(f"{key}/?as=json", headers={"Accept": "text/html"})
    assert response.json()["id"] == id


def test_head_is_get_without_the_body(client: httpx.Client, id: str, key: str) -> None:
    with running(id):
        for path in (f"{key}/", f"?key={key}", "progresskit.js", "openapi.json", f"{key}/events/"):
            head = client.head(path)
            assert head.status_code == 200
            assert head.content == b""
            with client.stream("GET", path) as whole:
                for name in ("Content-Type", "ETag", "Cache-Control", "Vary"):
                    assert head.headers.get(name) == whole.headers.get(name), (path, name)


# A valid key, nothing reported yet


def test_a_job_that_nobody_reported_is_worth_asking_for_again(client: httpx.Client, key: str) -> None:
    response = client.get(f"{key}/")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "1"


def test_a_long_poll_holds_until_the_job_is_reported(client: httpx.Client, id: str, key: str) -> None:
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(client.get, f"{key}/", headers={"Prefer": "wait=20"})
        assert eventually(lambda: PROCESS_LIMITER.acquired == 1)
        with running(id):
            response = answer.result()
    assert response.status_code == 200
    assert response.json()["state"] == "running"


def test_a_long_poll_for_a_job_that_does_not_come_ends_as_unknown(client: httpx.Client, key: str) -> None:
    response = client.get(f"{key}/", headers={"Prefer": "wait=1"})
    assert response.status_code == 404
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Preference-Applied"] == "wait=1"


def test_a_stream_opens_and_waits_for_the_job(client: httpx.Client, id: str, key: str) -> None:
    with streaming(client, f"{key}/events/") as events:
        assert events.next("retry") == "1000"
        with running(id):
            assert events.job()["state"] == "running"


# GET /progress/?key=A&key=B


def test_many_records_come_by_their_keys(client: httpx.Client, id: str) -> None:
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


def test_the_tag_of_many_changes_with_each(client: httpx.Client, id: str) -> None:
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


def test_a_key_for_several_jobs_is_as_good_as_several_keys(client: httpx.Client, id: str) -> None:
    ids = [f"{id}-a", f"{id}-b"]
    several, unknown = sign(ids), sign(id)
    records = {id: finish(id).to_dict() for id in ids}
    assert client.get(f"{several}/").json() == {"jobs": records}
    assert client.get("", params={"key": [several, unknown]}).json() == {"jobs": records | {unknown: None}}
    events = told(client.get(f"{several}/events/"))
    assert {(event := json.loads(block["data"]))["key"]: event["job"] for block in events} == records


# GET /progress/KEY/events/


def test_a_stream_tells_of_each_change_and_ends_after_the_final_one(client: httpx.Client, id: str, key: str) -> None:
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


def test_the_headers_of_a_stream_keep_it_flowing(client: httpx.Client, id: str, key: str) -> None:
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
    client: httpx.Client, id: str, key: str, by: str
) -> None:
    cursor = finish(id).cursor

    def again(seen: str) -> httpx.Response:
        if by == "query":
            return client.get(f"{key}/events/", params={"last_event_id": seen})
        return client.get(f"{key}/events/", headers={"Last-Event-ID": seen})

    assert again(cursor).status_code == 204
    assert again(cursor).content == b""
    assert [block["id"] for block in told(again("1.1.1"))] == [cursor]


def test_what_was_seen_of_a_forgotten_job_does_not_hide_the_next_one(client: httpx.Client, id: str, key: str) -> None:
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
    [block, *_] = told(client.get(f"{key}/events/", headers={"Last-Event-ID": before.cursor}))
    assert block["id"] == after.cursor


def test_a_reconnect_in_the_middle_is_told_only_what_is_new(client: httpx.Client, id: str, key: str) -> None:
    with running(id) as observer:
        headers = {"Last-Event-ID": stored(id).cursor}
        with streaming(client, f"{key}/events/", headers=headers) as events:
            assert events.next("retry")
            observer.advance()
            assert events.job()["current"] == 1


def test_a_stream_of_fragments_has_one_in_each_event(client: httpx.Client, id: str, key: str) -> None:
    with progresskit.observe(id, description="two\r\nlines\rand <b>"):
        pass
    block, last = told(client.get(f"{key}/events/?as=html"))
    assert last["event"] == "done"
    assert block["id"] == stored(id).cursor
    assert block["data"].startswith("<div ")
    assert block["data"].endswith("</div>")
    assert "two lines and &lt;b&gt;" in block["data"]


def test_fragments_of_many_jobs_end_with_an_event_of_its_own_once_all_are_done(client: httpx.Client, id: str) -> None:
    ids = (f"{id}-1", f"{id}-2")
    for each in ids:
        finish(each)
    query = "&".join(f"key={sign(each)}" for each in ids)
    events = [block["event"] for block in told(client.get(f"events/?{query}&as=html"))]
    assert events == ["progress", "progress", "done"]


def test_a_quiet_stream_says_that_it_is_there(
    client: httpx.Client, id: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Stream.comment_seconds == 15
    monkeypatch.setattr(Stream, "comment_seconds", 0.05)
    with running(id), streaming(client, f"{key}/events/") as events:
        assert events.job()
        assert [events.next(""), events.next("")] == ["", ""]


# GET /progress/events/?key=A&key=B


def test_many_jobs_share_a_stream_that_ends_when_all_are_done(client: httpx.Client, id: str) -> None:
    ids = [f"{id}-a", f"{id}-b"]
    first, second = sign(ids[0]), sign(ids[1])
    with running(ids[0]) as a, streaming(client, "events/", params={"key": [first, second, "bad"]}) as events:
        told_first = [events.job(), events.job()]
        with running(ids[1]) as b:
            told_second = events.job()
            a.succeed()
            told_third = events.job()
            b.succeed()
        rest = list(events)
    assert told_first[0] == {"key": "bad", "job": None}
    assert (told_first[1]["key"], told_first[1]["job"]["state"]) == (first, "running")
    assert (told_second["key"], told_second["job"]["state"]) == (second, "running")
    assert (told_third["key"], told_third["job"]["state"]) == (first, "succeeded")
    assert [(block["event"], block["id"]) for block in rest] == [("progress", "end")]
    assert json.loads(rest[0]["data"]) == {"key": second, "job": stored(ids[1]).to_dict()}


def test_an_event_of_many_has_no_id_before_the_end(client: httpx.Client, id: str) -> None:
    keys = {"key": [sign(f"{id}-a"), sign(f"{id}-b")]}
    finish(f"{id}-a")
    finish(f"{id}-b")
    events = told(client.get("events/", params=keys))
    assert ["id" in event for event in events] == [False, True]
    assert events[-1]["id"] == "end"


@pytest.mark.parametrize("by", ["header", "query"])
def test_a_reconnect_after_the_end_of_many_is_stopped(client: httpx.Client, id: str, key: str, by: str) -> None:
    finish(id)
    params = {"key": key} | ({"last_event_id": "end"} if by == "query" else {})
    headers = {"Last-Event-ID": "end"} if by == "header" else {}
    assert client.get("events/", params=params, headers=headers).status_code == 204


def test_a_stream_of_bad_keys_only_tells_of_each_and_ends(client: httpx.Client) -> None:
    events = told(client.get("events/", params={"key": ["one", "~two"]}))
    assert [json.loads(event["data"]) for event in events] == [
        {"key": "one", "job": None},
        {"key": "~two", "job": None},
    ]
    assert events[-1]["id"] == "end"


def test_two_keys_of_one_job_are_both_told(client: httpx.Client, id: str) -> None:
    finish(id)
    keys = [sign(id), sign(id, "cancel")]
    events = told(client.get("events/", params={"key": keys}))
    assert [json.loads(event["data"])["key"] for event in events] == keys


# POST /progress/KEY/cancel/

SAME = {"Sec-Fetch-Site": "same-origin"}


def test_a_key_with_the_right_cancels(client: httpx.Client, id: str) -> None:
    with running(id) as observer:
        response = client.post(f"{sign(id, 'cancel')}/cancel/", headers=SAME)
        assert response.status_code == 202
        assert response.json()["cancel_requested"] is True
        assert stored(id).cancel_requested
        assert eventually(lambda: observer.cancel_requested)


def test_a_key_that_cancels_watches_too(client: httpx.Client, id: str) -> None:
    finish(id)
    assert client.get(f"{sign(id, 'cancel')}/").status_code == 200


def test_a_key_to_watch_does_not_cancel(client: httpx.Client, id: str, key: str) -> None:
    with running(id):
        assert is_refused(client.post(f"{key}/cancel/", headers=SAME))
        assert not stored(id).cancel_requested


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "{site}"},
    ],
)
def test_a_page_of_another_site_cannot_cancel(
    client: httpx.Client, site: str, id: str, headers: dict[str, str]
) -> None:
    with running(id):
        sent = {name: value.format(site=site) for name, value in headers.items()}
        response = client.post(f"{sign(id, 'cancel')}/cancel/", headers=sent)
        assert response.status_code == 403
        assert response.headers["Content-Type"] == "application/problem+json"
        assert not stored(id).cancel_requested


@pytest.mark.parametrize("headers", [SAME, {"Origin": "{site}"}, {"X-Progresskit": "1"}])
def test_a_page_of_this_site_and_a_script_can(
    client: httpx.Client, site: str, id: str, headers: dict[str, str]
) -> None:
    with running(id):
        sent = {name: value.format(site=site) for name, value in headers.items()}
        assert client.post(f"{sign(id, 'cancel')}/cancel/", headers=sent).status_code == 202


def test_cancelling_what_nobody_reported_is_worth_trying_again(client: httpx.Client, id: str) -> None:
    response = client.post(f"{sign(id, 'cancel')}/cancel/", headers=SAME)
    assert response.status_code == 404
    assert response.headers["Retry-After"] == "1"


def test_cancelling_what_is_done_tells_that_it_is(client: httpx.Client, id: str) -> None:
    finish(id)
    response = client.post(f"{sign(id, 'cancel')}/cancel/", headers=SAME)
    assert response.status_code == 202
    assert response.json() == stored(id).to_dict()


# The files


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("progresskit.js", "text/javascript; charset=utf-8"),
        ("progress-group.js", "text/javascript; charset=utf-8"),
        ("openapi.json", "application/json"),
    ],
)
def test_the_files_are_served_as_they_are(client: httpx.Client, name: str, kind: str) -> None:
    response = client.get(name, headers={"Accept-Encoding": "identity"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == kind
    assert response.content == (WEB / name).read_bytes()
    headers = {"Accept-Encoding": "identity", "If-None-Match": response.headers["ETag"]}
    assert client.get(name, headers=headers).status_code == 304


def test_the_component_is_compressed_for_who_takes_that(client: httpx.Client) -> None:
    with client.stream("GET", "progresskit.js", headers={"Accept-Encoding": "gzip"}) as response:
        raw = b"".join(response.iter_raw())
    assert response.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in response.headers["Vary"]
    assert gzip.decompress(raw) == (WEB / "progresskit.js").read_bytes()
    plain = client.get("progresskit.js", headers={"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in plain.headers
    assert plain.content == (WEB / "progresskit.js").read_bytes()
