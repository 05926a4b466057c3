"""The limit on streams and long polls, and the one of each client."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import progresskit
from progresskit.web import Stream, Surface, sign, streams

from .base import ShimFixtures
from .clients import blocks, eventually, sent_events, streaming
from .jobs import running, stored

if TYPE_CHECKING:
    from collections.abc import Iterator


def crowded(response: httpx.Response) -> bool:
    """Return whether a stream was over the limit: it sends the present records, and when to reconnect."""
    return response.status_code == 200 and blocks(response)[0] == {"retry": "2000"} and bool(sent_events(response))


@contextmanager
def unread_stream(base_url: str, key: str) -> Iterator[None]:
    """Open a stream whose client does not read."""
    url = httpx.URL(base_url)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.connect((url.host, url.port))
        reader.sendall(f"GET {url.path}/{key}/events/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield


class LimitsContract(ShimFixtures):
    """The limits of connections."""

    def test_past_the_budget_a_stream_reports_what_there_is_and_asks_to_come_again(
        self, client: httpx.Client, id: str, key: str
    ) -> None:
        progresskit.configure("memory://", max_streams=1)
        with running(id), streaming(client, f"{key}/events/") as events:
            assert events.job()
            one = client.get(f"{key}/events/")
            many = client.get("events/", params={"key": [key, "bad", sign("unknown")]})
            held = client.get(f"{key}/", headers={"If-None-Match": f'"{stored(id).cursor}"', "Prefer": "wait=20"})
            record = stored(id).to_dict()
        assert one.status_code == many.status_code == 200
        assert blocks(one)[0] == blocks(many)[0] == {"retry": "2000"}
        assert [json.loads(block["data"]) for block in sent_events(one)] == [record]
        assert [json.loads(block["data"]) for block in sent_events(many)] == [
            {"key": "bad", "job": None},
            {"key": key, "job": record},
        ]
        assert not any("id" in block for block in sent_events(many))
        assert held.status_code == 304
        assert "Preference-Applied" not in held.headers

    def test_without_a_budget_every_stream_is_a_poll(self, client: httpx.Client, id: str, key: str) -> None:
        progresskit.configure("memory://", max_streams=0)
        unknown = client.get(f"{key}/events/")
        with running(id):
            running_now = client.get(f"{key}/events/")
            seen = sent_events(running_now)[0]["id"]
            no_news = client.get(f"{key}/events/", headers={"Last-Event-ID": seen})
        done = client.get("events/", params={"key": key})
        assert blocks(unknown) == blocks(no_news) == [{"retry": "2000"}]
        assert json.loads(sent_events(running_now)[0]["data"])["state"] == "running"
        assert sent_events(done)[-1]["id"] == "end"
        assert Surface().limiter.acquired == 0

    def test_a_viewer_who_leaves_gives_the_place_back(
        self, client: httpx.Client, id: str, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        progresskit.configure("memory://", max_streams=1)
        monkeypatch.setattr(Stream, "comment_seconds", 0.05)
        with running(id):
            for _ in range(3):
                with streaming(client, f"{key}/events/") as events:
                    assert events.next("retry") == "1000"
                    assert events.job()
                assert eventually(lambda: Surface().limiter.acquired == 0)

    def test_a_threaded_server_gives_a_thread_for_a_limited_time_only(
        self, client: httpx.Client, id: str, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        passed = 0.0
        monkeypatch.setattr(streams, "monotonic", lambda: time.monotonic() + passed)
        monkeypatch.setattr(Stream, "comment_seconds", 0.05)  # after which it looks at the clock
        progresskit.configure("memory://", stream_seconds=60)
        with running(id) as observer, streaming(client, f"{key}/events/") as events:
            assert events.job()
            assert [events.next(""), events.next("")] == ["", ""], "it goes on until then"
            passed = 60.0
            if self.threaded:
                assert [block for block in events if "" not in block] == [{"retry": "1000"}]
            else:
                assert [events.next("") for _ in range(4)] == [""] * 4
                observer.succeed()
                assert [block["id"] for block in events if "" not in block] == [stored(id).cursor]

    def test_a_thread_whose_client_reads_nothing_is_freed_all_the_same(self, base_url: str) -> None:
        if not self.aborts:
            pytest.skip("no thread of its own, or a server that does not expose the connection")
        progresskit.configure("memory://", interval=0.01, max_streams=1, stream_seconds=2)
        ids = [f"fat-{place}" for place in range(20)]
        with ExitStack() as stack, unread_stream(base_url, sign(ids)):
            observers = [stack.enter_context(running(id)) for id in ids]
            assert eventually(lambda: Surface().limiter.acquired == 1)
            ends_at, number = time.monotonic() + 2 + streams.CUTOFF_SECONDS, 0
            while Surface().limiter.acquired:  # more than all buffers on the way hold
                number += 1
                for observer in observers:
                    observer.update(meta={"number": number, "filling": "x" * 8_000})
                assert time.monotonic() < ends_at + 60
                time.sleep(0.01)
            for observer in observers:
                observer.succeed()
        assert eventually(lambda: "progresskit-cutoffs" not in {thread.name for thread in threading.enumerate()})

    def test_past_its_share_a_client_polls(self, client: httpx.Client, id: str, key: str) -> None:
        progresskit.configure("memory://", max_streams=5, max_streams_per_client=1, trusted_proxies=0)
        with running(id), streaming(client, f"{key}/events/") as events:
            assert events.job()
            assert crowded(client.get(f"{key}/events/"))
            assert crowded(client.get("events/", params={"key": key}))
            headers = {"If-None-Match": f'"{stored(id).cursor}"', "Prefer": "wait=20"}
            held = client.get(f"{key}/", headers=headers)
            assert held.status_code == 304
            assert "Preference-Applied" not in held.headers
            assert Surface().limiter.acquired == 1
        assert eventually(lambda: Surface().limiter.acquired == 0)
        with running(id), streaming(client, f"{key}/events/") as events:
            assert events.next("retry") == "1000"

    def test_a_long_poll_is_of_a_clients_share(self, client: httpx.Client, id: str, key: str) -> None:
        progresskit.configure("memory://", max_streams=5, max_streams_per_client=1, trusted_proxies=0)
        with running(id) as observer, ThreadPoolExecutor() as pool:
            headers = {"If-None-Match": f'"{stored(id).cursor}"', "Prefer": "wait=20"}
            answer = pool.submit(client.get, f"{key}/", headers=headers)
            assert eventually(lambda: Surface().limiter.acquired == 1)
            assert crowded(client.get(f"{key}/events/"))
            observer.advance()
            assert answer.result().headers["Preference-Applied"] == "wait=20"

    @pytest.mark.parametrize(
        "settings", [{}, {"trusted_proxies": 0, "max_streams_per_client": 2}, {"trusted_proxies": 1}]
    )
    def test_who_may_be_behind_a_proxy_or_has_a_share_left_gets_a_stream(
        self, client: httpx.Client, id: str, key: str, settings: dict[str, Any]
    ) -> None:
        progresskit.configure("memory://", **{"max_streams": 5, "max_streams_per_client": 1} | settings)
        ours, others = ({"X-Forwarded-For": f"6.6.6.6, 93.184.216.{number}"} for number in (34, 35))
        with (
            running(id),
            streaming(client, f"{key}/events/", headers=ours) as one,
            streaming(client, f"{key}/events/", headers=others) as two,
        ):
            assert [one.next("retry"), two.next("retry")] == ["1000", "1000"]

    def test_a_header_that_anybody_can_send_makes_nobody_another_client(
        self, client: httpx.Client, id: str, key: str
    ) -> None:
        progresskit.configure("memory://", max_streams=5, max_streams_per_client=1, trusted_proxies=0)
        with running(id), streaming(client, f"{key}/events/") as events:
            assert events.job()
            assert crowded(client.get(f"{key}/events/", headers={"X-Forwarded-For": "93.184.216.34"}))
        progresskit.configure("memory://", max_streams=5, max_streams_per_client=1, trusted_proxies=1)
        real = "93.184.216.34"
        with running(id), streaming(client, f"{key}/events/", headers={"X-Forwarded-For": real}) as events:
            assert events.job()
            assert crowded(client.get(f"{key}/events/", headers={"X-Forwarded-For": f"6.6.6.6, {real}"}))
