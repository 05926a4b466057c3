import asyncio
import os

from taskiq_redis import ListQueueBroker

import progresskit
import progresskit_taskiq

broker = ListQueueBroker(os.environ.get("REDIS_URL", "redis://localhost:6379/0"), socket_timeout=None)
broker = broker.with_middlewares(progresskit_taskiq.ProgressMiddleware())


@broker.task
async def import_rows(rows: list[str]) -> None:
    for row in progresskit.track(rows, unit="rows"):  # reports to the job of the task
        print(row)


async def main():
    await broker.startup()
    task = await import_rows.kiq(["a", "b"])
    print(task.task_id)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
