"""What a visitor sees: a page with bars, and what they told and showed from the beginning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

RECORDER = Path(__file__).with_name("recorder.js").read_text()


class Screen:
    """One tab."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        context.add_init_script(RECORDER)
        self.errors: list[str] = []
        """What stands in the console, and what the page's scripts raised."""
        self.page: Page = context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def bar(self, index: int = 0) -> Locator:
        return self.page.locator("progress-bar").nth(index)

    def part(self, name: str, index: int = 0) -> Locator:
        return self.bar(index).locator(f"[part={name}]")

    def expect_percent(self, percent: int, index: int = 0) -> None:
        expect(self.part("percent", index)).to_have_text(f"{percent}%")

    def expect_state(self, state: str, index: int = 0) -> None:
        expect(self.bar(index)).to_have_attribute("data-state", state)

    def events(self, type: str, index: int = 0) -> list[dict[str, Any]]:
        """Return the DOM events of a bar, in order."""
        return [event for event in self.all_events(type) if event["bar"] == index]

    def all_events(self, type: str) -> list[dict[str, Any]]:
        """Return those of all bars, in order."""
        return [event for event in self.page.evaluate("recorded.events") if event["type"] == type]

    def states(self, index: int = 0) -> list[str]:
        """Return the states that a bar went through, each once where they follow each other."""
        states = [event["state"] for event in self.events("progress", index)]
        return [state for before, state in zip([None, *states], states, strict=False) if state != before]

    def percents(self, index: int = 0) -> list[float]:
        """Return the percentages that a bar showed, each once where they follow each other."""
        values = [event["percent"] for event in self.events("progress", index) if event["percent"] is not None]
        return [value for before, value in zip([None, *values], values, strict=False) if value != before]

    def first_frame(self, index: int = 0) -> tuple[float, float]:
        """Return the percentage that was painted first, and the share of the track that was filled with it."""
        self.page.wait_for_function("index => index in recorded.frames", arg=index)  # painted after it is written
        frame = self.page.evaluate("index => recorded.frames[index]", index)
        return frame["percent"], frame["share"]

    def filled(self, index: int = 0) -> float:
        """Return the share of the track that is filled."""
        track, fill = self.part("track", index).bounding_box(), self.part("fill", index).bounding_box()
        assert track is not None
        assert fill is not None
        return (fill["x"] + fill["width"] - track["x"]) / track["width"]


OpenPage = Callable[[str], Screen]
