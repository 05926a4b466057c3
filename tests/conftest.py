"""
What holds for every test.

A missing service skips its tests on a laptop and fails them in CI, where a skip would go unseen.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import shutil
import signal
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import NoReturn

import httpx._transports.default as http_transport
import pytest
from hypothesis import settings

from tests.services.process import guard

# Before any folder's conftest imports it: what it asserts is to be told in full.
pytest.register_assert_rewrite("progresskit.testing")

# A developer's own settings must not reach the tests; and here a bad value raises, so that none goes unseen.
for name in [name for name in os.environ if name.startswith("PROGRESSKIT_") and name != "PROGRESSKIT_CI"]:
    del os.environ[name]
os.environ["PROGRESSKIT_STRICT"] = "1"

# A shell that runs this in the background has both ignored, and each process that a test starts inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# redis-py reads its own version from the files of its package for each connection: 6 % of what its tests take.
importlib.metadata.version = cache(importlib.metadata.version)
# httpx reads all certificates that there are for each client, also for one of plain HTTP: 20 ms of work.
http_transport.create_ssl_context = cache(http_transport.create_ssl_context)  # type: ignore[attr-defined]

guard(os.getpid())  # from here on, what is started has the mark by which it is found if this process is killed

IN_CI = any(os.environ.get(name, "0") not in {"", "0", "false"} for name in ("CI", "PROGRESSKIT_CI"))

# How long one example takes says how busy the machine is. In CI a commit has the same examples each time, so that what
# refuses it is a fault of its own; everywhere else each run looks for new ones.
settings.register_profile("progresskit", deadline=None, derandomize=IN_CI)
settings.load_profile("progresskit")

TESTS = Path(__file__).parent
MARKED_FOLDERS = ("browser", "end_to_end", "faults", "packaging")
LONG = ("faults", "end_to_end", "contract", "docs", "cli", "browser")
"""The folders whose files take longest: they begin first, so that nobody waits for them at the end."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-services",
        action="store_true",
        default=IN_CI,
        help="fail, not skip, where a service that a test needs is missing (the default with CI or PROGRESSKIT_CI set)",
    )
    parser.addoption("--soak", type=int, default=1, help="kill the servers of tests/faults so many times as often")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave all that is collected to stay out of garbage collections: of those now, and of each during the tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in a folder of its own by its name, so that nobody can forget to; put the long ones first."""
    places = {folder: place for place, folder in enumerate(LONG)}
    folders = {path: path.relative_to(TESTS).parts[0] for path in {item.path for item in items}}
    for item in items:
        if folders[item.path] in MARKED_FOLDERS:
            item.add_marker(folders[item.path])
    items.sort(key=lambda item: places.get(folders[item.path], len(LONG)))


@pytest.fixture(scope="session")
def missing_service(pytestconfig: pytest.Config) -> Callable[..., NoReturn]:
    """Give a function that ends the test because the named service is missing: a skip, or a failure in CI."""

    def end(name: str, why: str = "tools/bootstrap installs what the tests need") -> NoReturn:
        reason = f"{name} is missing: {why}"
        if pytestconfig.getoption("require_services"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)

    return end


@pytest.fixture(scope="session")
def needs(missing_service: Callable[..., NoReturn]) -> Callable[[str], None]:
    """Give a function that ends the test where a server of tests.services cannot be had: `needs("redis")`."""
    from tests.services import missing

    def end_without(name: str) -> None:
        if reason := missing(name):
            missing_service(name, reason)

    return end_without


@pytest.fixture(scope="session")
def program(missing_service: Callable[..., NoReturn]) -> Callable[..., str]:
    """Give a function that finds a program by any of its names: `program("chromium", "google-chrome")`."""

    def find(*names: str) -> str:
        found = (path for name in names if (path := shutil.which(name)))
        return next(found, None) or missing_service(names[0])

    return find
