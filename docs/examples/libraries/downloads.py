from urllib.request import urlretrieve

import httpx
import requests

import progresskit


def by_urllib(url, path, id):
    with progresskit.observe(id, unit="B") as job:

        def report(blocks, block_size, size):
            done = blocks * block_size  # the last block is shorter
            job.set_progress(done if size < 0 else min(done, size), size if size >= 0 else None)

        urlretrieve(url, path, report)


def by_requests(url, path, id):
    with (
        progresskit.observe(id, unit="B") as job,
        requests.get(url, stream=True, timeout=30) as response,
        open(path, "wb") as file,
    ):
        response.raise_for_status()
        job.update(total=length_of(response))
        for chunk in response.iter_content(64 * 1024):
            file.write(chunk)
            job.set_progress(response.raw.tell())  # as transferred: the chunk may have been compressed


def by_httpx(url, path, id):
    with (
        progresskit.observe(id, unit="B") as job,
        httpx.stream("GET", url, follow_redirects=True) as response,
        open(path, "wb") as file,
    ):
        response.raise_for_status()
        job.update(total=length_of(response))
        for chunk in response.iter_bytes():
            file.write(chunk)
            job.set_progress(response.num_bytes_downloaded)


def length_of(response):
    return int(response.headers.get("Content-Length", 0)) or None
