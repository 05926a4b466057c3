"""
The time until a page shows an update of a job: on Redis, with default settings, compared with celery-progress.

One process sets the progress of one job at random times, by either kit. `progresskit serve` streams to the browser
component, and a Django on gunicorn answers the JavaScript of celery-progress, which polls each 500 ms; both pages are
in one headless Chromium. An observer on the DOM records the displayed values with their times. A value that is
overtaken by a later one counts as shown with that one.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from playwright.sync_api import sync_playwright
from polling import SERVERS, served

from progresskit import Kit
from progresskit.web import Surface
from tests.browser.conftest import ARGUMENTS
from tests.services.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

SETS = 200
PAUSE = (0.05, 0.3)
MEDIAN_SECONDS, P99_SECONDS = 0.1, 0.2
PATIENCE = 30.0
SECRET = "the secret of this site, long enough for it"
ID = "job"
HERE = Path(__file__).parent

OURS = """<!doctype html><script type="module" src="/progress/progresskit.js"></script>
<progress-bar src="/progress/{key}/"></progress-bar>"""
THEIRS = """<!doctype html><div id="progress-bar"></div><div id="progress-bar-message"></div>
<script>{script}
CeleryProgressBar.initProgressBar("/celery-progress/{id}/")</script>"""
WATCH = """find => {
    const node = eval(find);
    window.seen = [];
    const look = () => {
        const number = Number(/set (\\d+)/.exec(node.textContent)?.[1] ?? -1);
        if (number > (seen.at(-1)?.[0] ?? -1)) seen.push([number, Date.now() / 1000]);
    };
    new MutationObserver(look).observe(node, { childList: true, characterData: true, subtree: true });
    look();
}"""


class Shown(NamedTuple):
    """The values set and the values shown by a page: numbers of sets, with the times in seconds."""

    name: str
    set_at: list[float]
    seen: list[tuple[int, float]]

    def ages(self) -> list[float]:
        """Return the seconds from each set to the first sight of it, or of a later one, sorted; not of the first."""
        first = {number: next(at for shown, at in self.seen if shown >= number) for number in range(len(self.set_at))}
        return sorted(first[number] - at for number, at in enumerate(self.set_at) if number)


@contextmanager
def running(words: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python, to speak with it by lines."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment
    command = [sys.executable, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
        finally:
            process.terminate()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said, f"{process.args!r} has ended"
    return said


def answer(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def opened(browser: Browser, url: str, html: str, find: str) -> Page:
    """Open a page at the root of a server that has none, and watch the value of the expression on it."""
    page = browser.new_context().new_page()
    page.route(url, lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(url)
    page.unroute_all()  # its own requests are not to be looked at
    page.evaluate(WATCH, find)
    return page


def until_shown(page: Page, number: int) -> None:
    page.wait_for_function("number => seen.at(-1)?.[0] >= number", arg=number, timeout=PATIENCE * 1_000)


def measure(url: str, browser: Browser, stack: ExitStack) -> list[Shown]:
    """Set, and look at both pages meanwhile."""
    serve = stack.enter_context(
        running(
            ["-m", "progresskit", "serve", "--port", "0", "--json"],
            PROGRESSKIT_URL=url,
            PROGRESSKIT_SECRET_KEY=SECRET,
        )
    )
    place = json.loads(heard(serve))["url"].removesuffix("progress/")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "POLLED_URL": url}
    port = stack.enter_context(served(SERVERS["gunicorn, 2 sync workers"], environment))
    job = stack.enter_context(running([str(HERE / "_writer.py"), url, ID, str(SETS), *map(str, PAUSE)]))
    moments = [json.loads(heard(job))]
    key = Surface(Kit("memory://", secret_key=SECRET)).sign(ID)
    bar = "document.querySelector('progress-bar').shadowRoot.querySelector('[part=label]')"
    message = "document.querySelector('#progress-bar-message')"
    pages = [
        opened(browser, place, OURS.format(key=key), bar),
        opened(browser, f"http://127.0.0.1:{port}/", THEIRS.format(script=script(), id=ID), message),
    ]
    for page in pages:
        until_shown(page, 0)
    answer(job)
    moments += [json.loads(heard(job)) for _ in range(SETS)]
    for page in pages:
        until_shown(page, SETS)
    answer(job)
    names = ("ours", "celery-progress")
    return [
        Shown(name, [*set_at], page.evaluate("seen"))
        for name, set_at, page in zip(names, zip(*moments, strict=True), pages, strict=True)
    ]


def script() -> str:
    """Return the JavaScript of celery-progress."""
    found = find_spec("celery_progress")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / "static/celery_progress/celery_progress.js").read_text()


def main() -> int:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with ExitStack() as stack:
        redis = stack.enter_context(Redis())
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        stack.callback(browser.close)
        found = measure(redis.url, browser, stack)
    for shown in found:
        ages = shown.ages()
        median, p99 = statistics.median(ages), ages[len(ages) * 99 // 100]
        print(
            f"{shown.name.ljust(15)} {len(ages)} sets, {len(shown.seen) - 1} of them shown for themselves: "
            f"median {median * 1e3:3.0f} ms, 99th percentile {p99 * 1e3:3.0f} ms, longest {ages[-1] * 1e3:3.0f} ms"
        )
    ages = found[0].ages()
    met = statistics.median(ages) < MEDIAN_SECONDS and ages[len(ages) * 99 // 100] < P99_SECONDS
    print(f"under {MEDIAN_SECONDS * 1e3:.0f} ms and {P99_SECONDS * 1e3:.0f} ms: {'met' if met else 'MISSED'}")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
