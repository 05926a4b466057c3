"""
Ask a site all that its OpenAPI description allows, with schemathesis: `fuzz.py ADDRESS REPORT KEY…`.

REPORT is a token to report with, each KEY one to read or cancel with.

Run as a process of its own, as schemathesis takes seconds to load. It asks the same in each run, so that what it finds
can be found again. Prints how often each operation answered with each status; what was answered outside of the
description ends it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHOSEN = settings(
    max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def fuzz(operation: Any, address: str, keys: list[str]) -> Counter[int]:
    """Ask one operation, often with a key that opens something, and often as a page of the site does."""

    @given(case=operation.as_strategy(), key=st.none() | st.sampled_from(keys), own=st.booleans())
    def ask(case: Any, key: str | None, own: bool) -> None:
        if key is not None and "key" in (case.path_parameters or {}):
            case.path_parameters["key"] = key
        elif key is not None and isinstance((case.query or {}).get("key"), list):
            case.query["key"] = [key, *case.query["key"]]
        if own:
            case.headers["X-Progresskit"] = "1"
        send(case, address, answered)

    answered: Counter[int] = Counter()
    CHOSEN(ask)()
    return answered


def fuzz_reports(operation: Any, address: str, key: str) -> Counter[int]:
    """Report all that may be reported: nine in ten times with the right, and one in two of the run begun last."""

    @given(case=operation.as_strategy(), kind=st.sampled_from(["new"] * 4 + ["known"] * 5 + ["any"]))
    def report(case: Any, kind: str) -> None:
        if kind != "any":
            case.path_parameters["key"] = key
            case.headers["X-Progresskit"] = "1"
            case.headers.pop("Progresskit-Run", None)
        if kind == "known" and runs:
            more = {"Progresskit-Run": runs[-1], "Progresskit-Seq": str(len(runs) + 1)}
            case.headers.update(more)
        response = send(case, address, answered)
        runs.extend(response.headers.get("progresskit-run", []))  # a list for each header

    runs: list[str] = []
    answered: Counter[int] = Counter()
    CHOSEN(report)()
    return answered


def send(case: Any, address: str, answered: Counter[int]) -> Any:
    response = case.call(base_url=address, timeout=60)
    answered[response.status_code] += 1
    case.validate_response(response)
    return response


def main(address: str, report: str, *keys: str) -> int:
    schema: Any = schemathesis.openapi.from_url(f"{address}/openapi.json")
    results = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.method == "put":
            results[operation.label] = fuzz_reports(operation, address, report)
        else:
            results[operation.label] = fuzz(operation, address, list(keys))
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
