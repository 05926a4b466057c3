"""The surface itself: nothing that comes in breaks it, and what is not there is said to be so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import progresskit
from progresskit import Kit
from progresskit.abc import Backend
from progresskit.errors import BackendUnavailable, InvalidId
from progresskit.memory import MemoryBackend
from progresskit.web import Request, Response, Server, Stream, Surface
from progresskit.web.routes import FILES, Route, find

SECRET = "a secret key that is long enough"


class Unreachable(MemoryBackend):
    def read(self, ids: Any) -> Any:
        raise BackendUnavailable("no route to host")


@pytest.fixture(scope="module")
def kit() -> Iterator[Kit]:
    settings: dict[str, Any] = {"secret_key": SECRET, "max_streams": 0, "flush_seconds": 30}  # for a busy machine
    kit = Kit("memory://", authorize=lambda request, id, right: "a" in id, **settings)
    with kit.observe("a", total=3, description="<b>"), kit.observe("b", total=None, unit="B"):
        kit.flush()
    yield kit
    kit.close()


def body(response: Response) -> bytes:
    return b"".join(response.body) if isinstance(response.body, Stream) else response.body


async def async_body(surface: Surface, request: Request) -> tuple[Response, bytes]:
    response = await surface.aanswer(request)
    if isinstance(response.body, Stream):
        return response, b"".join([part async for part in response.body])
    return response, response.body


anything = st.text(max_size=40) | st.text("~ab/.=&?%0f\x00\n é", max_size=40)
tokens = st.sampled_from(["a", "b", "c", "{token}", "{several}", "{token}x"])
paths = st.lists(tokens | st.sampled_from(["events", "cancel", "", *FILES]) | anything, max_size=4).map("/".join)
queries = st.lists(st.tuples(st.sampled_from(["key", "as", "last_event_id", "x"]), tokens | anything), max_size=6).map(
    lambda pairs: "&".join("=".join(pair) for pair in pairs)
)
latin = st.text(st.characters(max_codepoint=0xFF), max_size=40)
values = latin | st.sampled_from(["*", '"1.1.1"', "text/html", "wait=1", "same-origin", "null", "end", "1.1.1", "gzip"])
NAMES = ("accept", "accept-encoding", "prefer", "if-none-match", "last-event-id", "origin", "host", "sec-fetch-site")
headers = st.dictionaries(st.sampled_from([*NAMES, "x-progresskit"]), values, max_size=4)
methods = st.sampled_from(["GET", "HEAD", "POST", "PUT"]) | st.text(max_size=8)


@settings(max_examples=200)
@given(method=methods, path=paths, query=queries | anything, headers=headers, server=st.sampled_from(Server))
def test_no_request_breaks_the_surface_and_threads_and_loops_answer_alike(
    kit: Kit, method: str, path: str, query: str, headers: dict[str, str], server: Server
) -> None:
    surface = Surface(kit)
    for name, key in (("{token}", surface.sign("a", "cancel")), ("{several}", surface.sign(["a", "b"]))):
        path, query = path.replace(name, key), query.replace(name, key)
    request = Request(method, path, query, headers, server)
    response = surface.answer(request)
    again, again_body = asyncio.run(async_body(surface, request))
    assert response.status in {200, 202, 204, 304, 400, 403, 404, 405}
    assert (response.status, response.headers, body(response)) == (again.status, again.headers, again_body)
    for name, value in response.headers.items():
        (name + value).encode("ascii")
        assert "\n" not in value
        assert "\r" not in value
    if response.status >= 400 and method != "HEAD":
        assert json.loads(body(response))["status"] == response.status


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("key=a&as=xml", "The parameter `as` is html or json."),
        ("&".join(["k="] * 1001), "A query has at most 1,000 parameters."),
    ],
)
def test_a_query_that_cannot_be_is_answered_with_what_is_wrong(kit: Kit, query: str, why: str) -> None:
    response = Surface(kit).answer(Request("GET", "", query, {}, Server.THREADS))
    assert (response.status, json.loads(body(response))["detail"]) == (400, why)


@pytest.mark.parametrize("id", [None, "", "import 42", True, 1.5, object()])
def test_a_bar_for_no_job_is_reported_to_who_makes_the_page(kit: Kit, id: Any) -> None:
    with pytest.raises(InvalidId):
        Surface(kit).key_of_bar(id, cancel=False, ttl=60)


def test_an_id_that_is_no_text_is_made_text(kit: Kit) -> None:
    for id in (UUID(int=7), 7):
        key = Surface(kit).key_of_bar(id, cancel=False, ttl=60)
        assert (Surface(kit).answer(Request("GET", f"{key}/", "", {}, Server.THREADS)).status) == 404


def test_a_backend_that_cannot_be_reached_is_worth_asking_again() -> None:
    backend: Backend = Unreachable()
    kit = Kit(backend=backend, allow_anonymous=True)
    for path, query in (("a/", ""), ("", "key=a"), ("a/events/", "last_event_id=1.1.1")):
        response = Surface(kit).answer(Request("GET", path, query, {}, Server.THREADS))
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert response.headers["Content-Type"] == "application/problem+json"


def test_a_crowded_stream_stays_a_stream_while_the_backend_is_away() -> None:
    kit = Kit(backend=Unreachable(), allow_anonymous=True, max_streams=0)
    response = Surface(kit).answer(Request("GET", "a/events/", "", {}, Server.THREADS))
    assert (response.status, body(response)) == (200, b"retry: 2000\n\n")


def test_the_secret_key_is_asked_for_where_a_page_is_made_not_where_one_is_read() -> None:
    surface = Surface(Kit("memory://"))
    with pytest.raises(progresskit.ConfigurationError, match="SECRET_KEY"):
        surface.sign("a")
    assert surface.answer(Request("GET", "~a~b/", "", {}, Server.THREADS)).status == 404


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("", Route("records")),
        ("events/", Route("streams")),
        ("events", Route("streams")),
        ("KEY/", Route("record", ("GET", "PUT"), key="KEY")),
        ("KEY", Route("record", ("GET", "PUT"), key="KEY")),
        ("KEY/events/", Route("stream", key="KEY")),
        ("KEY/cancel/", Route("cancel", ("POST",), key="KEY")),
        ("progresskit.js", Route("file", file="progresskit.js")),
        ("progress-group.js", Route("file", file="progress-group.js")),
        ("progresskit.js/", None),
        ("/", None),
        ("KEY//", None),
        ("KEY/pause/", None),
        ("KEY/events/more/", None),
    ],
)
def test_an_address_has_one_meaning(path: str, route: Route | None) -> None:
    assert find(path) == route


def test_the_description_knows_every_address_and_every_field() -> None:
    described = json.loads(Path(progresskit.__file__).with_name("web").joinpath("openapi.json").read_bytes())
    routes = {path: find(path.removeprefix("/").replace("{key}", "~key")) for path in described["paths"]}
    assert {route.name for route in routes.values() if route} == {
        "records", "record", "streams", "stream", "cancel", "file",
    }  # fmt: skip
    for path, operations in described["paths"].items():
        route = routes[path]
        assert route is not None
        assert [*operations] == [method.lower() for method in route.methods]
    record = progresskit.Progress("a", progresskit.State.RUNNING, progresskit.Version(1, 1, 1)).to_dict()
    schema = described["components"]["schemas"]["Record"]
    assert schema["required"] == [*schema["properties"]] == [*record]
    assert set(schema["properties"]["state"]["enum"]) == set(progresskit.State)
