"""One page, while a loop of curl, a script of Node and one of PHP report its job in turn, over HTTP."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from progresskit import Kit
from progresskit.web import Surface
from progresskit_asgi import ProgressApp
from tests.browser.packages import ROOT
from tests.contract.shims import uvicorn_serving
from tests.services.waiting import wait_until

EXAMPLES = ROOT / "docs" / "examples"

CURL = """\
run=()
for count in 0 1 2 3; do
    answer=$(curl -sS --fail -X PUT "$1" -H 'X-Progresskit: 1' -H "Progresskit-Seq: $((count + 1))" "${run[@]}" \\
        -d "{\\"current\\": $count, \\"total\\": 4, \\"unit\\": \\"files\\"}" -w '\\n%header{progresskit-run}')
    run=(-H "Progresskit-Run: ${answer##*$'\\n'}")
done
curl -sS --fail -X PUT "$1" -H 'X-Progresskit: 1' -H 'Progresskit-Seq: 5' "${run[@]}" -d '{"state": "retrying"}'
"""


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", secret_key="the secret of this site, long enough", flush_seconds=60)
    yield kit
    kit.close()


@contextmanager
def reporting(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_page_follows_programs_of_three_languages_through_retry_failure_and_cancel(
    page: Page, kit: Kit, tmp_path: Path, program: Callable[..., str]
) -> None:
    assert program("curl")
    (tmp_path / "file").write_text("content")
    os.mkfifo(tmp_path / "slow")

    def version_of(id: str) -> tuple[int, int, int] | None:
        record = kit.get(id)
        return None if record is None else record.version

    app = ProgressApp(kit=kit)
    html = f"<!doctype html><title>Files</title>{app.progress_bar('job', cancel=True)}"
    routes = [Mount("/progress", app=app), Route("/", lambda request: HTMLResponse(html))]
    bar = page.locator("progress-bar")
    with uvicorn_serving(Starlette(routes=routes)) as site:
        address = f"{site}/progress/{Surface(kit).sign('job', 'report')}/"
        page.goto(site)
        with reporting(tmp_path, program("bash"), "-c", CURL, "curl", address) as process:
            expect(bar).to_have_attribute("data-state", "retrying")
            expect(bar.locator("[part=detail]")).to_contain_text("3 of 4 files")
            assert process.wait(60) == 0
        with reporting(tmp_path, program("node"), str(EXAMPLES / "report.mjs"), address, "file", "missing") as process:
            expect(bar).to_have_attribute("data-state", "failed")
            expect(bar.locator("[part=detail]")).to_contain_text("A file cannot be read")
            assert process.wait(60) == 1
        assert version_of("job") == (1, 2, 3), "the next attempt of the same run"
        with reporting(tmp_path, program("php"), str(EXAMPLES / "report.php"), address, "file", "slow") as process:
            wait_until(lambda: version_of("job") == (2, 1, 2))
            page.reload()  # a bar whose job has ended asks no more
            expect(bar).to_have_attribute("data-state", "running")
            expect(bar.locator("[part=detail]")).to_contain_text("1 of 2 files")
            with (tmp_path / "slow").open("w") as slow:  # which waits until the program reads it
                bar.get_by_role("button").click()
                expect(bar).to_have_attribute("data-state", "cancelling")
                slow.write("more")
            expect(bar).to_have_attribute("data-state", "cancelled")
            assert process.wait(60) == 0
