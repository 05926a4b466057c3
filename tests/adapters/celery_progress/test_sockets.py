"""The WebSockets of progresskit in the place of celery-progress, beside those of celery-progress itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.services import server
from tests.services.redis import Redis
from tests.services.waiting import PATIENCE

from .sites import OURS, THEIRS, Pair, Site, running

pytestmark = pytest.mark.xdist_group("celery-progress-sockets")

QUESTION = json.dumps({"type": "check_task_completion"})

Info = dict[str, Any]


@pytest.fixture(scope="module")
def theirs(needs: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs("redis")
    with running(tmp_path_factory.mktemp("theirs"), THEIRS, sockets=True, layer=server("redis").fresh()) as site:
        yield site


@pytest.fixture(scope="module", params=["one name changed", "with progresskit_celery"])
def pair(request: pytest.FixtureRequest, theirs: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Give both sites; ours has no channel layer."""
    installs = request.param != "one name changed"
    url = server("redis").fresh() if installs else ""
    with running(tmp_path_factory.mktemp("ours"), OURS, sockets=True, installs=installs, url=url) as ours:
        yield Pair(theirs, ours)


class Page:
    """A page's socket to each of some sites."""

    def __init__(self, sockets: list[ClientConnection]) -> None:
        self.sockets = sockets

    def ask(self) -> None:
        for socket in self.sockets:
            socket.send(QUESTION)

    def hear(self) -> Info:
        """Return the next message, which is the same on each socket."""
        heard = [socket.recv(PATIENCE) for socket in self.sockets]
        assert len({*heard}) == 1, heard
        info: Info = json.loads(heard[0])
        return info

    def hear_until(self, state: str) -> Info:
        """Return the first message with that state, which is the same on each socket; what is before may differ."""
        infos = [_until(socket, state) for socket in self.sockets]
        assert all(info == infos[0] for info in infos), infos
        return infos[0]


def _until(socket: ClientConnection, state: str) -> Info:
    info: Info = {}
    while info.get("state") != state:
        info = json.loads(socket.recv(PATIENCE))
    return info


@contextmanager
def page(id: str, *sites: Site, path: str = "progress", **how: Any) -> Iterator[Page]:
    with ExitStack() as stack:
        yield Page([stack.enter_context(site.socket(id, path, **how)) for site in sites])


@contextmanager
def gates(folder: Path, number: int) -> Iterator[list[Path]]:
    """Give so many gates of a task, and open them all at the end whatever happens."""
    name = uuid4().hex
    made = [folder / f"{name}-{each}" for each in range(1, number + 1)]
    try:
        yield made
    finally:
        for gate in made:
            gate.touch()


def name_of(made: list[Path]) -> str:
    return str(made[0]).removesuffix("-1")


def send(sites: tuple[Site, ...], id: str, task: str, *args: Any, **options: Any) -> None:
    for site in sites:
        site.send(task, *args, id=id, **options)


# What a page is told.


def test_a_page_is_updated_alike_from_its_opening_to_the_end_of_the_task(pair: Pair) -> None:
    id = f"steps-{uuid4()}"
    steps = [(0, 3), (1, 3, "one"), (2, 3, "Zoë")]
    with page(id, *pair.both) as opened, gates(pair.ours.folder, 3) as each:
        opened.ask()
        assert opened.hear()["state"] == "PENDING"
        send(pair.both, id, "steps", name_of(each), *steps)
        for (current, *_), gate in zip(steps, each, strict=True):
            info = opened.hear()
            assert (info["state"], info["progress"]["current"]) == ("PROGRESS", current)
            gate.touch()
        assert opened.hear()["result"] == "<b>done</b>"
        opened.ask()
        assert opened.hear()["state"] == "SUCCESS"


def test_nobody_is_sent_an_unknown_task_unless_they_ask(pair: Pair) -> None:
    with page("nobody-knows", *pair.both) as opened:
        for _ in range(2):
            opened.ask()
            assert opened.hear()["progress"]["pending"] is True


