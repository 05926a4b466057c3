"""
A Chromium that is driven by its own protocol, for what Playwright keeps from happening.

Playwright holds each of its pages in focus, and what is in focus cannot be frozen. Here each page has a window of its
own, and is in view until it is sent away.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from tests.browser.conftest import ARGUMENTS
from tests.end_to_end.screen import RECORDER
from tests.services.process import Process
from tests.services.waiting import wait_until

SECONDS = 100
PROCESSES = 4
"""How many renderers there are for all pages together."""


class Chromium:
    """A headless Chromium with a profile of its own."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._ids = itertools.count(1)
        self._open = ExitStack()
        self._socket: ClientConnection | None = None

    def __enter__(self) -> Self:
        try:
            folder = Path(tempfile.mkdtemp(prefix="progresskit-chromium-"))
            self._open.callback(shutil.rmtree, folder, ignore_errors=True)
            more = [f"--renderer-process-limit={PROCESSES}", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
            process = Process([self._program, *ARGUMENTS, *more], folder)
            self._open.callback(process.kill)
            self._socket = self._open.enter_context(
                connect(_address(folder), open_timeout=SECONDS, ping_interval=None, max_size=None, proxy=None)
            )
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command, to a page or else to the browser, and return its result."""
        assert self._socket is not None
        id = next(self._ids)
        page = {} if session is None else {"sessionId": session}
        self._socket.send(json.dumps({"id": id, "method": method, "params": parameters} | page))
        while True:
            answer = json.loads(self._socket.recv(timeout=SECONDS))
            if answer.get("id") == id:
                result: dict[str, Any] = answer["result"]
                return result

    def visitor(self) -> str:
        """Return the name of somebody new, with cookies and a cache of his own."""
        name: str = self.send("Target.createBrowserContext")["browserContextId"]
        return name

    def page(self, visitor: str) -> Page:
        """Open a page of a visitor."""
        created = self.send("Target.createTarget", url="about:blank", browserContextId=visitor, newWindow=True)
        target = created["targetId"]
        return Page(self, self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])


class Page:
    """One page."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session
        self._send("Page.enable")
        self._send("Page.addScriptToEvaluateOnNewDocument", source=RECORDER)

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.send(method, self._session, **parameters)

    def go(self, url: str) -> None:
        """Begin to load what is there."""
        assert "errorText" not in self._send("Page.navigate", url=url)

    def run(self, expression: str) -> Any:
        """Return what an expression gives, by way of JSON."""
        answer = self._send("Runtime.evaluate", expression=f"JSON.stringify({expression} ?? null)", returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return json.loads(answer["result"]["value"])

    def freeze(self) -> None:
        """Send it away and stop all that it does, as a browser does with a page that was not looked at for long."""
        self._send("Page.setWebLifecycleState", state="frozen")
        # The browser answers before the page has stopped.
        wait_until(lambda: self.run("recorded.frozen"), "the page is frozen", SECONDS)

    def thaw(self) -> None:
        """Let it go on, in view again."""
        self._send("Page.setWebLifecycleState", state="active")
        window = self._send("Browser.getWindowForTarget")["windowId"]
        for state in ("minimized", "normal"):
            self._send("Browser.setWindowBounds", windowId=window, bounds={"windowState": state})


def _address(folder: Path) -> str:
    """Return where a browser listens that has been started just now."""
    file = folder / "DevToolsActivePort"
    wait_until(lambda: file.exists() and len(file.read_text().split()) == 2, "Chromium listens", SECONDS)
    port, path = file.read_text().split()
    return f"ws://127.0.0.1:{port}{path}"
