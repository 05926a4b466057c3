"""
The shims, for tests of clients that each of them has to serve; and how many contract tests each implementation passed.

Those of a shim say `pytestmark = pytest.mark.usefixtures("contract")`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count

import httpx
import pytest

import progresskit
from progresskit.web import host_settings, sign
from progresskit.web.limiter import PROCESS_LIMITER

from .clients import described_client, eventually
from .shims import SHIMS, Shim

NUMBERS = count()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count what recorded the property `contract`, by its value and by how it went."""
    counts: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", []):
                if name == "contract":
                    counts.setdefault(value, Counter())[outcome] += 1
    if counts:
        terminalreporter.section("contract tests")
    for name, counter in sorted(counts.items()):
        terminalreporter.write_line(f"{name}: " + ", ".join(f"{n} {outcome}" for outcome, n in counter.items()))


@pytest.fixture(scope="class")
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve the shim of a `ShimSuite`."""
    with request.cls.shim.site() as site:
        yield f"{site}/progress"
    host_settings({})


@pytest.fixture(scope="module", params=SHIMS, ids=lambda shim: shim.name)
def shim(request: pytest.FixtureRequest) -> Shim:
    served: Shim = request.param
    return served


@pytest.fixture(scope="module")
def site(shim: Shim) -> Iterator[str]:
    with shim.site() as address:
        yield address
    host_settings({})


@pytest.fixture
def client(site: str) -> Iterator[httpx.Client]:
    with described_client(f"{site}/progress/") as client:
        yield client


@pytest.fixture
def contract(shim: Shim, site: str, record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Begin with an empty store, and leave no place taken."""
    record_property("contract", shim.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROGRESSKIT_FLUSH_SECONDS", "60")  # what a test reports is stored, however busy the machine is
        progresskit.configure("memory://")
        yield
        assert eventually(lambda: PROCESS_LIMITER.acquired == 0)
    progresskit.configure()


@pytest.fixture
def id() -> str:
    return f"import-{next(NUMBERS)}"


@pytest.fixture
def key(id: str) -> str:
    return sign(id)
