"""A job in a process of its own: sets progress at random times, ours and celery-progress's, and prints when."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from random import uniform
from time import sleep, time

from celery import Celery
from celery_progress.backend import ProgressRecorder  # type: ignore[import-untyped]

from progresskit import Kit


def main(url: str, id: str, sets: int, shortest: float, longest: float) -> None:
    app = Celery("sets", backend=url, broker="memory://", set_as_current=False)
    task = app.task(name="sets.main")(main)  # it is never run as one
    task.push_request(id=id)
    recorder = ProgressRecorder(task)
    with closing(Kit(url)) as kit, kit.observe(id) as observer:
        for number in range(sets + 1):
            ours = time()
            observer.set_progress(number + 1, sets + 1, f"set {number}")  # celery-progress does not show a zero
            theirs = time()
            recorder.set_progress(number + 1, sets + 1, f"set {number}")
            print(json.dumps([ours, theirs]), flush=True)
            if number == 0:
                sys.stdin.readline()  # both pages show it
            sleep(uniform(shortest, longest))
        sys.stdin.readline()  # both pages have shown the last one


if __name__ == "__main__":
    _, url, id, sets, shortest, longest = sys.argv
    main(url, id, int(sets), float(shortest), float(longest))
