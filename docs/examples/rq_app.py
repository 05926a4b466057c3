import os

from redis import Redis
from rq import Queue

import progresskit
import progresskit_rq

queue = Queue(connection=Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0")))
progresskit_rq.install(queue)


def import_rows(rows):
    for row in progresskit.track(rows, unit="rows"):  # reports to the job of the function
        print(row)
