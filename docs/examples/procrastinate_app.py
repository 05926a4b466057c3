import os

import procrastinate

import progresskit
import progresskit_procrastinate

url = os.environ.get("DATABASE_URL", "postgresql://localhost/proj")
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
progresskit_procrastinate.install(app)


@app.task
def import_rows(rows):
    for row in progresskit.track(rows, unit="rows"):  # reports to the job of the task
        print(row)
