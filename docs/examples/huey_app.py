import os

from huey import RedisHuey

import progresskit
import progresskit_huey

huey = RedisHuey("proj", url=os.environ.get("REDIS_URL", "redis://localhost:6379/0"))
progresskit_huey.install(huey)


@huey.task()
def import_rows(rows):
    for row in progresskit.track(rows, unit="rows"):  # reports to the job of the task
        print(row)
