import csv
from pathlib import Path
from time import sleep

from celery import Celery

import progresskit
import progresskit_celery

here = Path(__file__).resolve().parent
progresskit.configure(f"sqlite:///{here}/progress.db")

app = Celery("tasks", broker="filesystem://")
queue = here / "queue"
queue.mkdir(exist_ok=True)
app.conf.broker_transport_options = {
    "data_folder_in": str(queue),
    "data_folder_out": str(queue),
    "control_folder": str(queue),
}
progresskit_celery.install(app)


@app.task
def import_rows(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    for row in progresskit.track(rows, description="Importing", unit="rows"):
        sleep(0.02)  # the work
