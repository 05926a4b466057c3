"""Procrastinate, on PostgreSQL."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from . import QUEUES
from .base import CONNECT_SECONDS, TASKS, Queue

with QUEUES["procrastinate"].needed():
    import procrastinate
    import psycopg
    from psycopg.sql import SQL, Identifier

    import progresskit_procrastinate

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.cli.demo.folder import Folder


class ProcrastinateQueue(Queue):
    """An app of Procrastinate in a schema of its own, whose workers execute one job at a time."""

    def __init__(self, folder: Folder, broker: str) -> None:
        super().__init__(folder, broker)
        self._connection = {"options": f"-c search_path={self.name}", "connect_timeout": CONNECT_SECONDS}
        self._app = procrastinate.App(
            connector=procrastinate.SyncPsycopgConnector(conninfo=broker, kwargs=self._connection)
        )
        progresskit_procrastinate.install(self._app)
        for name, function in TASKS.items():
            self._app.task(name=name)(_by_name(function))

    def prepare(self) -> None:
        """Make the schema and its tables."""
        self._execute(SQL("CREATE SCHEMA {}"))
        self._app.open()
        self._app.schema_manager.apply_schema()

    def send(self, task: str, *arguments: Any) -> str:
        """Send a task; return its id."""
        return str(self._app.configure_task(task).defer(arguments=[*arguments]))

    def work(self) -> None:
        """Execute tasks until the process is killed."""
        connector = procrastinate.PsycopgConnector(conninfo=self.broker, kwargs=self._connection)
        with self._app.replace_connector(connector) as app:
            app.run_worker(fetch_job_polling_interval=0.1)

    def remove(self) -> None:
        """Remove the schema."""
        self._app.close()
        self._execute(SQL("DROP SCHEMA {} CASCADE"))

    def _execute(self, statement: SQL) -> None:
        with psycopg.connect(self.broker, autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
            connection.execute(statement.format(Identifier(self.name)))


def _by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes its arguments as one, by its name, as Procrastinate carries it."""

    @wraps(function)
    def call(arguments: list[Any]) -> Any:
        return function(*arguments)

    return call
