import csv
from pathlib import Path
from time import sleep

from celery import Celery

import progresskit
import progresskit_celery

here = Path(__file__).resolve().parent
progresskit.configure(f"sqlite:///{here}/progress.db")

app = Celery("tasks", broker=f"sqla+sqlite:///{here}/queue.db")
progresskit_celery.install(app)


@app.task
def import_rows(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    for row in progresskit.track(rows, description="Importing", unit="rows"):
        sleep(0.02)  # the work
