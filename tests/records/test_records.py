"""This release decodes what each earlier one has stored, and stores what its own files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import progresskit
from progresskit.decoding import decode
from progresskit.progress import Effect, State, Stored, fold
from progresskit.testing import start

from .stored import FOLDER, HISTORIES, NOW, STORED_AS, content, folder

FILES = sorted(FOLDER.glob("*/*.json"))

OWN_OF_A_RELEASE = {"cursor"}
"""Fields that each release makes as it likes, of those that are stored."""


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def stored_in(file: dict[str, Any]) -> Stored:
    stored = file["stored"]
    names = {name: STORED_AS.get(name, name) for name in Stored._fields}
    known = {name: stored[key] for name, key in names.items() if key in stored}
    return Stored(**{**known, "state": State(known["state"])})


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_record_that_a_release_has_stored_is_decoded_as_it_was_meant(path: Path) -> None:
    file = read(path)
    record = decode(stored_in(file))
    shown = record.to_dict()
    expected = {name: value for name, value in file["record"].items() if name not in OWN_OF_A_RELEASE}
    assert {name: shown[name] for name in expected} == expected
    public = record.error is not None and record.error.public
    assert {"lease": record.lease, "owner": record.owner, "public": public} == file["beside"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_new_run_begins_over_a_record_that_a_release_has_stored(path: Path) -> None:
    before = stored_in(read(path))
    after, effect = fold(before, start("job", token="of this release", attempt=before.attempt + 1), NOW)
    assert effect is Effect.APPLIED
    assert after is not None
    assert decode(after).state is State.RUNNING
    assert (after.run, after.attempt) > (before.run, before.attempt)


def test_the_files_of_this_release_hold_what_it_stores() -> None:
    remedy = (
        "What is stored has changed. If the release is out, raise `__version__` first: its records stay as they are. "
        "Then run `python -m tests.records.stored`, which writes the folder of the version."
    )
    files = {path.stem: read(path) for path in folder(progresskit.__version__).glob("*.json")}
    made = {name: json.loads(json.dumps(content(history))) for name, history in HISTORIES.items()}
    assert files == made, remedy
