"""Whose run a record is of is decided before it is shown, wherever another run begins in between."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from progresskit import Kit, ProgressObserver
from progresskit.decoding import decode
from progresskit.memory import MemoryBackend
from progresskit.web import Request, Run, Server, Surface, owner_only
from progresskit.web.calls import Blocking
from progresskit.web.context import RequestContext
from tests.contract.clients import eventually

SECRET = "what another user's run says"
KEY = "a secret key that is long enough"
ADA = SimpleNamespace(user=SimpleNamespace(is_authenticated=True, id="ada"))
POINTS = 8


class Points(MemoryBackend):
    """Passes as one that other processes share; each read and each question to the site is a point in time."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[frozenset[str]] = []
        self.at: int | None = None
        self.happens: Callable[[], None] = lambda: None

    def read(self, ids: Any) -> Any:
        if threading.current_thread().name != "progresskit-hub":
            self.reads.append(frozenset(ids))
        self.pass_point()
        found = super().read(ids)
        self.pass_point()
        return found

    def pass_point(self) -> None:
        """Let what is to happen do so, if this is when."""
        if self.at is not None:
            self.at -= 1
            if self.at < 0:
                self.at = None
                self.happens()


class Site:
    """A site with one job, of one user until another takes the id over."""

    def __init__(self, way: str, **settings: Any) -> None:
        self.backend = Points()
        self.table, self.user = "ada", "ada"
        self.asked, self.tag = 0, ""
        self.jobs: list[ProgressObserver] = []
        ways: dict[str, dict[str, Any]] = {
            "owner_only": {"authorize": owner_only},
            "owner_only among other things": {"authorize": lambda *asked: self.count() and owner_only(*asked)},
            "a function": {"authorize": lambda *asked: self.count() and self.table == "ada"},
            "a coroutine function": {"authorize": self.authorize},
            "a token of one user": {"user": lambda request: self.count() and self.user},
        }
        given: dict[str, Any] = {
            "max_streams": 9,
            "stream_seconds": 0.2,
            "secret_key": KEY,
            "flush_seconds": 30,
        } | settings
        self.kit = Kit(backend=self.backend, interval=0.01, **given, **ways[way])
        self.surface = Surface(self.kit)
        self.key = self.surface.sign("a", "cancel", user="ada") if way == "a token of one user" else "a"

    def count(self) -> bool:
        self.asked += 1
        self.backend.pass_point()
        return True

    async def authorize(self, request: Any, id: str, right: str) -> bool:
        return self.count() and self.table == "ada"

    def begin(self, owner: str, **about: Any) -> ProgressObserver:
        """Run the job of that owner, over the one that runs; return when it is stored."""
        self.table = self.user = owner
        self.jobs.append(self.kit.observe("a", owner=owner, **about))
        self.kit.flush()
        record = self.kit.get("a")
        assert record is not None
        self.tag = f'"{record.cursor}"'
        return self.jobs[-1]

    def at(self, point: int, happens: Callable[[], None]) -> None:
        self.backend.at, self.backend.happens = point, happens

    def ask(self, method: str, path: str, query: str = "", **headers: str) -> bytes:
        """Return all that is answered, by a thread."""
        return self.read(self.surface.answer(self.request(method, path, query, headers)))

    def request(self, method: str, path: str, query: str, headers: dict[str, str]) -> Request:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Request(method, path, query, named, Server.THREADS, ADA)

    def read(self, response: Any) -> bytes:
        about = repr((response.status, response.headers)).encode()
        return about + (response.body if isinstance(response.body, bytes) else b"".join(response.body))


