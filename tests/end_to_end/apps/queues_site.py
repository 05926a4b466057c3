"""A small Flask site that sends tasks to three queues, and shows them on one page."""

from __future__ import annotations

from flask import Flask, Response, render_template_string, request

from progresskit_flask import ProgressKit
from tests.end_to_end.apps.queue_workers import send

PAGE = """<!doctype html>
<html lang="en">
<title>Jobs</title>
{% for id in ids %}
{{ progress_bar(id) }}
{% endfor %}
"""

app = Flask(__name__)
app.secret_key = "of a test"
ProgressKit(app)


@app.get("/jobs/")
def jobs() -> str:
    return render_template_string(PAGE, ids=request.args.getlist("id"))


@app.get("/favicon.ico")
def icon() -> Response:
    return Response(status=204)


@app.post("/start/<name>/<id>/")
def start(name: str, id: str) -> Response:
    send(name, id, request.get_data(as_text=True))
    return Response(status=202)
