"""MariaDB; a store is a database of its own."""

from __future__ import annotations

import socket
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USER, PASSWORD = "progresskit", "s3cret"

WITHOUT_TLS = {"ssl_disabled": True}
"""For PyMySQL, which else reads all certificates of the machine for each connection: 30 ms of work."""


@contextmanager
def using(url: str) -> Iterator[Any]:
    """Give a cursor in the store of an address, whose statements are committed at once."""
    import pymysql
    from sqlalchemy import make_url

    address = make_url(url).translate_connect_args(username="user")
    with closing(pymysql.connect(**address, **WITHOUT_TLS, autocommit=True)) as connection:
        yield connection.cursor()


class MariaDB(Server):
    """
    A MariaDB, whose user of the stores has no rights beyond them.

    `durable` has each commit on disk before it is answered, as one does who must survive a crash of the machine; a
    killed server loses nothing without it. `settings` are more lines of its configuration.
    """

    programs = ("mariadbd", "mariadb-install-db")
    user = "mysql"

    def __init__(self, *, durable: bool = False, settings: Sequence[str] = ()) -> None:
        super().__init__()
        self._durable, self._settings = durable, settings
        self._databases = count(1)

    @property
    def url(self) -> str:
        return self.url_of("store_0")

    def url_of(self, database: str) -> str:
        """Return the address of a database by its name."""
        return f"mariadb+pymysql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        database = f"store_{next(self._databases)}"
        self.execute(f"CREATE DATABASE {database}")
        return self.url_of(database)

    def execute(self, statement: str) -> None:
        """Execute a statement as root."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def connect(self) -> Any:
        """Return a connection of PyMySQL, as root, that commits each statement."""
        import pymysql

        return pymysql.connect(
            unix_socket=str(self._socket), user="root", autocommit=True, connect_timeout=5, **WITHOUT_TLS
        )

    @property
    def _socket(self) -> Path:
        return self.folder / "mariadb.sock"

    def command(self) -> Sequence[str]:
        return [self.program("mariadbd"), f"--defaults-file={self.folder / 'my.cnf'}"]

    def ping(self) -> None:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self._socket))  # PyMySQL leaves the socket open where nobody listens yet
        with closing(self.connect()) as connection:
            connection.ping(reconnect=False)

    def prepare(self) -> None:
        lines = [
            "[mariadbd]",
            f"datadir = {self.folder / 'data'}",
            f"socket = {self._socket}",
            f"pid-file = {self.folder / 'mariadb.pid'}",
            f"tmpdir = {self.folder}",  # each that starts removes all temporary tables in it, those of others too
            "bind-address = 127.0.0.1",
            f"port = {self.port}",
            "skip-name-resolve",
            "max_connections = 200",
            "innodb_buffer_pool_size = 32M",
            "innodb_log_file_size = 16M",
            *([] if self._durable else ["innodb_flush_log_at_trx_commit = 2"]),
            *self._settings,
        ]
        configuration = self.folder / "my.cnf"
        configuration.write_text("\n".join(lines) + "\n")
        configuration.chmod(0o644)
        self.run(
            self.program("mariadb-install-db"),
            f"--defaults-file={configuration}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def populate(self) -> None:
        self.execute(f"CREATE USER {USER}@127.0.0.1 IDENTIFIED BY '{PASSWORD}'")
        self.execute(f"GRANT ALL ON `store\\_%`.* TO {USER}@127.0.0.1")
        self.execute("CREATE DATABASE store_0")
