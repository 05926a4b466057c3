"""
Ask a site all that its OpenAPI description allows, with schemathesis: `fuzz.py ADDRESS KEY…`.

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

EXAMPLES = 25


def fuzz(operation: Any, address: str, keys: list[str]) -> Counter[int]:
    """Ask one operation, often with a key that opens something, and often as a page of the site does."""
    answered: Counter[int] = Counter()

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(), key=st.none() | st.sampled_from(keys), own=st.booleans())
    def ask(case: Any, key: str | None, own: bool) -> None:
        if key is not None and "key" in (case.path_parameters or {}):
            case.path_parameters["key"] = key
        elif key is not None and isinstance((case.query or {}).get("key"), list):
            case.query["key"] = [key, *case.query["key"]]
        if own:
            case.headers["X-Progresskit"] = "1"
        response = case.call(base_url=address, timeout=60)
        answered[response.status_code] += 1
        case.validate_response(response)

    ask()
    return answered


def main(address: str, *keys: str) -> int:
    schema: Any = schemathesis.openapi.from_url(f"{address}/openapi.json")
    results = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        results[operation.label] = fuzz(operation, address, list(keys))
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
