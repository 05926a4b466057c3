from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import progresskit


def fetch(url):
    progresskit.current().advance()  # the job around this call
    return len(url)


def fetch_all(urls, id):
    with progresskit.observe(id, total=len(urls), unit="pages"), ThreadPoolExecutor(4) as pool:
        # A thread does not inherit the surrounding job: hand each call a copy of the context.
        calls = [pool.submit(copy_context().run, fetch, url) for url in urls]
        return sum(call.result() for call in calls)
