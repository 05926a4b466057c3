import asyncio
import os

from arq.connections import RedisSettings

import progresskit
import progresskit_arq

REDIS = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://localhost:6379/0"))


async def import_rows(ctx, rows):
    for row in progresskit.track(rows, unit="rows"):  # reports to the job of the function
        print(row)


class WorkerSettings:
    functions = [import_rows]
    redis_settings = REDIS


progresskit_arq.install(WorkerSettings)


async def main():
    pool = await progresskit_arq.create_pool(REDIS)  # in place of arq.create_pool
    job = await pool.enqueue_job("import_rows", ["a", "b"])
    print(job.job_id)
    await pool.aclose()


if __name__ == "__main__":
    asyncio.run(main())
