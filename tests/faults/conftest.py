"""Servers to harm, the time that takes, and how often one was killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from tests.contract.backends import BACKENDS
from tests.services.server import Server

SECONDS = 1_800
"""After which a test counts as hanging: RabbitMQ takes 5 to 15 seconds to start, or a minute, twenty times."""


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.timeout(SECONDS * config.getoption("soak")))


@pytest.fixture(scope="class")
def server(request: pytest.FixtureRequest, missing_service: Callable[..., NoReturn]) -> Iterator[Server]:
    """Start the server that the class names, by its name in the table of backends, for the class alone."""
    name = request.cls.name
    row = next(row for row in BACKENDS if name in row.harmed)
    if row.missing:
        missing_service(row.service, row.missing)
    with row.harmed[name]() as server:
        yield server


SECTIONS = {
    "kills": "servers killed and restarted under 20 jobs and 3 watchers",
    "parts": "parts of one job, whose workers and server were killed",
}
"""What passed tests record, by the name of the property."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write what passed tests have recorded."""
    for name, title in SECTIONS.items():
        lines = [
            str(value)
            for report in terminalreporter.stats.get("passed", [])
            for recorded, value in getattr(report, "user_properties", [])
            if recorded == name
        ]
        if lines:
            terminalreporter.section(title)
        for line in sorted(lines):
            terminalreporter.write_line(line)
