"""PostgreSQL; a store is a schema of its own in the one database."""

from __future__ import annotations

import shutil
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USER = DATABASE = "progresskit"


class PostgreSQL(Server):
    """
    A PostgreSQL.

    `durable` has each commit on disk before it is answered, as one does who must survive a crash of the machine; a
    killed server loses nothing without it. `settings` are more lines of its configuration.
    """

    programs = ("initdb", "postgres")
    user = "postgres"

    def __init__(self, *, durable: bool = False, settings: Sequence[str] = ()) -> None:
        super().__init__()
        self._durable, self._settings = durable, settings
        self._schemas = count(1)

    @classmethod
    def find(cls, program: str) -> str | None:
        """Find a program, all of them in one place: one on the path, else the newest of Debian and its kin."""
        return next((found for place in cls._places() if (found := shutil.which(program, path=str(place)))), None)

    @classmethod
    def _places(cls) -> Iterator[Path]:
        """Return the folders that hold all of the programs; the path may lead to one of them, and not to the others."""
        on_path = [Path(found).resolve().parent for name in cls.programs if (found := shutil.which(name))]
        of_debian = Path("/usr/lib/postgresql").glob("*/bin")
        newest_first = sorted(of_debian, key=lambda place: int(place.parent.name), reverse=True)
        for place in (*on_path, *newest_first):
            if all(shutil.which(name, path=str(place)) for name in cls.programs):
                yield place

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    def fresh(self) -> str:
        schema = f"store_{next(self._schemas)}"
        self.execute(f"CREATE SCHEMA {schema}")
        return f"{self.url}?options=-csearch_path%3D{schema}"

    def execute(self, statement: str, *, database: str = DATABASE) -> None:
        """Execute a statement as the superuser, and commit it."""
        with closing(self.connect(database)) as connection:
            connection.execute(statement)

    def connect(self, database: str = DATABASE) -> Any:
        """Return a connection of psycopg, as the superuser, that commits each statement."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
            options="-cdefault_transaction_read_only=off",
        )

    def command(self) -> Sequence[str]:
        return [self.program("postgres"), "-D", str(self.folder / "data")]

    def ping(self) -> None:
        with closing(self.connect("postgres")) as connection:
            connection.execute("SELECT 1")

    def prepare(self) -> None:
        data = self.folder / "data"
        how = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self.run(self.program("initdb"), f"--pgdata={data}", *how)
        lines = [
            "listen_addresses = '127.0.0.1'",
            f"port = {self.port}",
            f"unix_socket_directories = '{self.folder}'",
            "max_connections = 200",
            "shared_buffers = 32MB",
            *([] if self._durable else ["fsync = off", "full_page_writes = off"]),
            *self._settings,
        ]
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write("\n".join(lines) + "\n")

    def populate(self) -> None:
        self.execute(f"CREATE ROLE {USER} LOGIN", database="postgres")
        self.execute(f"CREATE DATABASE {DATABASE} OWNER {USER}", database="postgres")
        self.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO {USER}")
