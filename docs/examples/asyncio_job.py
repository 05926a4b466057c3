import asyncio

import progresskit


async def fetch(number, observer):
    await asyncio.sleep(0.01)
    observer.advance()


async def fetch_all(id):
    # `async with` waits for the last record without blocking the loop.
    async with progresskit.observe(id, total=20, unit="pages") as observer:
        await asyncio.gather(*(fetch(number, observer) for number in range(20)))


async def pages():
    for number in range(5):
        await asyncio.sleep(0.01)
        yield number


async def read_all(id):
    async for page in progresskit.track(pages(), id=id, total=5, unit="pages"):
        await asyncio.sleep(0.01)


async def main():
    worker = asyncio.create_task(fetch_all("fetch-1"))
    async for progress in progresskit.awatch("fetch-1"):
        print(progress.current, progress.state)
    await worker
    await read_all("read-1")


if __name__ == "__main__":
    asyncio.run(main())
