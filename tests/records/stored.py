"""
The records that each release stores, as files: `python -m tests.records.stored` writes those of this one.

A file holds what a backend keeps of a job (`progresskit.progress.Stored`, its body and override as the text they are),
and the record that the release made of it. Those of a release are never changed once it is out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import progresskit
from progresskit.decoding import decode
from progresskit.progress import Failure, State, Stored, Write, fold, moment
from progresskit.steps import Step, StepState
from progresskit.testing import external_update, start, update

FOLDER = Path(__file__).parent

TIMES: dict[str, Any] = {"created_at": moment(1_700_000_000), "started_at": moment(1_700_000_001.5)}
ENDED: dict[str, Any] = {"updated_at": moment(1_700_000_009.25), "finished_at": moment(1_700_000_009.25)}

HISTORIES: dict[str, tuple[Write, ...]] = {
    "pending": (external_update("job", kind="app.import", created_at=TIMES["created_at"], owner="7"),),
    "running": (
        start("job", kind="app.import", **TIMES),
        update("job", 2, current=29, total=100, unit="rows", description="Reading", rate=2.5, eta=28.4, **TIMES),
    ),
    "fractions": (start("job", current=0.5, total=2.25, rate=1e-07, eta=1e16, lease=7.5, **TIMES),),
    "meta-and-unicode": (
        start(
            "job",
            description='„Käse“ 🧀 \u2028 \x1f \\ " </script>',
            unit="Stück",
            meta={"a": [1, None, True, {"b": "é\n"}], "created_at": "2001-01-01T00:00:00.000Z", "large": 2**53},
            owner="ada@example.org",
            **TIMES,
        ),
    ),
    "steps": (
        start(
            "job",
            current=1,
            total=3,
            steps=(Step("Read", 1, StepState.SUCCEEDED, 100), Step("„Käse“", 2, StepState.RUNNING, 33.33)),
            step=2,
            given_percent=55.55,
            **TIMES,
        ),
    ),
    "nested-loops": (start("job", current=3, total=10, step=2, given_percent=35, **TIMES),),
    "child": (start("job", parent="import-42", **TIMES),),
    "retrying": (
        start("job", **TIMES),
        update(
            "job",
            2,
            state=State.RETRYING,
            error=Failure("TimeoutError", "no answer"),
            next_retry_at=moment(1_700_000_060),
            **TIMES,
        ),
        start("job", token="second", attempt=2, state=State.RETRYING, next_retry_at=moment(1_700_000_090), **TIMES),
    ),
    "second-run": (
        start("job", state=State.SUCCEEDED, **TIMES),
        start("job", token="second", created_at=moment(1_700_000_020)),
    ),
    "succeeded": (
        start("job", state=State.SUCCEEDED, current=3, total=3, result={"url": "/file", "n": 1.5}, **TIMES, **ENDED),
    ),
    "failed-private": (start("job", state=State.FAILED, error=Failure("KeyError", "'secret'"), **TIMES, **ENDED),),
    "failed-public": (
        start("job", state=State.FAILED, error=Failure("PublicError", "The file is empty", True), **TIMES, **ENDED),
    ),
    "cancelled": (start("job", state=State.CANCELLED, current=5, total=10, owner="7", **TIMES, **ENDED),),
    "ended-from-outside": (
        start("job", kind="app.import", current=5, total=10, description="Reading", owner="7", **TIMES),
        external_update("job", State.FAILED, error=Failure("WorkerLostError", "signal 9"), **ENDED),
    ),
}


STORED_AS = {"override": "verdict"}
"""The fields of `Stored` that bear another name in stores, and so in these files."""

NOW = 1_700_000_100.0
"""The time of the store, in seconds since the epoch."""


def stored(history: tuple[Write, ...]) -> Stored:
    """Return what is stored after some writes."""
    kept: Stored | None = None
    for write in history:
        kept, _ = fold(kept, write, NOW)
    assert kept is not None
    return kept


def content(history: tuple[Write, ...]) -> dict[str, Any]:
    """Return what the file of a job holds."""
    kept = stored(history)
    record = decode(kept)
    public = record.error is not None and record.error.public
    beside = {"lease": record.lease, "owner": record.owner, "public": public}
    fields = {STORED_AS.get(name, name): value for name, value in kept._asdict().items()}
    return {"stored": fields, "record": record.to_dict(), "beside": beside}


def folder(version: str = progresskit.__version__) -> Path:
    """Return where the records of a release are."""
    return FOLDER / version


def write() -> None:
    """Write the files of this release."""
    folder().mkdir(exist_ok=True)
    for name, history in HISTORIES.items():
        text = json.dumps(content(history), indent=2, ensure_ascii=False)
        (folder() / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    write()
