"""The ASGI application asks again about each run of a job, and tells nobody what was not asked about."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from threading import Event
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from progresskit import Kit, ProgressObserver
from progresskit.web import Surface, owner_only
from progresskit_asgi import ProgressApp, app, rechecks
from tests.contract.clients import eventually
from tests.contract.shims import uvicorn_serving
from tests.services.waiting import PATIENCE

SECRET = "what another user's run says"
KEY = "a secret key that is long enough"


def user(request: Any) -> str | None:
    name: str | None = request.headers.get("x-user")
    return name


class Site:
    """A site that lets in whom it has in its table, and counts how often it is asked."""

    def __init__(self, **settings: Any) -> None:
        self.may: dict[str, set[str]] = {}
        self.asked = 0
        self.on_ask: Callable[[str], Awaitable[None]] | None = None
        self.jobs: list[ProgressObserver] = []
        given: dict[str, Any] = {
            "authorize": self.authorize,
            "user": user,
            "secret_key": KEY,
            "flush_seconds": PATIENCE,
        }
        self.kit = Kit("memory://", interval=0.01, **(given | settings))
        self.app = ProgressApp(kit=self.kit)

    async def authorize(self, request: Any, id: str, right: str) -> bool:
        self.asked += 1
        if self.on_ask is not None:
            await self.on_ask(id)
        return user(request) in self.may.get(id, ())

    def begin(self, id: str, *owners: str, **about: Any) -> ProgressObserver:
        """Run a job that these users may see, over one that runs; return when it is stored."""
        self.may[id] = set(owners)
        self.jobs.append(self.kit.observe(id, owner=owners[0], total=9, **about))
        self.kit.flush()
        return self.jobs[-1]

    async def abegin(self, id: str, *owners: str, **about: Any) -> ProgressObserver:
        return await asyncio.to_thread(lambda: self.begin(id, *owners, **about))


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.kit.close()


class Reader:
    """One connection to the application, without a server; `sent` is the data of all that was sent to it."""

    def __init__(self, site: Site, name: str, path: str, query: str = "") -> None:
        kind = "websocket" if path == "ws/" else "http"
        self.scope = {
            "type": kind,
            "method": "GET",
            "path": f"/progress/{path}",
            "query_string": query.encode(),
            "headers": [(b"x-user", name.encode())],
        }
        self.site = site
        self.status = 0
        self.sent = ""
        self.ended = False
        self.gate: asyncio.Event | None = None
        """While it is not set the reader is slow: nothing is taken."""
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._news = asyncio.Event()

    async def receive(self) -> Any:
        return await self._inbox.get()

    async def send(self, message: Any) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.status = message.get("status", self.status)
        self.sent += message.get("body", b"").decode() + message.get("text", "") + "\n"
        self.ended = message["type"] == "http.response.body" and not message.get("more_body")
        self._news.set()
        if self.ended:
            self._inbox.put_nowait({"type": "http.disconnect"})  # as uvicorn has it

    def say(self, **what: list[str]) -> None:
        self._inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(what)})

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_sent(self, text: str) -> None:
        await self.until(lambda: text in self.sent)

    @property
    def events(self) -> list[Any]:
        lines = [line.removeprefix("data: ") for line in self.sent.splitlines()]
        return [json.loads(line) for line in lines if line.startswith("{")]


@asynccontextmanager
async def reading(site: Site, name: str, path: str, query: str = "") -> AsyncIterator[Reader]:
    reader = Reader(site, name, path, query)
    if path == "ws/":
        reader._inbox.put_nowait({"type": "websocket.connect"})
    task = asyncio.create_task(site.app(reader.scope, reader.receive, reader.send))
    try:
        yield reader
    finally:
        reader._inbox.put_nowait({"type": f"{reader.scope['type']}.disconnect"})
        await asyncio.wait_for(task, PATIENCE)


@pytest.fixture(params=[True, False], ids=["stepped", "in tasks"])
def stepped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have streams written to by hand, as for uvicorn, and by a task each."""
    monkeypatch.setattr(app, "can_be_stepped", lambda receive, send: request.param)


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    def run(site: Site, stepped: None) -> None:
        asyncio.run(asyncio.wait_for(test(site), 2 * PATIENCE))

    run.__name__ = test.__name__
    return run


