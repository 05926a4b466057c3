from secrets import token_hex
from threading import Thread
from time import sleep

from flask import Flask, render_template_string

import progresskit
from progresskit_flask import ProgressKit

app = Flask(__name__)
app.config["SECRET_KEY"] = "a long random string"
ProgressKit(app)

PAGE = """<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Import</title>
{{ progress_bar(id) }}
"""


def work(id):
    for row in progresskit.track(range(300), id=id, description="Importing", unit="rows"):
        sleep(0.05)


@app.get("/")
def page():
    id = token_hex(16)
    Thread(target=work, args=(id,)).start()
    return render_template_string(PAGE, id=id)
