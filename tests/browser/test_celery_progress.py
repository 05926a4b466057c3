"""The bar of celery-progress in a real browser: the original's JavaScript and ours, on the same answers."""

# ruff: noqa: E501 - what pages and answers are is read in one line
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Error, Page, Route, expect

import progresskit_celery_progress
from tests.adapters.celery_progress.sites import OURS, THEIRS, Site, running

STATIC = Path("static/celery_progress")
PLACE = "http://site.test"


def scripts(package: str) -> dict[str, str]:
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent / STATIC
    return {name: (folder / name).read_text() for name in ("celery_progress.js", "websockets.js")}


PAGE = """<!doctype html><meta charset="utf-8">
<div id="progress-bar"></div><div id="progress-bar-message"></div><div id="{result}"></div>
<div id="my-bar"></div><div id="my-message"></div><div id="my-result"></div>
<script src="/celery_progress.js"></script><script src="/websockets.js"></script>
<script>
  window.received = [];
  const short = each => each instanceof Element ? `#${each.id}` : each instanceof Response ? `HTTP ${each.status}`
    : each === undefined ? "undefined" : each;
  const tell = name => function (...given) { received.push([name, this instanceof CeleryProgressBar, ...given.map(short)]); };
  const EVENTS = ["Progress", "Success", "Error", "TaskError", "Retry", "Ignored", "DataError", "NetworkError",
    "HttpError", "Result"];
  const callbacks = (...names) => Object.fromEntries(names.map(name => [`on${name}`, tell(name)]));
</script>
"""


class Bench:
    """A page with the bar's elements, whose requests are answered from a list; the last answer stays."""

    def __init__(self, page: Page, package: str) -> None:
        self.page, self.scripts = page, scripts(package)
        self.answers: list[Any] = []
        self.asked = 0
        self.errors: list[str] = []
        self.result = "celery-result"
        page.on("pageerror", self._failed)
        page.route(f"{PLACE}/**", self._answer)

    def _failed(self, error: Error) -> None:
        self.errors.append((error.name or "").removeprefix("Uncaught (in promise) "))

    def _answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(PLACE).split("?")[0]
        if path == "/":
            route.fulfill(body=PAGE.replace("{result}", self.result), content_type="text/html")
        elif path == "/task/":
            self.asked += 1
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer == "cut":
                route.abort()
            elif isinstance(answer, int):
                route.fulfill(status=answer, body="?")
            else:
                route.fulfill(body=answer if isinstance(answer, str) else json.dumps(answer))
        elif path[1:] in self.scripts:
            route.fulfill(body=self.scripts[path[1:]], content_type="text/javascript")
        else:
            route.fulfill(status=404, body="")

    def show(self, *answers: Any, options: str = "{}", result: str = "celery-result") -> None:
        self.answers, self.result = [*answers], result
        self.page.goto(f"{PLACE}/")
        self.page.evaluate(f"CeleryProgressBar.initProgressBar('/task/', {{pollInterval: 20, ...({options})}})")

    def stop_clock(self) -> None:
        """Let the time of the page pass only when the test says so."""
        now = datetime.now(UTC)
        self.page.clock.install(time=now - timedelta(hours=1))  # it runs until it is stopped, and never goes back
        self.page.clock.pause_at(now)

    def received(self) -> list[Any]:
        received: list[Any] = self.page.evaluate("received")
        return received

    def look(self) -> list[list[str]]:
        """Return what is seen of each element: text, color and width."""
        look: list[list[str]] = self.page.evaluate(
            "[...document.querySelectorAll('div')].map(e => [e.id, e.textContent, e.style.backgroundColor, e.style.width])"
        )
        return look


@pytest.fixture(params=[OURS, THEIRS])
def bench(request: pytest.FixtureRequest, page: Page) -> Bench:
    """Give the page with our script, and with the original's: each test says of both what it says of one."""
    return Bench(page, request.param)