@in_loop
async def test_of_two_viewers_each_sees_what_it_may(site: Site) -> None:
    await site.abegin("a", "ada", "root")
    async with reading(site, "ada", "a/events/") as ada, reading(site, "root", "a/events/") as root:
        await ada.until_sent('"version":"1.1.1"')
        await root.until_sent('"version":"1.1.1"')
        theirs = await site.abegin("a", "bob", "root", description=SECRET)
        await root.until_sent(SECRET)
        await ada.until(lambda: ada.ended)
        theirs.succeed()
        await root.until(lambda: root.ended)
    assert SECRET not in ada.sent
    assert ada.sent.rstrip().endswith("retry: 1000")


@in_loop
async def test_while_the_site_is_asked_the_others_are_served_and_the_viewer_gets_nothing(site: Site) -> None:
    await site.abegin("a", "ada")
    other = await site.abegin("b", "ada")
    answer, is_asked = asyncio.Event(), asyncio.Event()

    async def hang(id: str) -> None:
        if id == "a":
            is_asked.set()
            await answer.wait()

    async with (
        reading(site, "ada", "a/events/") as one,
        reading(site, "ada", "events/", "key=a&key=b") as many,
        reading(site, "ada", "b/events/") as another,
    ):
        await one.until_sent('"version":"1.1.1"')
        await many.until(lambda: len(many.events) >= 2)
        site.on_ask = hang
        theirs = await site.abegin("a", "bob", description=SECRET)
        await is_asked.wait()
        for count in range(1, 4):
            other.set_progress(count)
            theirs.set_progress(count)
            await another.until_sent(f'"current":{count}')
            await many.until_sent(f'"current":{count}')
        assert not one.ended
        answer.set()
        await one.until(lambda: one.ended)
        await many.until_sent('{"key":"a","job":null}')
    assert SECRET not in one.sent + many.sent


@in_loop
async def test_what_came_while_the_site_was_asked_is_reported_as_the_newest_only(site: Site) -> None:
    await site.abegin("a", "ada")
    answer, is_asked = asyncio.Event(), asyncio.Event()

    async def hang(id: str) -> None:
        is_asked.set()
        await answer.wait()

    async with reading(site, "ada", "a/events/") as one, reading(site, "ada", "events/", "key=a") as many:
        await one.until_sent('"version":"1.1.1"')
        await many.until_sent('"version":"1.1.1"')
        site.on_ask = hang
        again = await site.abegin("a", "ada")
        await is_asked.wait()
        async with reading(site, "ada", f"{Surface(site.kit).sign('a')}/events/") as control:
            for count in range(1, 6):
                again.set_progress(count)
                await control.until_sent(f'"current":{count}')
        answer.set()
        for reader in (one, many):
            await reader.until_sent('"current":5')
            jobs = [event.get("job", event) for event in reader.events]
            assert [(job["version"][0], job["current"]) for job in jobs] == [("1", 0), ("2", 5)]


@in_loop
async def test_a_run_that_begins_while_the_site_is_asked_about_another_is_asked_about_too(site: Site) -> None:
    await site.abegin("a", "ada")
    runs = 0

    async def next_run(id: str) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            site.may["a"] = {"ada"}  # as the site has it now; while that is looked up the next one begins
            await site.abegin("a", "bob", description=SECRET)
            site.may["a"] = {"ada"}
        else:
            site.may["a"] = {"bob"}

    async with reading(site, "ada", "a/events/") as one, reading(site, "ada", "ws/") as socket:
        await one.until_sent('"version":"1.1.1"')
        socket.say(watch=["a"])
        await socket.until_sent('"version":"1.1.1"')
        site.on_ask = next_run
        await site.abegin("a", "ada")
        await one.until(lambda: one.ended)
        await socket.until_sent('{"key":"a","job":null}')
    assert SECRET not in one.sent + socket.sent
    assert runs >= 2


