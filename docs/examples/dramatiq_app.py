import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

import progresskit
import progresskit_dramatiq

broker = RedisBroker(url=os.environ.get("REDIS_URL", "redis://localhost:6379/0"))
broker.add_middleware(progresskit_dramatiq.ProgressMiddleware())
dramatiq.set_broker(broker)


@dramatiq.actor
def import_rows(rows):
    for row in progresskit.track(rows, unit="rows"):  # reports to the job of the message
        print(row)
