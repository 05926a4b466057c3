"""Say at the end of a run how many contract tests each implementation passed."""

from __future__ import annotations

from collections import Counter

import pytest


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