@pytest.fixture
def ours(page: Page) -> Bench:
    return Bench(page, OURS)


def progress(current: float, total: float = 10, description: str = "", pending: bool = False) -> dict[str, Any]:
    percent = round(100 * current / total, 2)
    return {"pending": pending, "current": current, "total": total, "percent": percent, "description": description}


WHOLE = {"pending": False, "current": 100, "total": 100, "percent": 100}
RUNNING = {"state": "PROGRESS", "complete": False, "success": None, "progress": progress(3, description="Reading")}
DONE = {"state": "SUCCESS", "complete": True, "success": True, "progress": WHOLE, "result": "<i>42</i>"}
FAILED = {"state": "FAILURE", "complete": True, "success": False, "progress": WHOLE, "result": "no such row"}
RETRY = {
    "state": "RETRY", "complete": True, "success": False, "progress": WHOLE,
    "result": {"next_retry_seconds": 7, "message": "away..."},
}  # fmt: skip
IGNORED = {"state": "IGNORED", "complete": True, "success": None, "progress": WHOLE, "result": "not now"}
STRANGE = {"state": "ODD", "complete": True, "success": None, "progress": WHOLE, "result": "?"}
GROUP = {"complete": True, "success": True, "progress": {"total": 200, "current": 200, "percent": 100.0}}

GREEN, RED, BLUE, GREY = "rgb(118, 206, 96)", "rgb(220, 79, 99)", "rgb(104, 169, 239)", "rgb(122, 122, 122)"


# What is shown by itself.


