from celery import Celery
from pack import here, pack

import progresskit
import progresskit_celery

app = Celery("tasks", broker=f"sqla+sqlite:///{here}/queue.db")
progresskit_celery.install(app)


@app.task
def pack_some(id, number, paths):
    with progresskit.part(id, number, cancellable=True):
        for path in progresskit.track(paths, unit="files"):
            pack(path)