@in_loop
async def test_a_slow_reader_gets_nothing_of_another_users_run_afterwards(site: Site) -> None:
    job = await site.abegin("a", "ada")
    async with (
        reading(site, "ada", "a/events/") as one,
        reading(site, "ada", "events/", "key=a&key=b") as many,
        reading(site, "ada", "ws/") as socket,
    ):
        socket.say(watch=["a"])
        for reader in (one, many, socket):
            await reader.until_sent('"version":"1.1.1"')
            reader.gate = asyncio.Event()
        async with reading(site, "root", f"{Surface(site.kit).sign('a')}/events/") as control:
            job.set_progress(1)
            await control.until_sent('"current":1')
            theirs = await site.abegin("a", "bob", description=SECRET)
            await control.until_sent(SECRET)
            theirs.set_progress(7)
            await control.until_sent('"current":7')
        for reader in (one, many, socket):
            assert reader.gate is not None
            reader.gate.set()
        await one.until(lambda: one.ended)
        await many.until_sent('{"key":"a","job":null}')
        await socket.until_sent('{"key":"a","job":null}')
    for reader in (one, many, socket):
        assert SECRET not in reader.sent
        assert '"current":7' not in reader.sent


@in_loop
async def test_a_socket_is_sent_null_and_goes_on_with_its_other_keys(site: Site) -> None:
    a, b = await site.abegin("a", "ada"), await site.abegin("b", "ada")
    token = Surface(site.kit).sign("a")
    async with reading(site, "ada", "ws/") as socket:
        socket.say(watch=["a", "b", token])
        await socket.until(lambda: len(socket.events) >= 3)
        theirs = await site.abegin("a", "bob", description="the next")
        await socket.until_sent('{"key":"a","job":null}')
        theirs.set_progress(1)
        b.set_progress(2)
        a.set_progress(3)
        await socket.until_sent('"current":2')
        await socket.until(
            lambda: any(event["key"] == token and event["job"]["current"] == 1 for event in socket.events)
        )
        events = socket.events[3:]
        assert [event["job"] for event in events if event["key"] == "a"] == [None]
        # It is not watched any more, and may be again once the site allows it.
        socket.say(watch=["a"])
        await socket.until(lambda: socket.sent.count('{"key":"a","job":null}') == 2)
        site.may["a"].add("ada")
        socket.say(watch=["a"])
        await socket.until(lambda: any(each["key"] == "a" and each["job"] for each in socket.events[4:]))


@in_loop
async def test_a_socket_that_gives_a_key_up_while_the_site_is_asked_is_sent_nothing(site: Site) -> None:
    await site.abegin("a", "ada")
    answer, is_asked = asyncio.Event(), asyncio.Event()

    async def hang(id: str) -> None:
        is_asked.set()
        await answer.wait()

    async with reading(site, "ada", "ws/") as socket:
        socket.say(watch=["a"])
        await socket.until_sent('"version":"1.1.1"')
        site.on_ask = hang
        await site.abegin("a", "ada", description="the next")
        await is_asked.wait()
        socket.say(unwatch=["a"])
        site.on_ask = None
        socket.say(watch=["none!"])
        await socket.until_sent('{"key":"none!","job":null}')
        answer.set()
        socket.say(watch=["none?"])
        await socket.until_sent('{"key":"none?","job":null}')
        assert "the next" not in socket.sent
        socket.say(watch=["a"])
        await socket.until_sent("the next")


@in_loop
async def test_a_token_of_one_user_for_several_jobs_is_given_up_as_a_whole(site: Site) -> None:
    signed_in: dict[str, str | None] = {"key": "ada"}
    site.kit.configure("memory://", secret_key=KEY, user=lambda request: signed_in["key"], flush_seconds=PATIENCE)
    both = Surface(site.kit).sign(["a", "b"], user="ada")
    await site.abegin("a", "ada")
    b = await site.abegin("b", "ada")
    async with reading(site, "ada", "ws/") as socket, reading(site, "ada", f"{both}/events/") as stream:
        socket.say(watch=[both])
        for reader in (socket, stream):
            await reader.until(lambda reader=reader: len(reader.events) == 2)  # type: ignore[misc]
        signed_in["key"] = "bob"
        await site.abegin("a", "bob", description=SECRET)
        for reader in (socket, stream):
            for id in ("a", "b"):
                await reader.until_sent(f'{{"key":"{id}","job":null}}')
        await stream.until(lambda: stream.ended)
        b.set_progress(5)
        socket.say(watch=["none"])
        await socket.until_sent('{"key":"none","job":null}')
        assert '"current":5' not in socket.sent
    assert "id: end" in stream.sent
    assert SECRET not in stream.sent + socket.sent


