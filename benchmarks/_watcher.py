"""A viewer in a process of its own: prints each record of a job it sees, as JSON lines; run with a URL and an id."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from json import loads
from typing import Any, Self

from progresskit import Kit


@dataclass
class Watcher:
    """Watches a job from another process, from before it exists until its end."""

    url: str
    id: str
    records: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.url, self.id], stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it is watching
        return self

    def __exit__(self, *_: object) -> None:
        out, _err = self._process.communicate(timeout=30)
        self.records = [loads(line) for line in out.splitlines()]

    def check(self, current: int) -> str:
        """Return a summary of the records; raise AssertionError unless values rose and the last record is exact."""
        counts = [record["current"] for record in self.records]
        assert counts == sorted(counts), "the count went back"
        assert len(set(counts)) > 1, "no value but the last was seen"
        last = self.records[-1]
        assert (last["state"], last["current"]) == ("succeeded", current), f"the last record is {last}"
        return f"{len(set(counts))} rising values, the last exact"


def main(url: str, id: str) -> None:
    with Kit(url).hub.view((id,)) as viewer:
        viewer.get(0.2)
        print("watching", flush=True)
        while True:
            for progress in viewer.get().values():
                print(progress.to_json(), flush=True)
                if progress.done:
                    return


if __name__ == "__main__":
    main(*sys.argv[1:])
