from multiprocessing import Pool
from pathlib import Path

import progresskit

here = Path(__file__).resolve().parent


def setup(url=f"sqlite:///{here}/progress.db"):
    progresskit.configure(url)  # in every process: this one, and each of the pool


def square(number):
    return number * number


def count_results(numbers, id):
    """One job, counted where the results arrive."""
    with Pool(2) as pool:
        results = pool.imap_unordered(square, numbers)
        return sum(progresskit.track(results, id=id, total=len(numbers)))


def resize(name):
    """A job of its own in a process of the pool."""
    for _ in progresskit.track(range(10), id=f"resize-{name}", unit="tiles"):
        pass


def resize_all(names, url):
    with Pool(2, initializer=setup, initargs=(url,)) as pool:
        pool.map(resize, names)


if __name__ == "__main__":
    setup()
    print(count_results(range(1000), "squares"))
