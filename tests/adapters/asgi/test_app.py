"""The ASGI application in each framework and on each server that it is said to work in, over real sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from progresskit.kit import Kit
from progresskit.web import Surface
from tests.contract.clients import (
    STALL_SECONDS,
    described_client,
    eventually,
    kept_connection,
    quickest,
    sent_events,
    streaming,
)
from tests.services.waiting import PATIENCE

from .sites import ID, SECRET, SITES, Site, serving

NUMBERS = count()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('sites') / 'progress.db'}"


@pytest.fixture(scope="module")
def kit(url: str) -> Iterator[Kit]:
    """Give the kit of the worker, which is this process."""
    kit = Kit(url, secret_key=SECRET, flush_seconds=PATIENCE)
    yield kit
    kit.close()


@pytest.fixture(scope="module", params=SITES, ids=lambda site: site.name)
def site(request: pytest.FixtureRequest) -> Site:
    served: Site = request.param
    return served


@pytest.fixture(scope="module")
def address(site: Site, url: str) -> Iterator[str]:
    with serving(site, url) as address:
        yield address


@pytest.fixture(scope="module")
def all_addresses(url: str) -> Iterator[Mapping[Site, str]]:
    """Serve all sites, started at once."""
    with ExitStack() as stack:
        with ThreadPoolExecutor(len(SITES)) as threads:
            addresses = list(threads.map(lambda site: stack.enter_context(serving(site, url)), SITES))
        yield dict(zip(SITES, addresses, strict=True))


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with described_client(f"{address}/progress/") as client:
        yield client


@pytest.fixture
def id() -> str:
    return f"import-{next(NUMBERS)}"


@pytest.fixture
def key(kit: Kit, id: str) -> str:
    return Surface(kit).sign(id, "cancel")


def opened(address: str, origin: Origin | None = None) -> ClientConnection:
    return connect(f"{address.replace('http', 'ws')}/progress/ws/", origin=origin, proxy=None, open_timeout=PATIENCE)


def received(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(PATIENCE))


def test_a_record_can_be_read(client: httpx.Client, kit: Kit, id: str, key: str) -> None:
    with kit.observe(id, total=4):
        kit.flush()
        answer = client.get(f"{key}/")
        record = kit.get(id)
    assert record is not None
    assert (answer.status_code, answer.json()) == (200, record.to_dict())
    assert client.get("nothing/").status_code == 404
    assert client.get("a/b/c/").headers["content-type"] == "application/problem+json"


@pytest.mark.timing
def test_no_poll_on_a_kept_connection_waits_for_an_acknowledgement(
    site: Site, all_addresses: Mapping[Site, str], kit: Kit, id: str, key: str
) -> None:
    with kit.observe(id):
        kit.flush()
        with kept_connection(all_addresses[site], f"/progress/{key}/") as (_, poll):
            assert quickest(poll) < STALL_SECONDS


def test_a_stream_reports_each_change_at_once_and_ends(client: httpx.Client, kit: Kit, id: str, key: str) -> None:
    with kit.observe(id, total=4) as observer, streaming(client, f"{key}/events/") as events:
        for number in range(4):
            observer.set_progress(number)
            assert events.response.headers["content-type"] == "text/event-stream"
            while events.job()["current"] != number:
                pass
        observer.succeed()
        *_, last = [json.loads(block["data"]) for block in events if "data" in block]
        assert last["state"] == "succeeded"


def test_many_jobs_share_a_stream(client: httpx.Client, kit: Kit, id: str, key: str) -> None:
    with kit.observe(id):
        kit.flush()
    with kit.observe(f"{id}-b"):
        kit.flush()
    events = sent_events(client.get("events/", params={"key": [key, Surface(kit).sign(f"{id}-b"), "bad"]}))
    jobs = {job["key"]: job["job"] for job in (json.loads(event["data"]) for event in events)}
    assert jobs.pop("bad") is None
    assert {job["id"] for job in jobs.values()} == {id, f"{id}-b"}
    assert events[-1]["id"] == "end"


def test_a_key_with_the_right_cancels(client: httpx.Client, kit: Kit, id: str, key: str) -> None:
    with kit.observe(id, cancellable=True) as observer:
        kit.flush()
        assert client.post(f"{key}/cancel/", headers={"X-Progresskit": "1"}).status_code == 202
        assert eventually(lambda: observer.cancel_requested)


def test_the_component_is_served(client: httpx.Client) -> None:
    answer = client.get("progresskit.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")


def test_a_page_has_a_bar_that_works(address: str, site: Site, kit: Kit) -> None:
    if site.app == "bare":
        return  # it has none
    html = httpx.get(f"{address}/", trust_env=False, timeout=PATIENCE).text
    found = re.fullmatch(
        r'<!doctype html><progress-bar src="(/progress/~[\w~-]+/)" cancel><noscript>.*</noscript></progress-bar>'
        r'<script type="module" src="(/progress/progresskit.js)"></script>',
        html,
    )
    assert found is not None, html
    with kit.observe(ID):
        kit.flush()
        assert httpx.get(f"{address}{found[1]}", trust_env=False, timeout=PATIENCE).json()["id"] == ID
    assert httpx.get(f"{address}{found[2]}", trust_env=False, timeout=PATIENCE).status_code == 200


def test_a_socket_is_sent_what_it_watches(address: str, kit: Kit, id: str, key: str) -> None:
    with kit.observe(id) as observer, opened(address) as socket:
        socket.send(json.dumps({"watch": [key, "bad"]}))
        sent_events = {message["key"]: message["job"] for message in (received(socket), received(socket))}
        assert sent_events["bad"] is None
        assert sent_events[key]["id"] == id
        observer.set_progress(7)
        while received(socket)["job"]["current"] != 7:
            pass


def test_no_private_field_is_sent_to_a_socket(address: str, kit: Kit, id: str, key: str) -> None:
    with pytest.raises(ValueError, match="password"), kit.observe(id, owner="owner-7731") as observer:
        observer.set_progress(1)
        kit.flush()
        with opened(address) as socket:
            socket.send(json.dumps({"watch": [key]}))
            texts = [socket.recv(PATIENCE)]
        raise ValueError("password=1")
    kit.flush()
    with opened(address) as socket:
        socket.send(json.dumps({"watch": [key]}))
        texts.append(socket.recv(PATIENCE))
    assert [json.loads(text)["job"]["state"] for text in texts] == ["running", "failed"]
    for text in map(str, texts):
        assert not [private for private in ("owner", "7731", "lease", "password", "crc32") if private in text], text


def test_a_page_of_another_site_gets_no_socket(address: str) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(address, Origin("http://elsewhere.example")):
        pass
    assert refused.value.response.status_code == 403
    with opened(address, Origin(address)):
        pass


def test_a_reader_who_leaves_gives_the_place_back(site: Site, url: str, kit: Kit, id: str, key: str) -> None:
    with kit.observe(id), serving(site, url, PROGRESSKIT_MAX_STREAMS="1") as narrow:
        kit.flush()
        with described_client(f"{narrow}/progress/") as client:
            for _ in range(2):
                assert eventually(lambda: stream_stays(client, key))
                assert eventually(lambda: socket_stays(narrow, key))


def stream_stays(client: httpx.Client, key: str) -> bool:
    """Return whether a stream finds a place; leave it."""
    with streaming(client, f"{key}/events/") as events:
        return events.next("retry") == "1000"


def socket_stays(address: str, key: str) -> bool:
    """Return whether a socket finds a place; leave it."""
    with opened(address) as socket:
        try:
            socket.send(json.dumps({"watch": [key]}))
            return bool(socket.recv(PATIENCE))
        except ConnectionClosed as closed:
            if closed.rcvd is None or closed.rcvd.code != 1013:
                raise
            return False
