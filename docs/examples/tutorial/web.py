from flask import Flask, redirect, render_template_string, url_for
from tasks import here, import_rows

from progresskit_flask import ProgressKit

app = Flask(__name__)
app.config["SECRET_KEY"] = "a long random string"
ProgressKit(app)


@app.get("/")
def home():
    return '<!doctype html><form method="post"><button>Import</button></form>'


@app.post("/")
def start():
    task = import_rows.delay(f"{here}/people.csv")
    return redirect(url_for("show", id=task.id))


@app.get("/jobs/<id>")
def show(id):
    return render_template_string("<!doctype html>{{ progress_bar(id, cancel=True) }}", id=id)