@in_loop
async def test_a_site_that_breaks_when_it_is_asked_again_ends_the_stream(site: Site) -> None:
    async def fail(id: str) -> None:
        raise LookupError(id)

    await site.abegin("a", "ada")
    async with reading(site, "ada", "a/events/") as one, reading(site, "ada", "ws/") as socket:
        socket.say(watch=["a"])
        await one.until_sent('"version":"1.1.1"')
        await socket.until_sent('"version":"1.1.1"')
        site.on_ask = fail
        await site.abegin("a", "ada", description=SECRET)
        await one.until(lambda: one.ended)
        await socket.until_sent('{"key":"a","job":null}')
    assert SECRET not in one.sent + socket.sent


def test_no_more_viewers_are_asked_about_at_once_than_the_site_can_take(site: Site, stepped: None) -> None:
    at_once, most = 0, 0

    async def slow(id: str) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        at_once -= 1

    async def many() -> None:
        nonlocal most
        await site.abegin("a", "ada")
        async with asyncio.timeout(4 * PATIENCE):
            opened = [reading(site, "ada" if number % 2 else "root", "a/events/") for number in range(300)]
            site.may["a"].add("root")
            readers = [await each.__aenter__() for each in opened]
            for reader in readers:
                await reader.until_sent('"version":"1.1.1"')
            site.on_ask, most = slow, 0
            await site.abegin("a", "root", description=SECRET)
            for number, reader in enumerate(readers):
                await reader.until(lambda reader=reader: reader.ended or SECRET in reader.sent)  # type: ignore[misc]
                assert (SECRET in reader.sent) is (number % 2 == 0)
            for each in opened:
                await each.__aexit__(None, None, None)

    asyncio.run(many())
    assert 1 < most <= rechecks.AT_ONCE


def test_viewers_who_need_not_be_asked_about_keep_nothing_of_their_request(site: Site, stepped: None) -> None:
    async def lines() -> list[Any]:
        await site.abegin("a", "ada")
        token = Surface(site.kit).sign("a")
        async with reading(site, "ada", f"{token}/events/") as one, reading(site, "ada", "a/events/") as guarded:
            await one.until_sent("version")
            await guarded.until_sent("version")
            (fanout,) = site.app._fanouts.values()
            return [line._guard for line in fanout._members]  # type: ignore[attr-defined]

    found = asyncio.run(lines())
    assert [guard is None for guard in found] == [True, False]


# The request that the site is asked with


CURRENT: ContextVar[str] = ContextVar("current")


def test_the_site_is_asked_again_in_the_context_of_the_request(site: Site, stepped: None) -> None:
    """What middleware has put into context variables is there, under every server."""

    def authorize(request: Any, id: str, right: str) -> bool:
        return CURRENT.get() in site.may[id]

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        CURRENT.set("ada")
        await inner(scope, receive, send)

    async def both() -> None:
        await site.abegin("a", "ada")
        async with reading(site, "x", "a/events/") as one, reading(site, "x", "ws/") as socket:
            socket.say(watch=["a"])
            await one.until_sent('"version":"1.1.1"')
            await socket.until_sent('"version":"1.1.1"')
            await site.abegin("a", "ada")
            await one.until_sent('"version":"2.1.1"')
            await socket.until_sent('"version":"2.1.1"')

    site.kit.configure("memory://", authorize=authorize, flush_seconds=PATIENCE)
    inner: Any = site.app
    site.app = middleware  # type: ignore[assignment]
    asyncio.run(both())


