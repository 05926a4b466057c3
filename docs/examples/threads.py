import progresskit
from progresskit.pool import ThreadPoolExecutor  # that of concurrent.futures, with the context of each call


def fetch(url):
    progresskit.current().advance()  # the job around the call of map()
    return len(url)


def fetch_all(urls, id):
    with progresskit.observe(id, total=len(urls), unit="pages"), ThreadPoolExecutor(4) as pool:
        return sum(pool.map(fetch, urls))