@pytest.mark.parametrize(
    ("answer", "color", "width", "message", "result"),
    [
        ({**RUNNING, "progress": progress(0, pending=True)}, BLUE, "0%", "Waiting for task to start...", ""),
        ({**RUNNING, "progress": progress(0)}, BLUE, "0%", "Task started...", ""),
        (RUNNING, BLUE, "30%", "3 of 10 processed. Reading", ""),
        (DONE, GREEN, "100%", "Success! ", "<i>42</i>"),
        ({**DONE, "result": {"a": 1}}, GREEN, "100%", "Success! ", "[object Object]"),
        ({**DONE, "result": None}, GREEN, "100%", "Success! ", ""),
        (FAILED, RED, "100%", "Uh-Oh, something went wrong! ", "no such row"),
        (RETRY, RED, "100%", "Retrying after 7s: away...", ""),
        (IGNORED, GREY, "100%", "not now", ""),
        ({**IGNORED, "result": ""}, GREY, "100%", "Task result ignored!", ""),
        (STRANGE, RED, "100%", "Uh-Oh, something went wrong! Data Error", "?"),
        ({"hello": 1}, RED, "", "Uh-Oh, something went wrong! Data Error", ""),
        (GROUP, GREEN, "100%", "Success! ", ""),
        ("<html>", RED, "", "Uh-Oh, something went wrong! Parsing Error", ""),
        (404, RED, "", "Uh-Oh, something went wrong! HTTP Code 404", ""),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_each_answer_is_shown_in_the_pages_elements(
    bench: Bench, answer: Any, color: str, width: str, message: str, result: str
) -> None:
    is_no_json = answer == "<html>"
    with bench.page.expect_event("pageerror") if is_no_json else nullcontext():
        bench.show(answer)
    bar = bench.page.locator("#progress-bar")
    expect(bench.page.locator("#progress-bar-message")).to_have_text(message.strip())
    expect(bar).to_have_css("background-color", color)
    assert bar.evaluate("bar => bar.style.width") == width
    assert bench.page.locator("#progress-bar-message").evaluate("message => message.textContent") == message
    assert bench.page.locator("#celery-result").evaluate("result => result.textContent") == result
    assert bench.errors == ["SyntaxError"] * is_no_json


def test_without_an_element_for_it_the_result_is_part_of_the_message(bench: Bench) -> None:
    bench.show(DONE, result="another")
    expect(bench.page.locator("#progress-bar-message")).to_have_text("Success! <i>42</i>")
    bench.show(FAILED, result="another")
    expect(bench.page.locator("#progress-bar-message")).to_have_text("Uh-Oh, something went wrong! no such row")


def test_it_asks_until_the_task_is_done_and_goes_on_after_a_retry(bench: Bench) -> None:
    bench.show(RUNNING, RUNNING, RETRY, RUNNING, DONE, options="callbacks('Progress', 'Retry', 'Success')")
    bench.page.wait_for_function("received.some(([name]) => name === 'Success')")
    assert [each[0] for each in bench.received()] == [
        "Progress", "Progress", "Progress", "Retry", "Progress", "Progress", "Success",
    ]  # fmt: skip
    asked = bench.asked
    bench.page.wait_for_timeout(200)
    assert bench.asked == asked == 5


# The callbacks.


BAR, MESSAGE, RESULT = "#progress-bar", "#progress-bar-message", "#celery-result"
IN_PROGRESS = ["Progress", True, BAR, MESSAGE]


@pytest.mark.parametrize(
    ("answers", "received"),
    [
        ([DONE], [["Success", True, BAR, MESSAGE, "<i>42</i>"], ["Result", True, RESULT, "<i>42</i>"]]),
        ([FAILED], [["TaskError", True, BAR, MESSAGE, "no such row"], ["Result", True, RESULT, "no such row"]]),
        ([RETRY, 500], [["Retry", True, BAR, MESSAGE, "away...", 7], ["HttpError", True, BAR, MESSAGE, "HTTP Code 500", "HTTP 500"]]),
        ([IGNORED], [["Ignored", True, BAR, MESSAGE, "not now"]]),
        ([STRANGE], [["DataError", True, BAR, MESSAGE, "Data Error"], ["Result", True, RESULT, "?"]]),
        ([{"hello": 1}], [["DataError", True, BAR, MESSAGE, "Data Error"]]),
        (["nonsense"], [["DataError", True, BAR, MESSAGE, "Parsing Error"]]),
        ([403], [["HttpError", True, BAR, MESSAGE, "HTTP Code 403", "HTTP 403"]]),
        (["cut", DONE], [["NetworkError", True, BAR, MESSAGE, "Network Error"], ["Success", True, BAR, MESSAGE, "<i>42</i>"],
                         ["Result", True, RESULT, "<i>42</i>"]]),
        ([GROUP], [["Success", True, BAR, MESSAGE, "undefined"]]),
    ],
    ids=["success", "failure", "retry", "ignored", "strange", "no status", "no JSON", "HTTP", "network", "group"],
)  # fmt: skip
def test_each_callback_is_reported_as_a_method_of_the_bar(
    bench: Bench, answers: list[Any], received: list[Any]
) -> None:
    bench.show(*answers, options="callbacks(...EVENTS)")
    bench.page.wait_for_function(f"received.filter(([name]) => name !== 'Progress').length === {len(received)}")
    assert [each for each in bench.received() if each[0] != "Progress"] == received


def test_progress_is_reported_whole(bench: Bench) -> None:
    bench.show(RUNNING, DONE, options="callbacks('Progress')")
    bench.page.wait_for_function("received.length === 2")
    assert bench.received() == [[*IN_PROGRESS, RUNNING["progress"]], [*IN_PROGRESS, WHOLE]]


@pytest.mark.parametrize(
    ("answer", "text"), [(FAILED, ""), ("nonsense", "Parsing Error"), (404, "HTTP Code 404"), ("cut", "Network Error")]
)
def test_an_error_without_a_callback_of_its_own_goes_to_on_error(bench: Bench, answer: Any, text: str) -> None:
    bench.show(answer, options="callbacks('Error')")
    bench.page.wait_for_function("received.length")
    assert bench.received()[0][:5] == ["Error", True, BAR, MESSAGE, text]


# The other options.


@pytest.mark.parametrize(
    "options",
    [
        "{progressBarId: 'my-bar', progressBarMessageId: 'my-message', resultElementId: 'my-result'}",
        """{progressBarElement: document.getElementById('my-bar'), progressBarId: 'nothing',
            progressBarMessageElement: document.getElementById('my-message'),
            resultElement: document.getElementById('my-result')}""",
    ],
    ids=["by id", "as elements"],
)
def test_the_elements_can_be_others(bench: Bench, options: str) -> None:
    bench.show(DONE, options=options)
    expect(bench.page.locator("#my-result")).to_have_text("<i>42</i>")
    expect(bench.page.locator("#my-bar")).to_have_css("background-color", GREEN)
    assert bench.look()[:3] == [
        ["progress-bar", "", "", ""],
        ["progress-bar-message", "", "", ""],
        ["celery-result", "", "", ""],
    ]


def test_one_color_can_be_another_and_the_rest_stays(bench: Bench) -> None:
    bench.show(RUNNING, options="{barColors: {success: '#000001'}}")
    expect(bench.page.locator("#progress-bar")).to_have_css("background-color", BLUE)
    bench.show(DONE, options="{barColors: {success: '#000001'}}")
    expect(bench.page.locator("#progress-bar")).to_have_css("background-color", "rgb(0, 0, 1)")


def test_the_messages_can_be_others(bench: Bench) -> None:
    bench.show(
        {**RUNNING, "progress": progress(0, pending=True)}, options="{defaultMessages: {waiting: 'Bitte warten'}}"
    )
    expect(bench.page.locator("#progress-bar-message")).to_have_text("Bitte warten")
    bench.show({**RUNNING, "progress": progress(0)}, options="{defaultMessages: {waiting: 'Bitte warten'}}")
    expect(bench.page.locator("#progress-bar-message")).to_have_text("Task started...")


def test_the_pause_between_two_requests_can_be_longer(bench: Bench) -> None:
    bench.stop_clock()
    bench.show(RUNNING, options="{...callbacks('Progress'), pollInterval: 60_000}")
    bench.page.wait_for_function("received.length === 1")
    bench.page.clock.fast_forward(55_000)
    assert len(bench.received()) == 1
    bench.page.clock.fast_forward(6_000)
    bench.page.wait_for_function("received.length === 2")


def test_it_gives_up_after_the_configured_number_of_attempts(ours: Bench) -> None:
    with ours.page.expect_event("pageerror"):
        ours.show("cut", options="{...callbacks('NetworkError'), maxNetworkRetryAttempts: 2}")
    assert len(ours.received()) == ours.asked == 2


def test_five_attempts_are_made_by_default(bench: Bench) -> None:
    bench.stop_clock()
    bench.show("cut", options="callbacks('NetworkError')")
    for attempts in range(1, 6):
        bench.page.wait_for_function(f"received.length === {attempts}")
        bench.page.clock.fast_forward(1_000)
    bench.page.clock.fast_forward(10_000)
    assert bench.asked == 5


def test_a_subclass_may_change_what_it_does(bench: Bench) -> None:
    bench.answers = [DONE]
    bench.page.goto(f"{PLACE}/")
    bench.page.evaluate(
        """() => {
            class Mine extends CeleryProgressBar {
                static getBarColorsDefault() { return {...super.getBarColorsDefault(), success: "#000001"}; }
                onSuccessDefault(bar, message, result) { super.onSuccessDefault(bar, message, `mine, ${result}`); }
                getMessageDetails(result) { return result; }
            }
            Mine.initProgressBar("/task/");
        }"""
    )
    expect(bench.page.locator("#progress-bar-message")).to_have_text("Success! mine, <i>42</i>")
    expect(bench.page.locator("#progress-bar")).to_have_css("background-color", "rgb(0, 0, 1)")


def test_a_page_without_the_bars_elements_is_no_error(ours: Bench) -> None:
    ours.show(FAILED, options="{progressBarId: 'nothing', progressBarMessageId: 'nothing'}")
    expect(ours.page.locator("#celery-result")).to_have_text("no such row")
    assert ours.errors == []


def test_a_web_socket_reports_the_same_callbacks(bench: Bench) -> None:
    sent: list[Any] = []

    def serve(socket: Any) -> None:
        def hear(message: Any) -> None:
            sent.append(json.loads(message))
            socket.send(json.dumps(RUNNING))
            socket.send(json.dumps(DONE))

        socket.on_message(hear)

    bench.page.route_web_socket("ws://site.test/ws/progress/1/", serve)
    bench.page.goto(f"{PLACE}/")
    bench.page.evaluate(
        "CeleryWebSocketProgressBar.initProgressBar('/ws/progress/1/', callbacks('Progress', 'Success'))"
    )
    bench.page.wait_for_function("received.length === 3")
    assert sent == [{"type": "check_task_completion"}]
    assert [each[0] for each in bench.received()] == ["Progress", "Progress", "Success"]


# The whole site.


@pytest.fixture(scope="module")
def site(needs: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs("redis")
    with running(tmp_path_factory.mktemp("site"), OURS, sockets=True, pool="threads") as site:
        yield site


def _fulfill(code: str, route: Route) -> None:
    route.fulfill(body=code, content_type="text/javascript")


@pytest.fixture(params=[OURS, THEIRS])
def either(request: pytest.FixtureRequest, page: Page) -> Page:
    """Give a page with our scripts, and one with the original's."""
    for name, code in scripts(request.param).items():
        page.route(f"**/celery_progress/{name}", partial(_fulfill, code))
    return page


def test_a_page_written_for_the_original_works_with_either_script_and_our_addresses(
    either: Page, site: Site, tmp_path: Path
) -> None:
    id = f"page-{uuid4()}"
    either.goto(f"{site.address}/page/task_status/{id}/")
    comes_to_its_end(either, site, id, tmp_path / "gate")


def test_a_page_is_updated_by_a_web_socket_with_either_script(either: Page, site: Site, tmp_path: Path) -> None:
    id = f"socket-{uuid4()}"
    either.goto(f"{site.address}/page/task_status/{id}/#waits")
    with either.expect_websocket() as opened:
        either.evaluate(f"CeleryWebSocketProgressBar.initProgressBar('/ws/progress/{id}/')")
    comes_to_its_end(either, site, id, tmp_path / "gate")
    if not opened.value.is_closed():
        opened.value.wait_for_event("close")


def comes_to_its_end(page: Page, site: Site, id: str, gate: Path) -> None:
    message = page.locator("#progress-bar-message")
    expect(message).to_have_text("Waiting for task to start...")
    site.send("reports", str(gate), (2, 8, "Reading"), id=id)
    expect(message).to_have_text("2 of 8 processed. Reading")
    gate.touch()
    expect(page.locator("#progress-bar")).to_have_css("background-color", GREEN)
    expect(message).to_have_text("Success!")


def test_the_static_files_are_ours_under_the_originals_paths(page: Page, site: Site) -> None:
    folder = Path(progresskit_celery_progress.__file__).parent / STATIC
    for name in ("celery_progress.js", "websockets.js"):
        answer = page.request.get(f"{site.address}/static/celery_progress/{name}")
        assert answer.body() == (folder / name).read_bytes()


def test_a_groups_page_comes_to_its_end(page: Page, site: Site) -> None:
    site.send_group("all-of-it", [("reports", ("/", (1, 2))), ("reports", ("/", (1, 2)))])
    page.goto(f"{site.address}/page/group_status/all-of-it/")
    expect(page.locator("#progress-bar-message")).to_have_text("Success!")
    expect(page.locator("#progress-bar")).to_have_css("background-color", GREEN)
