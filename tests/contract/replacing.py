"""How the server, or the table, of a store is replaced by an empty one behind a backend's back."""

from __future__ import annotations

from pathlib import Path

from tests.services import mariadb, server


def sqlite_file(url: str) -> None:
    path = url.removeprefix("sqlite:///")
    for name in (path, f"{path}-wal", f"{path}-shm"):
        Path(name).unlink(missing_ok=True)


def redis_server(url: str) -> None:
    redis = server("redis")  # which stores nothing on disk
    redis.kill()
    redis.start()


def postgresql_table(url: str) -> None:
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("DROP TABLE progresskit_jobs")


def mariadb_table(url: str) -> None:
    with mariadb.using(url) as cursor:
        cursor.execute("DROP TABLE progresskit_jobs")


def nats_bucket(url: str) -> None:
    server("nats").fresh()
