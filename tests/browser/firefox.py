"""A small client of WebDriver BiDi, and a Firefox to drive with it."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

_LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
SECONDS = 100
"""A busy machine takes its time to start a browser."""


class Firefox:
    """A headless Firefox with a profile of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self._log = folder / "firefox.log"
        profile = folder / "profile"
        profile.mkdir()
        command = [program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={"HOME": str(folder), "TMPDIR": "/tmp"}
            )
        self._ids = itertools.count(1)
        self._open = ExitStack()
        self._socket: ClientConnection | None = None

    def __enter__(self) -> Self:
        try:
            connection = connect(
                self._address() + "/session", open_timeout=SECONDS, ping_interval=None, max_size=None, proxy=None
            )
            self._socket = self._open.enter_context(connection)
            self.send("session.new", capabilities={})
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _address(self) -> str:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := _LISTENING.search(self._log.read_text(errors="replace")):
                return found[1]
            time.sleep(0.05)
        raise AssertionError(f"Firefox does not listen:\n{self._log.read_text(errors='replace')}")

    def close(self) -> None:
        """End it, whatever it does."""
        self._open.close()
        self._process.kill()
        self._process.wait()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        assert self._socket is not None
        id = next(self._ids)
        self._socket.send(json.dumps({"id": id, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=SECONDS))
            if answer.get("id") == id:
                assert answer["type"] == "success", answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str) -> str:
        """Open a tab and return its name."""
        tab: str = self.send("browsingContext.create", type="tab", background=False)["context"]
        self.send("browsingContext.navigate", context=tab, url=url, wait="complete")
        return tab

    def run(self, tab: str, expression: str) -> Any:
        """Return what an expression gives in a tab, by way of JSON."""
        answer = self.send(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        value = answer["result"].get("value")
        return None if value is None else json.loads(value)

    def until(self, tab: str, expression: str) -> None:
        """Wait until an expression is true in a tab."""
        deadline = time.monotonic() + SECONDS
        while not self.run(tab, expression):
            assert time.monotonic() < deadline, f"never true in Firefox: {expression}"
            time.sleep(0.05)

    def close_tab(self, tab: str) -> None:
        self.send("browsingContext.close", context=tab)
