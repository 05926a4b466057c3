"""
The cost of `progresskit run` for a command, compared with the bare command in the same run.

A round runs the command bare, under `run`, and under `run --stdout`, one right after the other; the results are the
medians over the rounds. The command writes 10 MB of lines a second, among them reports, which a pipe reads; no byte may
be missing, and from the first byte to the last it may not take longer. Without a pace, the ratio of the throughput is
shown. `progresskit report` is called in a shell's loop under `run`, beside the start of an empty shell in such a loop.
At last a command that only waits shows the processor time of `run` itself.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

RUN = (sys.executable, "-m", "progresskit", "run", "benchmark")
WAYS = {"bare": (), "run": (*RUN, "--"), "run --stdout": (*RUN, "--stdout", "--")}
ROUNDS = 3

PACED_SECONDS, BYTES_A_SECOND = 3, 10_000_000
LONGER_AT_MOST = 1.05
UNPACED_BYTES = 100_000_000

CALLS, CALLS_A_SECOND = 200, 50
START_SECONDS, IDLE_SECONDS, IDLE_SHARE = 5, 10, 0.01

WRITER = """
import sys, time
size, rate = int(sys.argv[1]), float(sys.argv[2])
lines = b"".join(b"%d/1000 row\\n" % n if n % 10 == 0 else b"x" * 99 + b"\\n" for n in range(1000))
start, written, out = time.perf_counter(), 0, sys.stdout.buffer
while written < size:
    written += out.write(lines[: size - written])
    out.flush()
    if rate:
        time.sleep(max(start + written / rate - time.perf_counter(), 0))
"""

LOOP = """
start=$(date +%s%N); for ((i = 1; i <= $1; i++)); do {call}; done; end=$(date +%s%N)
echo "$(( $1 * 1000000000 / (end - start) ))"
"""


class Passed(NamedTuple):
    """The output of a command, as it arrived."""

    digest: str
    size: int
    seconds: float
    """From the first byte to the last."""


def output_of(way: str, size: int, rate: float) -> Passed:
    command = [*WAYS[way], sys.executable, "-c", WRITER, str(size), str(rate)]
    digest, count, began, last = hashlib.blake2b(), 0, 0.0, 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), 1 << 20):
            last = time.perf_counter()
            began = began or last
            digest.update(data)
            count += len(data)
    assert process.returncode == 0, f"{way} has ended with {process.returncode}"
    return Passed(digest.hexdigest(), count, last - began)


def compare(title: str, size: int, rate: float) -> dict[str, float]:
    """Return how many times as long as bare each way takes; a byte that is missing or changed is an error."""
    rounds = [{way: output_of(way, size, rate) for way in WAYS} for _ in range(ROUNDS)]
    assert len({passed[:2] for each in rounds for passed in each.values()}) == 1, "output was lost or changed"
    ratios = {way: statistics.median(each[way].seconds / each["bare"].seconds for each in rounds) for way in WAYS}
    for way, ratio in ratios.items():
        speed = size / statistics.median(each[way].seconds for each in rounds) / 1e6
        print(f"{title:14} {way:13} {speed:7.1f} MB/s, {ratio:.3f} of the bare time")
    return ratios


def calls_a_second(call: str) -> int:
    done = subprocess.run(
        [*RUN, "--", "bash", "-c", LOOP.replace("{call}", call), "-", str(CALLS)],
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(done.stdout)


def idle_share() -> float:
    """Return the share of a processor that `run` takes while its command waits."""
    with subprocess.Popen([*RUN, "--", "sleep", str(START_SECONDS + IDLE_SECONDS)]) as process:
        time.sleep(START_SECONDS)
        before = processor_seconds(process.pid)
        time.sleep(IDLE_SECONDS)
        return (processor_seconds(process.pid) - before) / IDLE_SECONDS


def processor_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROGRESSKIT_URL"] = f"sqlite:///{Path(folder, 'progress.db')}"
        paced = compare("10 MB a second", PACED_SECONDS * BYTES_A_SECOND, BYTES_A_SECOND)
        compare("without pace", UNPACED_BYTES, 0)
        reports = [calls_a_second('progresskit report "$i/$1" "file $i"') for _ in range(ROUNDS)]
        shells = [calls_a_second("sh -c :") for _ in range(ROUNDS)]
        calls, starts = statistics.median(reports), statistics.median(shells)
        print(
            f"progresskit report: {calls:.0f} calls a second (at least {CALLS_A_SECOND}); of an empty sh: {starts:.0f}"
        )
        share = idle_share()
        print(f"a command that waits: {share:.2%} of a processor (at most {IDLE_SHARE:.0%})")
    met = max(paced.values()) <= LONGER_AT_MOST and calls >= CALLS_A_SECOND and share <= IDLE_SHARE
    print("met" if met else "MISSED")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
