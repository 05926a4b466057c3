"""
The time that `import progresskit` adds to the start of the interpreter, compared with other imports.

Every process that imports the package pays for it, also one that reports no progress. The promise is half of the time
of `import asyncio`. The kit itself is imported at its first use, which the last line shows. Each round starts the
interpreter once for each import, one right after the other, so that a slow machine slows them all; the result is the
median over the rounds of the difference to the bare start.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 21
LIMIT = 0.55  # the promise is 0.5
BARE = "pass"
OURS = "import progresskit"
PEER = "import asyncio"
STATEMENTS = (BARE, OURS, PEER, "import tqdm", "import progresskit; progresskit.observe")


def milliseconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", statement], check=True)
    return (time.perf_counter() - start) * 1000


def main() -> int:
    for statement in STATEMENTS:  # once as a warm-up: bytecode is written, files are in the page cache
        milliseconds(statement)
    rounds = [{statement: milliseconds(statement) for statement in STATEMENTS} for _ in range(ROUNDS)]
    imports = [statement for statement in STATEMENTS if statement != BARE]
    added = {each: statistics.median(times[each] - times[BARE] for times in rounds) for each in imports}
    for statement, cost in added.items():
        print(f"{statement:40} +{cost:5.1f} ms, {cost / added[PEER]:.2f} of asyncio")
    ratio = added[OURS] / added[PEER]
    print(f"{'met' if ratio <= LIMIT else 'MISSED'}: {ratio:.2f} of asyncio, at most {LIMIT}")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
