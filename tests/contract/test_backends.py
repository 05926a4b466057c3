"""
The table of backends and the modules of the contract's tests are of one mind.

Each row has a module of its own, such as `test_backend_redis.py`, so that they can be tested side by side: it calls
`contract_of`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from .backends import BACKENDS

CALL = re.compile(r'^Test\w+ = contract_of\("([^"]+)", __name__\)$', re.MULTILINE)


def test_every_row_of_the_table_is_tested_once() -> None:
    modules = Path(__file__).parent.glob("test_backend_*.py")
    tested = Counter(name for module in modules for name in CALL.findall(module.read_text()))
    assert tested == Counter(row.name for row in BACKENDS)
