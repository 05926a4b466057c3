"""A small Flask site."""

from __future__ import annotations

from flask import Flask, Response, make_response, render_template, request

from progresskit_flask import ProgressKit
from tests.end_to_end.apps import site

app = Flask(__name__)
app.config["SECRET_KEY"] = site.SECRET_KEY
app.config.update({f"PROGRESSKIT_{name}": value for name, value in site.settings().items()})
ProgressKit(app)
app.wsgi_app = site.logged_wsgi(app.wsgi_app)  # type: ignore[method-assign]


@app.get("/")
def index() -> str:
    return "<!doctype html><title>The site</title>"


@app.get("/favicon.ico")
def icon() -> Response:
    return Response(status=204)


@app.post("/start/")
def start() -> Response:
    site.start_task(request.get_data())
    return Response(status=202)


@app.get("/jobs/")
def jobs() -> Response:
    page = render_template("jobs.html", ids=request.args.getlist("id"), watch_only="watch" in request.args)
    response = make_response(page)
    response.headers["Content-Security-Policy"] = site.CSP
    return response