WAYS = ("owner_only", "owner_only among other things", "a function", "a coroutine function", "a token of one user")
ASKING = {
    "a poll": ("GET", "{key}/", ""),
    "a fragment": ("GET", "{key}/", "as=html"),
    "a poll of many": ("GET", "", "key={key}&key=b"),
    "a stream": ("GET", "{key}/events/", ""),
    "a stream of many": ("GET", "events/", "key={key}&key=b"),
    "fragments of many": ("GET", "events/", "key={key}&as=html"),
    "a cancel": ("POST", "{key}/cancel/", ""),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def open_sites() -> Iterator[list[Site]]:
    sites: list[Site] = []
    yield sites
    for site in sites:
        site.kit.close()


@pytest.mark.parametrize("asking", ASKING)
@pytest.mark.parametrize("max_streams", [9, 0], ids=["", "crowded"])
def test_no_answer_holds_a_run_that_another_user_begins_meanwhile(
    way: str, asking: str, max_streams: int, open_sites: list[Site]
) -> None:
    method, path, query = ASKING[asking]
    if max_streams == 0 and "events" not in path:
        return
    for point in range(POINTS):
        site = Site(way, max_streams=max_streams)
        open_sites.append(site)
        site.begin("ada")
        site.at(point, lambda site=site: site.begin("bob", description=SECRET).succeed())  # type: ignore[misc]
        answer = site.ask(method, path.format(key=site.key), query.format(key=site.key), x_progresskit="1")
        assert SECRET.encode() not in answer, point
        again = site.ask(method, path.format(key=site.key), query.format(key=site.key), x_progresskit="1")
        assert SECRET.encode() not in again, point


def test_no_long_poll_holds_a_run_that_another_user_begins_meanwhile(way: str, open_sites: list[Site]) -> None:
    for point in range(POINTS):
        site = Site(way, stream_seconds=1)
        open_sites.append(site)
        site.begin("ada")
        tag = site.tag
        site.at(point, lambda site=site: site.begin("bob", description=SECRET))  # type: ignore[misc]
        answer = site.ask("GET", f"{site.key}/", if_none_match=tag, prefer="wait=1")
        assert SECRET.encode() not in answer, point


@pytest.mark.parametrize("name", WAYS[:2])
@pytest.mark.parametrize("asking", ASKING)
def test_no_answer_holds_the_run_that_the_owner_has_replaced(name: str, asking: str, open_sites: list[Site]) -> None:
    method, path, query = ASKING[asking]
    for point in range(POINTS):
        site = Site(name)
        open_sites.append(site)
        site.begin("bob", description=SECRET)
        with site.kit.hub.view({"a"}) as viewer:  # so that this process has seen it
            assert viewer.get(60)
            site.at(point, lambda site=site: site.begin("ada"))  # type: ignore[misc]
            answer = site.ask(method, path.format(key=site.key), query.format(key=site.key), x_progresskit="1")
        assert SECRET.encode() not in answer, point


def test_where_it_is_known_whose_run_it_is_the_site_is_asked_once(way: str, open_sites: list[Site]) -> None:
    site = Site(way)
    open_sites.append(site)
    site.begin("ada")
    assert b"(200," in site.ask("GET", f"{site.key}/")
    before = site.asked
    for _ in range(3):
        assert b"(200," in site.ask("GET", f"{site.key}/")
    assert site.asked - before == (0 if way == "owner_only" else 3)


def test_who_is_refused_by_the_site_costs_the_backend_nothing(open_sites: list[Site]) -> None:
    site = Site("a function")
    open_sites.append(site)
    site.begin("bob")
    site.backend.reads.clear()
    for path in ("a/", "a/events/", "a/cancel/"):
        method = "POST" if "cancel" in path else "GET"
        assert b"(404," in site.ask(method, path, x_progresskit="1")
    assert site.backend.reads == []


# An id that is unknown, and one that is somebody else's


class Traced(Blocking):
    """Writes down what is done for an answer."""

    def __init__(self, kit: Kit, steps: list[str]) -> None:
        super().__init__(kit)
        self.steps = steps

    async def get_many(self, ids: Any) -> Any:
        self.steps.append(f"read {len(ids)}")
        return await super().get_many(ids)

    def call(self, frame: Any, event: str, argument: Any) -> None:
        """Note a call, of which the interpreter notifies."""
        if event == "call" and frame.f_code is decode.__code__:
            self.steps.append("decode")

    async def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.steps.append(f"ask {function.__name__}")
        return await super().ask(function, *arguments)


@pytest.mark.parametrize("right", ["watch", "cancel"])
@pytest.mark.parametrize("warm", [False, True], ids=["", "kept in memory"])
def test_an_unknown_id_and_a_foreign_one_are_refused_by_the_same_work(
    right: Any, warm: bool, open_sites: list[Site]
) -> None:
    site = Site("owner_only")
    open_sites.append(site)
    site.begin("bob")
    if warm:
        for _ in range(3):  # its owner polls it: it is watched, and answered from memory
            owner = SimpleNamespace(user=SimpleNamespace(is_authenticated=True, id="bob"))
            assert site.surface.answer(Request("GET", "a/", "", {}, Server.THREADS, owner)).status == 200
    traces = []
    for id in ("a", "unknown", "a", "unknown"):
        steps: list[str] = []
        context = site.surface.context(site.request("GET", f"{id}/", "", {}))
        calls = Traced(site.kit, steps)
        traced: RequestContext = context._replace(calls=calls)
        asked = traced.open(id, right)
        sys.setprofile(calls.call)
        with pytest.raises(StopIteration) as done:
            asked.send(None)
        sys.setprofile(None)
        assert done.value.value is None
        traces.append(steps)
        watched = set(site.kit.hub._watched)
        assert watched <= ({"a"} if warm else set()), "a refused id is not watched; in time, the owner's no longer"
    assert traces == [["ask signed_in_key", "read 1", "decode"]] * 4


def test_who_is_nobody_is_refused_before_anything_is_read(open_sites: list[Site]) -> None:
    site = Site("owner_only")
    open_sites.append(site)
    site.begin("bob")
    site.backend.reads.clear()
    for native in (None, SimpleNamespace(user=SimpleNamespace(is_authenticated=False, id="bob"))):
        for id in ("a", "unknown"):
            assert site.surface.answer(Request("GET", f"{id}/", "", {}, Server.THREADS, native)).status == 404
    assert site.backend.reads == []


def test_owner_only_inside_of_a_function_is_about_the_jobs_of_the_kit_that_asks(open_sites: list[Site]) -> None:
    site = Site("owner_only among other things")
    open_sites.append(site)
    site.begin("ada")  # in a kit that is not the default one
    assert b"(200," in site.ask("GET", "a/")


def test_loops_and_threads_ask_again_alike(way: str, open_sites: list[Site]) -> None:
    async def ask(site: Site) -> bytes:
        request = site.request("GET", f"{site.key}/", "", {"if_none_match": site.tag, "prefer": "wait=20"})
        answer = asyncio.create_task(site.surface.aanswer(request._replace(server=Server.LOOP)))
        assert await asyncio.to_thread(lambda: eventually(lambda: bool(site.kit.hub._watched)))
        await asyncio.to_thread(lambda: site.begin("bob", description=SECRET))
        return site.read(await asyncio.wait_for(answer, 60))

    site = Site(way)
    open_sites.append(site)
    site.begin("ada")
    answer = asyncio.run(ask(site))
    assert b"(404," in answer
    assert SECRET.encode() not in answer


def test_a_run_before_the_one_that_was_asked_about_is_late_and_one_of_another_life_is_new() -> None:
    second = Run("b", 2, "ada")
    assert Run("b", 1, "bob").is_before(second)
    assert not second.is_before(second)
    assert not Run("b", 3, "bob").is_before(second)
    assert not Run("c", 1, "bob").is_before(second)
    assert not Run("0", 1, "bob").is_before(Run("0", 2, "ada"))  # lives of which nothing is known