@in_loop
async def test_each_key_of_a_socket_is_asked_about_when_it_is_watched(site: Site) -> None:
    """The setting `user` may look into the site's sessions; what it says counts for keys that are watched then."""
    sessions = {"ada": "ada"}
    site.kit.configure("memory://", secret_key=KEY, user=lambda request: sessions[user(request) or ""])
    ada, bob = (Surface(site.kit).sign("a", user=name) for name in ("ada", "bob"))
    job = await site.abegin("a", "ada")
    async with reading(site, "ada", "ws/") as socket:
        socket.say(watch=[ada])
        await socket.until_sent('"current":0')
        sessions["ada"] = "bob"
        socket.say(watch=[bob])
        await socket.until(lambda: len(socket.events) == 3)  # all keys of a job are told it again
        job.set_progress(1)
        await socket.until(lambda: len(socket.events) == 5)  # what was opened within this run stays open
        assert [(event["key"], event["job"]["current"]) for event in socket.events] == [
            *[(ada, 0), (ada, 0), (bob, 0)],
            *[(ada, 1), (bob, 1)],
        ]
        socket.say(watch=[ada])
        await socket.until_sent('"job":null')
        job.set_progress(2)
        await socket.until_sent('"current":2')
        await site.abegin("a", "ada", description="the next")
        await socket.until_sent("the next")
        assert [(event["key"], event["job"] and event["job"]["version"][0]) for event in socket.events[5:]] == [
            (ada, None),
            *[(bob, "1"), (bob, "2")],
        ]


# By a real server


def test_a_socket_of_a_real_server_is_sent_null_of_another_users_run() -> None:
    site = Site(authorize=owner_only)

    def next_event(socket: ClientConnection) -> Any:
        return json.loads(socket.recv(PATIENCE))

    with uvicorn_serving(site.app) as address:
        site.begin("a", "ada", description="mine")
        mine = site.begin("b", "ada")
        at = f"{address.replace('http', 'ws')}/progress/ws/"
        with connect(at, additional_headers={"X-User": "ada"}, proxy=None, open_timeout=PATIENCE) as socket:
            socket.send(json.dumps({"watch": ["a", "b"]}))
            assert {next_event(socket)["key"], next_event(socket)["key"]} == {"a", "b"}
            site.begin("a", "bob", description=SECRET).set_progress(4)
            assert next_event(socket) == {"key": "a", "job": None}
            mine.set_progress(1)
            assert next_event(socket)["job"]["current"] == 1
        headers = {"X-User": "ada"}
        answers = [
            httpx.get(f"{address}/progress/a/{way}", headers=headers, trust_env=False) for way in ("", "events/")
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
    site.kit.close()


def test_while_an_id_goes_from_user_to_user_nobody_sees_the_other_ones_runs() -> None:
    site = Site(authorize=owner_only, max_streams=100, max_streams_per_client=100)
    over = Event()

    def seen_by(name: str, path: str) -> tuple[str, str]:
        """Ask again and again, as a page does; return all that was said."""
        with httpx.Client(headers={"X-User": name}, trust_env=False, timeout=PATIENCE) as client:
            said = []
            while not over.is_set():
                with client.stream("GET", f"{address}/progress/{path}") as response:
                    for text in response.iter_text():
                        said.append(text)
                        if over.is_set():
                            break
        return name, "".join(said)

    def sent_to(name: str) -> tuple[str, str]:
        at, said = f"{address.replace('http', 'ws')}/progress/ws/", [""]
        with connect(at, additional_headers={"X-User": name}, proxy=None, open_timeout=PATIENCE) as socket:
            while not over.is_set():
                if said[-1] in ("", '{"key":"a","job":null}'):
                    socket.send(json.dumps({"watch": ["a"]}))
                with suppress(TimeoutError):
                    said.append(str(socket.recv(0.05)))
        return name, "".join(said)

    with uvicorn_serving(site.app) as address, ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(seen_by, name, path) for name in ("ada", "bob") for path in ("a/", "a/events/", "events/?key=a")
        ]
        asked += [pool.submit(sent_to, name) for name in ("ada", "bob")]
        for number in range(300):
            name = ("ada", "bob")[number % 2]
            site.begin("a", name, description=f"{name}'s own").set_progress(1)
        assert eventually(lambda: site.app._surface.limiter.acquired > 0)
        over.set()
        site.begin("a", "ada").succeed()
        site.begin("a", "bob").succeed()
        said = [each.result(PATIENCE) for each in asked]
    for name, text in said:
        assert {"ada": "bob's own", "bob": "ada's own"}[name] not in text
    assert sum(f"{name}'s own" in text for name, text in said) > 4
    site.kit.close()
