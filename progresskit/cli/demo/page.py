"""The demo's page: an ordinary Flask app with bars."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import progresskit
from progresskit.progress import State
from progresskit.web.headers import same_origin

from .work import UPLOAD, standard_library
from .worker import SLOTS

if TYPE_CHECKING:
    from flask import Flask, Response
    from werkzeug.exceptions import HTTPException

    from progresskit.progress import Progress

UPLOAD_MIB = 100

PART_FILES = 20
"""Files in one archive, at most."""

_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"


class Kind(NamedTuple):
    """A job that can be started with a button: the task, and its title on the page."""

    task: str
    title: str
    about: str


_LIBRARY = f"Tokenises each file of Python {sys.version_info.major}.{sys.version_info.minor} and counts the names."
_BROKEN = "One broken file is among them, so this fails half-way."
_PARTS = "Each archive is a part of one job, and the worker's processes share them."
_GAP = "The distance to a wide one is unknown: a job without a total."

KINDS = {
    "index": Kind("index_library", "Index the standard library", _LIBRARY),
    "compile": Kind("compile_library", "Compile the standard library", _BROKEN),
    "archive": Kind("pack", "Pack the standard library", _PARTS),
    "primes": Kind("find_gap", "Search for a prime gap", _GAP),
}


class Card(NamedTuple):
    """A job on the page; `record` is None until the job is reported, `result` until it has succeeded."""

    id: str
    kind: str
    title: str
    folder: Path
    sent: datetime
    record: Progress | None = None
    result: Any = None

    def now(self, record: Progress | None) -> Card:
        """Return the card of this moment."""
        result = record and record.result
        if self.kind == "archive" and record is not None and record.state is State.SUCCEEDED:
            result = {**record.meta, "packed": sum(path.stat().st_size for path in self.folder.iterdir())}
        return self._replace(record=record, result=result)


class Desk:
    """Sends tasks to the queue, and keeps the list of them."""

    def __init__(self, folder: Path, celery: Any) -> None:
        self._folder, self._celery = folder, celery
        self._cards: dict[str, Card] = {}

    def folder(self) -> Path:
        """Make a folder for the files of a job."""
        folder = self._folder / uuid4().hex
        folder.mkdir()
        return folder

    def start(self, kind: str, task: str, title: str, folder: Path) -> None:
        """Send the task, which gets the folder."""
        id = self._pack(folder) if kind == "archive" else self._celery.send_task(task, (str(folder),)).id
        self._cards[id] = Card(id, kind, title, folder, datetime.now().astimezone())

    def _pack(self, folder: Path) -> str:
        """Declare a job made of parts, and send a task for each of them."""
        files = standard_library()
        parts = [files[start : start + PART_FILES] for start in range(0, len(files), PART_FILES)]
        sizes = [sum(path.stat().st_size for path in part) for part in parts]
        weights = [size // 1_024 + 1 for size in sizes]
        id = progresskit.group(
            size=len(parts),
            weight=sum(weights),
            unit="archives",
            description="Packing",
            meta={"files": len(files), "bytes": sum(sizes)},
        )
        for number, (part, weight) in enumerate(zip(parts, weights, strict=True)):
            self._celery.send_task("pack", (str(folder), id, number, weight, [*map(str, part)]))
        return id

    def cards(self) -> list[Card]:
        """Return all, the newest first, as they are now."""
        cards = [*self._cards.values()][::-1]
        records = progresskit.get_many([card.id for card in cards])
        return [card.now(records.get(card.id)) for card in cards]

    def clear(self) -> None:
        """Forget the jobs that are done, and delete their files."""
        for card in self.cards():
            if card.record is not None and card.record.done:
                self._cards.pop(card.id, None)
                shutil.rmtree(card.folder, ignore_errors=True)


def make_page(folder: Path, celery: Any) -> Flask:
    """Return the app, which sends its tasks to the Celery app and writes its files into the folder."""
    from flask import Flask, abort, redirect, render_template, request, url_for
    from werkzeug.exceptions import HTTPException

    from progresskit_flask import ProgressKit

    app = Flask(__name__)
    app.config.update(SECRET_KEY=os.urandom(32).hex(), MAX_CONTENT_LENGTH=UPLOAD_MIB * 2**20)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    ProgressKit(app)
    desk = Desk(folder, celery)

    @app.before_request
    def refuse_other_sites() -> None:
        if request.method == "POST" and not same_origin(request.headers):
            abort(403, "This page accepts requests of its own origin only.")

    @app.after_request
    def let_nothing_else_in(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", _POLICY)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        return response

    def page(problem: str | None = "") -> str:
        return render_template(
            "page.html", problem=problem, cards=desk.cards(), kinds=KINDS, slots=SLOTS, upload_mib=UPLOAD_MIB
        )

    app.add_url_rule("/", view_func=page)

    @app.errorhandler(HTTPException)
    def explain(error: HTTPException) -> Any:
        too_large = f"The file is too large: this demo takes up to {UPLOAD_MIB} MiB."
        return page(too_large if error.code == 413 else error.description), error.code

    @app.post("/<any(import,sample,clear,index,compile,archive,primes):name>/")
    def act(name: str) -> Any:
        if name == "clear":
            desk.clear()
        elif name == "sample":
            desk.start("import", "import_sample", "unicode.csv", desk.folder())
        elif name == "import":
            file = request.files.get("file")
            if file is None or not file.filename:
                abort(400, "Choose a file first.")
            files = desk.folder()
            file.save(files / UPLOAD)
            desk.start("import", "import_file", file.filename, files)
        else:
            desk.start(name, KINDS[name].task, KINDS[name].title, desk.folder())
        return redirect(url_for("page"), 303)

    return app
