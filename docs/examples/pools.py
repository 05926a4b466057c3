from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import progresskit
from progresskit.pool import initializer

here = Path(__file__).resolve().parent


def convert(pages):
    for _ in progresskit.track(range(pages)):  # in a process of the pool: each item counts for the job
        pass


def convert_all(books, id):
    with progresskit.observe(id, total=sum(books), unit="pages"), ProcessPoolExecutor(2, **initializer()) as pool:
        list(pool.map(convert, books))


if __name__ == "__main__":
    progresskit.configure(f"sqlite:///{here}/progress.db")  # in this process only
    convert_all([100, 250, 20], "books")
