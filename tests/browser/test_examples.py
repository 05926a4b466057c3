"""The pages of docs/examples in a real browser, with the libraries that they are written for, on a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

import progresskit
from progresskit import Kit
from progresskit.web import Surface, sign
from progresskit_asgi import ProgressApp
from tests.browser.packages import ROOT, complaints, lay_out
from tests.contract.shims import uvicorn_serving
from tests.docs.running import python
from tests.services.ports import free_port, is_taken
from tests.services.process import Process
from tests.services.waiting import wait_until

EXAMPLES = ROOT / "docs" / "examples"
INDEX = """<!doctype html><meta charset="utf-8"><div id="app"></div><script type="module" src="/main.js"></script>"""
REACT = """
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import { Import } from "./Import.tsx";
createRoot(document.querySelector("#app")).render(createElement(Import, { address: "/progress/KEY/" }));
"""
VUE = """
import { createApp } from "vue";
import Import from "./Import.vue";
createApp(Import, { address: "/progress/KEY/" }).mount("#app");
"""
SECRET = "the secret of this site, long enough"
JSX = """export default { esbuild: { jsx: "automatic" } }"""


class Site:
    """A site of pages, and of the progress of one job that this process runs."""

    def __init__(self, kit: Kit, folder: Path) -> None:
        self.kit, self.folder = kit, folder
        self.asked: list[str] = []
        self.url = ""
        routes = [Mount("/progress", ProgressApp(kit=kit)), Mount("/", StaticFiles(directory=folder, html=True))]
        self._app = Starlette(routes=routes)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope.get("path", ""))
        await self._app(scope, receive, send)

    def publish(self, *paths: Path) -> None:
        """Put files on the site, with the key of the job in them."""
        key = Surface(self.kit).sign("job", "cancel")
        for path in paths:
            target = self.folder / path.name
            if path.is_dir():
                shutil.copytree(path, target)
            else:
                target.write_text(path.read_text().replace("KEY", key))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    kit = Kit("memory://", secret_key=SECRET)
    site = Site(kit, folder)
    with uvicorn_serving(site) as site.url:
        yield site
    kit.close()


@pytest.fixture
def default_kit() -> Iterator[None]:
    progresskit.configure("memory://", secret_key=SECRET)
    yield
    progresskit.configure()


@pytest.fixture
def built(node_modules: Path, tmp_path: Path, site: Site, program: Callable[..., str]) -> Callable[..., None]:
    """Give a function that builds an example as its users do, with what starts it, and publishes that."""

    def build(example: str, main: str, **more: str) -> None:
        project = tmp_path / example
        shutil.copytree(EXAMPLES / example, project)
        lay_out(project, node_modules)
        for name, text in {"index.html": INDEX, "main.js": main, "package.json": '{"type": "module"}'}.items():
            (project / name).write_text(text)
        for name, text in more.items():
            (project / name.replace("_config", ".config.js")).write_text(text)
        command = [program("node"), str(project / "node_modules" / "vite" / "bin" / "vite.js"), "build"]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
        (assets,) = (project / "dist").glob("assets")
        for path in assets.iterdir():
            path.write_text(path.read_text().replace("KEY", Surface(site.kit).sign("job", "cancel")))
        site.publish(project / "dist" / "index.html", assets)

    return build


def expect_the_job_to_show(page: Page, site: Site) -> None:
    """Run the job under the eyes of the page, which has one bar, and a link once it has succeeded."""
    bar, link = page.locator("progress-bar"), page.get_by_role("link", name="See the report")
    with site.kit.observe("job", total=100, description="Importing", cancellable=True) as observer:
        expect(bar.locator("[part=label]")).to_have_text("Importing")
        observer.set_progress(50)
        expect(bar.locator("[part=percent]")).to_have_text("50%")
        expect(bar.locator("[part=cancel]")).to_be_visible()
        expect(link).to_be_hidden()
        observer.set_progress(100)
    expect(bar).to_have_attribute("data-state", "succeeded")
    expect(link).to_be_visible()
    assert site.asked.count("/progress/events/") == 1


def test_the_plain_page_shows_a_job_to_its_end(page: Page, site: Site) -> None:
    site.publish(EXAMPLES / "plain" / "index.html")
    page.goto(site.url)

    expect_the_job_to_show(page, site)


def test_the_react_component_shows_a_job_to_its_end(page: Page, site: Site, built: Callable[..., None]) -> None:
    built("react", REACT, vite_config=JSX)
    page.goto(site.url)

    expect_the_job_to_show(page, site)


def test_the_vue_component_shows_a_job_to_its_end(page: Page, site: Site, built: Callable[..., None]) -> None:
    built("vue", VUE)
    page.goto(site.url)

    expect_the_job_to_show(page, site)


def test_a_job_is_cancelled_from_the_button_of_a_framework(page: Page, site: Site, built: Callable[..., None]) -> None:
    built("react", REACT, vite_config=JSX)
    page.goto(site.url)
    with site.kit.observe("job", total=100):
        with page.expect_response("**/cancel/") as answer:
            page.get_by_role("button", name="Cancel").click()
        expect(page.locator("progress-bar")).to_have_attribute("data-state", "cancelling")
        assert answer.value.status == 202


def test_htmx_swaps_the_fragments_in_and_asks_nothing_after_the_end(page: Page, site: Site, node_modules: Path) -> None:
    (site.folder / "static").mkdir()
    shutil.copy(node_modules / "htmx.org" / "dist" / "htmx.js", site.folder / "static")
    shutil.copy(node_modules / "htmx-ext-sse" / "dist" / "sse.js", site.folder / "static")
    site.publish(EXAMPLES / "htmx" / "index.html")
    page.add_init_script("addEventListener('htmx:sseOpen', ({ detail }) => { window.source = detail.source })")
    page.goto(site.url)
    fragment = page.locator(".progresskit")
    with site.kit.observe("job", total=100, description="Importing <b>") as observer:
        expect(fragment).to_have_attribute("data-state", "running")
        observer.set_progress(50)
        expect(fragment.locator(".progresskit-percent")).to_have_text("50 %")
        expect(fragment.locator(".progresskit-label")).to_have_text("Importing <b>")
    expect(fragment).to_have_attribute("data-state", "succeeded")
    page.wait_for_function("() => source.readyState === EventSource.CLOSED")

    assert len([path for path in site.asked if path.endswith("/events/")]) == 1


def test_a_page_of_vite_s_development_server_shows_a_job_to_its_end(
    page: Page, site: Site, node_modules: Path, tmp_path: Path, program: Callable[..., str]
) -> None:
    project = tmp_path / "vite"
    project.mkdir()
    lay_out(project, node_modules)
    config = (EXAMPLES / "vite" / "vite.config.js").read_text()
    assert "http://127.0.0.1:8000" in config
    (project / "vite.config.js").write_text(config.replace("http://127.0.0.1:8000", site.url))
    (project / "package.json").write_text('{"type": "module"}')
    html = (EXAMPLES / "plain" / "index.html").read_text()
    (project / "index.html").write_text(html.replace("KEY", Surface(site.kit).sign("job", "cancel")))
    port = free_port()
    vite = [program("node"), str(project / "node_modules" / "vite" / "bin" / "vite.js")]
    server = Process([*vite, "--host", "127.0.0.1", "--port", str(port), "--strictPort"], project)
    try:
        wait_until(lambda: is_taken(port), "the server is there")
        page.goto(f"http://127.0.0.1:{port}")

        expect_the_job_to_show(page, site)
    finally:
        server.kill()


def test_a_page_of_another_origin_that_is_allowed_shows_a_job_and_cancels_it(
    page: Page, tmp_path: Path, default_kit: None
) -> None:
    source, html = (EXAMPLES / "cors_app.py").read_text(), (EXAMPLES / "plain" / "index.html").read_text()
    assert "https://pages.example.com" in source
    with uvicorn_serving(StaticFiles(directory=tmp_path, html=True)) as origin:
        names: dict[str, Any] = {}
        exec(source.replace("https://pages.example.com", origin), names)
        with uvicorn_serving(names["app"]) as other:
            html = html.replace('src="/progress', f'src="{other}/progress')
            (tmp_path / "index.html").write_text(html.replace("KEY", sign("job", "cancel")))
            page.goto(origin)
            bar = page.locator("progress-bar")
            with progresskit.observe("job", total=4, description="Importing") as observer:
                expect(bar.locator("[part=label]")).to_have_text("Importing")
                observer.set_progress(1)
                expect(bar.locator("[part=percent]")).to_have_text("25%")
                with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
                    page.get_by_role("button", name="Cancel").click()
                assert answer.value.status == 202
                expect(bar).to_have_attribute("data-state", "cancelling")


def test_a_django_project_that_was_just_started_shows_a_job_to_its_end(page: Page, tmp_path: Path) -> None:
    python("-m", "django", "startproject", "mysite", ".", cwd=tmp_path)
    example = EXAMPLES / "django_start"
    for path in [path for path in example.rglob("*.*") if path.suffix in {".py", ".html"}]:
        target = tmp_path / path.relative_to(example)
        target.parent.mkdir(exist_ok=True)
        with target.open("a") as file:  # the settings and addresses are there already
            file.write(path.read_text())
    port = free_port()
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    server = Process(command, tmp_path, env=env)
    try:
        wait_until(lambda: is_taken(port), "the server is there")
        page.goto(f"http://127.0.0.1:{port}")
        page.get_by_role("button", name="Import").click()
        bar = page.locator("progress-bar")
        expect(bar.locator("[part=label]")).to_have_text("Importing")
        expect(bar).to_have_attribute("data-state", "succeeded")
        page.get_by_role("button", name="Import").click()
        page.get_by_role("button", name="Cancel").click()
        expect(bar).to_have_attribute("data-state", "cancelled")
    finally:
        server.kill()


def test_the_examples_have_the_types_that_compilers_want(node_modules: Path, tmp_path: Path) -> None:
    for folder in ("react", "vue"):
        shutil.copytree(EXAMPLES / folder, tmp_path, dirs_exist_ok=True)
    lay_out(tmp_path, node_modules)

    assert complaints(tmp_path, "Import.tsx", "Import.vue") == ""