def test_a_page_that_comes_late_asks_for_the_result(pair: Pair) -> None:
    id = pair.send("fails")
    pair.same(id, lambda info: info["state"] == "FAILURE")
    with page(id, *pair.both) as opened:
        opened.ask()
        assert opened.hear()["result"] == "no such row: <b>7</b>"


def test_each_page_of_a_task_is_reported(pair: Pair) -> None:
    id = f"two-{uuid4()}"
    with page(id, *pair.both) as one, page(id, *pair.both) as other, gates(pair.ours.folder, 1) as each:
        send(pair.both, id, "steps", name_of(each), (1, 3))
        assert one.hear() == other.hear()
        each[0].touch()
        assert one.hear()["state"] == other.hear()["state"] == "SUCCESS"


@pytest.mark.parametrize(("task", "state"), [("fails", "FAILURE"), ("ignores", "IGNORED")])
def test_the_end_of_a_task_is_reported_alike(pair: Pair, task: str, state: str) -> None:
    id = f"{task}-{uuid4()}"
    with page(id, *pair.both) as opened:
        send(pair.both, id, task)
        assert opened.hear_until(state)["complete"] is True


def test_a_task_that_was_revoked_before_it_began_is_reported_as_such(pair: Pair) -> None:
    id = f"revoked-{uuid4()}"
    with page(id, *pair.both) as opened:
        for site in pair.both:
            assert site.client.control.revoke(id, reply=True, limit=1, timeout=PATIENCE)
        send(pair.both, id, "fails")
        assert opened.hear_until("REVOKED")["result"] == "Task revoked"


def test_a_task_that_was_terminated_is_reported_as_such(pair: Pair) -> None:
    id = f"terminated-{uuid4()}"
    with page(id, *pair.both) as opened, gates(pair.ours.folder, 1) as each:
        send(pair.both, id, "steps", name_of(each), (1, 3))
        opened.hear()
        for site in pair.both:
            site.client.control.terminate(id, reply=True, limit=1, timeout=PATIENCE)
        assert opened.hear_until("REVOKED")["result"] == "Task terminated"


def test_of_a_state_that_no_page_knows_a_page_is_answered_if_it_asks_only(pair: Pair) -> None:
    id = f"words-{uuid4()}"
    with page(id, *pair.both) as opened, gates(pair.ours.folder, 2) as each:
        send(pair.both, id, "own_words_first", name_of(each), "BAKING")
        pair.same(id, lambda info: info["state"] == "BAKING")
        opened.ask()
        assert opened.hear()["result"] == "Unknown state BAKING"
        each[0].touch()
        assert opened.hear()["progress"]["percent"] == 33.33
        each[1].touch()
        assert opened.hear()["state"] == "SUCCESS"


def test_a_retry_is_reported_where_the_original_keeps_its_worker_from_going_on(pair: Pair) -> None:
    id = f"retries-{uuid4()}"
    with page(id, pair.ours) as opened, gates(pair.ours.folder, 2) as (before, after):
        pair.ours.send("retries", 0, str(before), str(after), id=id)
        assert opened.hear_until("RETRY")["result"]["next_retry_seconds"] == 0
        before.touch()
        assert opened.hear_until("PROGRESS")["progress"]["description"] == "again"
        after.touch()
        assert opened.hear_until("SUCCESS")["result"] == "at last"


def test_what_is_no_question_leaves_the_socket_open(pair: Pair) -> None:
    with page("nobody-knows", pair.ours) as opened:
        for nonsense in ("nonsense", b"bytes", "[]", '{"type": 1}', "{}", ""):
            opened.sockets[0].send(nonsense)
        opened.ask()
        assert opened.hear()["state"] == "PENDING"


def test_a_socket_outlives_an_outage_of_the_store(needs: Callable[[str], None], tmp_path: Path) -> None:
    needs("redis")
    with (
        Redis(persistent=True) as redis,
        running(tmp_path, OURS, sockets=True, worker=False, redis=redis.url) as site,
        page("task", site) as opened,
    ):
        opened.ask()
        assert opened.hear()["state"] == "PENDING"
        redis.kill()
        opened.ask()
        redis.start()
        site.store("task", "at last", "SUCCESS")
        assert opened.hear_until("SUCCESS")["result"] == "at last"


