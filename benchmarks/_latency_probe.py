"""A viewer in a process of its own: prints how old each update of a job is when it sees it, in seconds."""

from __future__ import annotations

import sys
from time import monotonic

from progresskit import Kit


def main(url: str, id: str) -> None:
    with Kit(url).hub.view((id,)) as viewer:
        before: str | None = "nothing yet"
        while True:
            for progress in viewer.get().values():
                now = monotonic()
                if progress.description != before:
                    print(now - float(progress.description or now), flush=True)
                    before = progress.description
                if progress.done:
                    return


if __name__ == "__main__":
    main(*sys.argv[1:])
