"""
What `import progresskit` adds to the interpreter's own start: at most 25 ms. Every worker pays it.

Each round starts the interpreter once with each import, one right after the other, so that what slows the machine slows
them all; the median over the rounds of the difference to the bare start is what is told.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 21
LIMIT_MS = 25.0
STATEMENTS = {
    "the bare interpreter": "pass",
    "import progresskit": "import progresskit",
    "import tqdm": "import tqdm",
    "import asyncio": "import asyncio",
}


def milliseconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", statement], check=True)
    return (time.perf_counter() - start) * 1000


def main() -> int:
    for statement in STATEMENTS.values():  # once for nothing: bytecode is written, files are in the page cache
        milliseconds(statement)
    rounds = [{name: milliseconds(statement) for name, statement in STATEMENTS.items()} for _ in range(ROUNDS)]
    bare = "the bare interpreter"
    added = {name: statistics.median(each[name] - each[bare] for each in rounds) for name in STATEMENTS if name != bare}
    for name, cost in added.items():
        print(f"{name:20} +{cost:5.1f} ms")
    ratio = added["import progresskit"] / added["import tqdm"]
    print(f"ratio to tqdm: {ratio:.2f}; limit for progresskit: {LIMIT_MS:.0f} ms")
    return int(added["import progresskit"] > LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