def test_a_socket_goes_on_with_a_kit_that_is_reconfigured_and_ends_with_one_that_is_closed(
    needs: Callable[[str], None], tmp_path: Path
) -> None:
    needs("redis")
    with running(tmp_path, OURS, sockets=True, worker=False) as site, page("task", site) as opened:
        opened.ask()
        assert opened.hear()["state"] == "PENDING"
        assert use_kit(site, "configure") in {"True", "False"}
        site.store("task", "at last", "SUCCESS")
        assert opened.hear_until("SUCCESS")["result"] == "at last"
        assert use_kit(site, "look") == "True"
        assert use_kit(site, "close") in {"True", "False"}
        with pytest.raises(ConnectionClosed) as closed:
            opened.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert use_kit(site, "look") == "False"


def use_kit(site: Site, act: str) -> str:
    return httpx.get(f"{site.address}/kit/{act}/", trust_env=False, timeout=PATIENCE).raise_for_status().text


# Who is told.


def test_a_consumer_of_the_sites_own_has_its_say(pair: Pair) -> None:
    with page("open", *pair.both, path="own") as opened:
        opened.ask()
        assert [*opened.hear()][:2] == ["task", "state"]
    for site in pair.both:
        refuses(site, "secret-1", "own")


def refuses(site: Site, id: str, path: str = "progress", **how: Any) -> None:
    with pytest.raises(InvalidStatus) as refused, site.socket(id, path, **how):
        pass
    assert refused.value.response.status_code == 403


def test_authorize_may_be_async(needs: Callable[[str], None], tmp_path: Path) -> None:
    needs("redis")
    with running(tmp_path, OURS, sockets=True, authorize="async", worker=False) as site:
        with page("guest-1", site) as opened:
            opened.ask()
            assert opened.hear()["state"] == "PENDING"
        refuses(site, "member-1")


def test_authorize_is_given_the_same_of_a_socket_as_of_a_request(needs: Callable[[str], None], tmp_path: Path) -> None:
    needs("redis")
    with running(tmp_path, OURS, sockets=True, authorize="user", worker=False) as site:
        with httpx.Client(base_url=site.address, trust_env=False, timeout=PATIENCE) as ada:
            ada.get("/sign-in/ada/").raise_for_status()
            statuses = [ada.get(f"/celery-progress/{id}/").status_code for id in ("ada-1", "bob-1")]
            cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in ada.cookies.items())}
        assert statuses == [200, 404]
        with page("ada-1", site, additional_headers=cookies) as opened:
            opened.ask()
            assert opened.hear()["state"] == "PENDING"
        refuses(site, "bob-1", additional_headers=cookies)
        refuses(site, "ada-1")


@pytest.mark.parametrize("installs", [False, True], ids=["one name changed", "with progresskit_celery"])
def test_authorize_is_asked_again_when_the_task_runs_again(
    needs: Callable[[str], None], tmp_path: Path, installs: bool
) -> None:
    needs("redis")
    url = server("redis").fresh() if installs else ""
    with running(tmp_path, OURS, sockets=True, authorize="file", installs=installs, url=url) as site:
        may_be_seen = tmp_path / "again-may-be-seen"
        may_be_seen.touch()
        with page("again", site) as opened, gates(tmp_path, 1) as first, gates(tmp_path, 1) as second:
            site.send("steps", name_of(first), (1, 3, "the first"), id="again")
            assert opened.hear_until("PROGRESS")["progress"]["description"] == "the first"
            first[0].touch()
            opened.hear_until("SUCCESS")
            may_be_seen.unlink()
            site.send("steps", name_of(second), (2, 3, "the second"), id="again")
            with pytest.raises(ConnectionClosed) as closed:
                while "the second" not in json.dumps(opened.hear()):
                    pass
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
            refuses(site, "again")
