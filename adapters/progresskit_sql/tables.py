"""The tables, and the statements about them: a row of each job, and of each part under a key that the job's row has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from progresskit.errors import BackendError

if TYPE_CHECKING:
    from .driver import Driver

COLUMNS = (
    *("id", "run", "attempt", "seq", "token", "state", "kind", "body", "created", "verdict", "cancel_requested"),
    *("lease", "heard_at", "expires_at", "opened_at", "restored", "born", "tally", "parts_key"),
)
"""The columns of a record."""

PART_COLUMNS = ("parts_key", "digest", "token", "state", "weight", "hundredths", "opened_at", "restored")
"""The columns of a part."""

FOR_EARLIER: dict[str, dict[str, Any]] = {"postgresql": {"role": "update"}, "mysql": {"fate": 2}}
"""The values of columns that only processes of earlier releases need."""

DIALECTS: dict[str, Any] = {"sqlite": sqlite, "postgresql": postgresql, "mysql": mysql, "mariadb": mysql}

ID = sa.Text().with_variant(sa.String(128), "mysql").with_variant(sa.Text(collation="C"), "postgresql")
NAME = sa.Text().with_variant(sa.String(16), "mysql")
SHORT = sa.Text().with_variant(sa.String(255), "mysql")
LONG = sa.Text().with_variant(mysql.LONGTEXT(), "mysql")


def _column(name: str, kind: Any, *more: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, *more, nullable=False, **options)


class Tables:
    """
    The tables of a prefix in one kind of database, as SQLAlchemy names it.

    PostgreSQL has its indexes on minutes: as long as they stay the same, an update touches no index, and the room that
    the pages leave lets the new row stand beside the old one.
    """

    def __init__(self, kind: str, prefix: str, schema: str | None = None) -> None:
        self._dialect = DIALECTS[kind]
        self.for_earlier = FOR_EARLIER.get(self._dialect.__name__.rpartition(".")[2], {})
        in_minutes, is_mysql = kind == "postgresql", self._dialect is mysql
        metadata, name = sa.MetaData(schema=schema), f"{prefix}_jobs"
        options: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
        own = [_column(name, sa.Text if in_minutes else sa.SmallInteger) for name in self.for_earlier]
        self._heard, self._expires = ("heard_minute", "expires_minute") if in_minutes else ("heard_at", "expires_at")
        if in_minutes:
            own.append(_column(self._heard, sa.BigInteger, sa.Computed("floor(heard_at / 60)", True)))
            own.append(_column(self._expires, sa.BigInteger, sa.Computed("ceil(expires_at / 60)", True)))
        self.jobs = sa.Table(
            name,
            metadata,
            sa.Column("id", ID, primary_key=True),
            _column("run", sa.BigInteger),
            _column("attempt", sa.BigInteger),
            _column("seq", sa.BigInteger),
            sa.Column("token", SHORT),
            _column("state", NAME),
            sa.Column("kind", sa.Text),
            _column("cancel_requested", sa.Boolean, server_default=sa.false()),
            _column("lease", sa.Double),  # seconds
            _column("heard_at", sa.Double),  # seconds since the epoch, like expires_at
            _column("expires_at", sa.Double),
            sa.Column("created", SHORT),  # NULL where the body has it, '' if it is not known
            sa.Column("verdict", LONG),
            _column("body", LONG),
            _column("opened_at", sa.Double),  # when the run began, or the external update was made
            _column("restored", sa.Boolean),  # no new start opened the record
            _column("born", sa.BigInteger),  # when the first run was created, in milliseconds since the epoch
            sa.Column("tally", sa.Text),  # the sums over the parts of the run; NULL where it has none
            sa.Column("parts_key", sa.BigInteger),  # of the rows of these parts
            *own,
            postgresql_with={"fillfactor": 50},
            **options,
        )
        self.parts = sa.Table(
            f"{prefix}_parts",
            metadata,
            sa.Column("parts_key", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("digest", sa.BigInteger, primary_key=True, autoincrement=False),  # of the name
            sa.Column("token", SHORT),
            _column("state", NAME),
            _column("weight", sa.Integer),
            _column("hundredths", sa.Integer),  # of a percent
            _column("opened_at", sa.Double),  # when the newest start began
            _column("restored", sa.Boolean),  # no start proves that it is the newest
            postgresql_with={"fillfactor": 80},
            sqlite_with_rowid=False,
            **options,
        )
        self._keys = [
            (f"by_{'heard' if in_minutes else 'heard_at'}", self._heard),
            (f"by_{'expires' if in_minutes else 'expires_at'}", self._expires),
        ]
        self._indexes = [] if is_mysql else [sa.Index(f"{name}_{key}", self.jobs.c[of]) for key, of in self._keys]
        self._prepare_statements()

    def _prepare_statements(self) -> None:
        jobs, parts = self.jobs.c, self.parts.c
        now, limit = sa.bindparam("now", type_=sa.Double), sa.bindparam("limit", type_=sa.BigInteger)
        ids: Any = sa.bindparam("ids", expanding=True)
        keys: Any = sa.bindparam("keys", expanding=True)
        columns: dict[str, Any] = {name: jobs[name] for name in COLUMNS}
        if self._dialect is sqlite:  # which takes any bytes for a text, and its driver fails for all rows
            columns["body"] = sa.cast(jobs.body, sa.LargeBinary)
        record = sa.select(*columns.values())
        self.read = record.where(jobs.id.in_(ids))
        self.lock = self.read.order_by(jobs.id).with_for_update()
        orders = [jobs[name].desc() for name in dict.fromkeys((self._heard, "heard_at"))]
        self.newest = record.where(jobs.expires_at + 0 > now).order_by(*orders).limit(limit)  # by no other index
        self.cancels = sa.select(jobs.id).where(jobs.id.in_(ids), jobs.cancel_requested, jobs.expires_at > now)
        self.insert = self._dialect.insert(self.jobs)
        self.replace = self._upsert(self.jobs, COLUMNS[:1], COLUMNS[1:])
        self.delete = sa.delete(self.jobs).where(jobs.id.in_(ids))
        part = sa.select(*(parts[name] for name in PART_COLUMNS))
        self.read_parts = part.where(
            parts.parts_key.in_(keys), parts.digest.in_(sa.bindparam("digests", expanding=True))
        )
        self.replace_parts = self._upsert(self.parts, PART_COLUMNS[:2], PART_COLUMNS[2:])
        until = now if self._expires == "expires_at" else sa.func.floor(now / 60)
        self.gone = sa.select(jobs.id).where(jobs[self._expires] <= until).order_by(jobs[self._expires]).limit(limit)
        self.lock_gone = sa.select(jobs.id, jobs.parts_key).where(jobs.id.in_(ids), jobs.expires_at <= now)
        self.lock_gone = self.lock_gone.order_by(jobs.id).with_for_update(skip_locked=True)
        first = sa.select(parts.parts_key, parts.digest).where(parts.parts_key.in_(keys))
        some = first.order_by(parts.parts_key, parts.digest).limit(limit).subquery().c
        self.gone_parts = sa.select(some.parts_key, sa.func.max(some.digest), sa.func.count()).group_by(some.parts_key)
        of_key = parts.parts_key == sa.bindparam("key")
        self.delete_parts = sa.delete(self.parts).where(of_key, parts.digest <= sa.bindparam("last"))

    def _upsert(self, table: sa.Table, keys: tuple[str, ...], replaced: tuple[str, ...]) -> sa.Insert:
        insert = self._dialect.insert(table)
        if self._dialect is mysql:
            replacing: sa.Insert = insert.on_duplicate_key_update({name: insert.inserted[name] for name in replaced})
        else:
            replacing = insert.on_conflict_do_update(
                index_elements=keys, set_={name: insert.excluded[name] for name in replaced}
            )
        return replacing

    def ddl(self) -> list[str]:
        """Return the statements that make the tables and indexes in an empty database, each without a semicolon."""
        made: list[Any] = [CreateTable(table, if_not_exists=True) for table in (self.jobs, self.parts)]
        indexes = [CreateIndex(index, if_not_exists=True) for index in self._indexes]
        texts = [str(each.compile(dialect=self._dialect.dialect())).strip() for each in (*made, *indexes)]
        if not indexes:  # MySQL knows no CREATE INDEX IF NOT EXISTS
            keys = "".join(f", KEY {name} ({column})" for name, column in self._keys)
            texts[0] = texts[0].replace("PRIMARY KEY (id)", f"PRIMARY KEY (id){keys}")
        return texts

    def make(self, connection: sa.Connection, driver: Driver) -> None:
        """Make the tables; the right to do so is not needed where there are those of this version."""
        try:
            self._look(connection)
            return
        except sa.exc.DBAPIError:
            pass
        try:
            with driver.transaction(connection):
                for statement in (driver.before_making, *self.ddl()):
                    if statement is not None:
                        connection.exec_driver_sql(statement)
            self._look(connection)
        except sa.exc.DBAPIError as error:
            if error.orig is None or driver.passes(error.orig):
                raise
            raise BackendError(
                f"the table {self.jobs.name} or {self.parts.name} has other columns than progresskit_sql.ddl() makes: "
                f"rename or drop both, which are made again, or set another prefix ({error.orig})"
            ) from None

    def _look(self, connection: sa.Connection) -> None:
        for table, columns in ((self.jobs, COLUMNS), (self.parts, PART_COLUMNS)):
            connection.execute(sa.select(*(table.c[name] for name in columns)).limit(0))
