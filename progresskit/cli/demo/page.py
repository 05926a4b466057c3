"""The demo's page: an ordinary Flask app with bars."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from progresskit.web.headers import same_origin

from .desk import KINDS, Desk
from .queues import SLOTS
from .table import read_page
from .work.sample import NAME as SAMPLE_NAME

if TYPE_CHECKING:
    from flask import Flask, Response
    from werkzeug.exceptions import HTTPException

    from .desk import Card
    from .folder import Folder
    from .queues.base import Queue

UPLOAD_MIB = 100

_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"


def make_page(folder: Folder, queue: Queue, title: str) -> Flask:
    """Return the app, which sends its tasks to the queue of that title and writes its files into the folder."""
    from flask import Flask

    from progresskit_flask import ProgressKit

    app = Flask(__name__)
    app.config.update(SECRET_KEY=os.urandom(32).hex(), MAX_CONTENT_LENGTH=UPLOAD_MIB * 2**20)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    ProgressKit(app)
    desk = Desk(folder, queue)
    _guard(app)
    _show_jobs(app, desk, title)
    _start_jobs(app, desk)
    return app


def _guard(app: Flask) -> None:
    from flask import abort, render_template, request
    from werkzeug.exceptions import HTTPException

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

    @app.errorhandler(HTTPException)
    def explain(error: HTTPException) -> Any:
        message = error.description
        if error.code == 413:
            message = f"The file is too large: this demo takes up to {UPLOAD_MIB} MiB."
        if _asked_by_script():
            return {"error": message}, error.code
        return render_template("error.html", message=message), error.code


def _show_jobs(app: Flask, desk: Desk, title: str) -> None:
    from flask import abort, render_template, request

    @app.get("/")
    def page() -> str:
        return render_template(
            "page.html",
            queue=title,
            cards=desk.cards(),
            kinds=KINDS,
            slots=SLOTS,
            upload_mib=UPLOAD_MIB,
            sample=SAMPLE_NAME,
        )

    @app.get("/jobs/<id>/")
    def job(id: str) -> str:
        return render_template("job.html", card=desk.card(id) or abort(404))

    @app.get("/jobs/<id>/table/")
    def table(id: str) -> str:
        card = desk.card(id)
        path = None if card is None else desk.folder.table(card.job.files)
        if card is None or path is None or not card.done or not path.is_file():
            abort(404)
        number = request.args.get("page", 1, type=int)
        return render_template("table.html", card=card, page=read_page(path, number))


def _start_jobs(app: Flask, desk: Desk) -> None:
    from flask import abort, redirect, render_template, request, url_for

    def shown(card: Card) -> Any:
        # A script puts the new job in its place; without one the whole page comes again.
        if _asked_by_script():
            return render_template("job.html", card=card), 201
        return redirect(url_for("page"), 303)

    @app.post("/jobs/<kind>/")
    def start(kind: str) -> Any:
        if kind not in KINDS:
            abort(404)
        return shown(desk.start(kind))

    @app.post("/import/")
    def upload() -> Any:
        file = request.files.get("file")
        if file is None or not file.filename:
            abort(400, "Choose a file first.")
        files = uuid4().hex
        file.save(desk.folder.upload(files))
        return shown(desk.start_import(files, "import_file", file.filename))

    @app.post("/import-sample/")
    def import_sample() -> Any:
        return shown(desk.start_import(uuid4().hex, "import_sample", SAMPLE_NAME))

    @app.post("/clear/")
    def clear() -> Any:
        cleared = desk.clear()
        return {"cleared": cleared} if _asked_by_script() else redirect(url_for("page"), 303)


def _asked_by_script() -> bool:
    from flask import request

    return "X-Progresskit" in request.headers
