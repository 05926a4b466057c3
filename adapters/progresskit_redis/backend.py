"""The backend."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from progresskit.abc import Backend, Subscription, SupportsCancelPush, SupportsListing, SupportsParts, SupportsPush
from progresskit.backends import keep_inherited
from progresskit.errors import BackendUnavailable, ConfigurationError
from progresskit.progress import ID_ALPHABET, undeclared_body
from progresskit.registry import missing_package
from progresskit.urls import redact

from .failures import Failures
from .keys import Shards
from .listeners import Listeners
from .records import head, marked, report_words, unpacked
from .server import Call, Cluster, Server

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

    from progresskit.config import Settings
    from progresskit.parts import Report
    from progresskit.progress import Progress, State, Write

    from .keys import Shard

CHUNK = 100
"""How many jobs one run of the script is given: in between, the server serves others."""

PAGE = 200
"""How many jobs of the index one run of the script looks at."""


class RedisBackend(Backend, SupportsPush, SupportsCancelPush, SupportsListing, SupportsParts):
    """
    Keeps one hash a job, and publishes each change on a channel of the job's.

    `server` is a URL (see `progresskit_redis.address`), or a client of redis-py or valkey-py, for one server or for a
    cluster, which is used with the settings it has and is never closed. `clock` (seconds since the epoch) takes the
    place of the server's clock.
    """

    def __init__(self, server: Any, *, prefix: str = "progresskit", clock: Callable[[], float] | None = None) -> None:
        if not (prefix and ID_ALPHABET.issuperset(prefix)):
            raise ConfigurationError(f"prefix must be a name of A-Z a-z 0-9 _ . : -, not {prefix!r}")
        self._server, db = _of_url(server) if isinstance(server, str) else _of_client(server)
        self._clock = clock
        self._shards = Shards(prefix, db=db, clustered=self._server.clustered)
        self._listeners = Listeners(self._server)
        self._homes: dict[Hashable, str] = {}  # which process served the last write to a shard, and at an address
        self._warned = False  # the last write failed, so that the publisher sends all again

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> RedisBackend:
        """Make the backend of a URL."""
        return cls(url, prefix=settings.prefix)

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in, in the server, in one round trip."""
        return self.write_with_reports(batch, ())[0]

    def write_with_reports(
        self, batch: Sequence[Write], reports: Sequence[Report]
    ) -> tuple[dict[str, int], dict[str, str]]:
        """
        Fold both in, in the server, in one round trip.

        In a cluster a job and its parent may be of two slots, and so of two calls, of which one may fail: then all is
        sent again, which changes no stored record.
        """
        writes = {write.id: write for write in batch}
        parents: dict[str, builtins.list[Report]] = {}
        for report in reports:
            parents.setdefault(report.parent, []).append(report)
        chunks = [
            (shard, [id for id in ids if id in writes], [id for id in ids if id in parents])
            for shard, ids in self._shards.divided([*writes, *parents], CHUNK)
        ]
        calls = [self._writing(shard, written, reported, writes, parents) for shard, written, reported in chunks]
        try:
            answers = [bytes(answer).decode().split("\n") for answer in self._server.run(calls)]
            self._check_homes({shard: home for (shard, *_), (home, *_) in zip(chunks, answers, strict=True)})
        except BackendUnavailable:
            self._warned = True
            raise
        self._warned = False
        runs, tokens = dict[str, int](), dict[str, str]()
        for (_, written, reported), (_, stored, of_runs) in zip(chunks, answers, strict=True):
            runs.update(zip(written, map(int, stored.split()), strict=True))
            found = zip([*written, *reported], of_runs.split(), strict=True)
            tokens.update((id, token) for id, token in found if token != "-")
        return runs, tokens

    def _writing(
        self,
        shard: Shard,
        written: Sequence[str],
        reported: Sequence[str],
        writes: Mapping[str, Write],
        parents: Mapping[str, Sequence[Report]],
    ) -> Call:
        """Return the call for some jobs that are written, and some of which parts report."""
        arguments: list[bytes | int] = [len(written)]
        for write in map(writes.__getitem__, written):
            arguments += (head(write), write.body.encode())
        for reports in map(parents.__getitem__, reported):
            arguments += (undeclared_body(reports[0]).encode(), len(reports), *map(report_words, reports))
        return self._call("write", shard, [*written, *reported], *arguments)

    def _check_homes(self, homes: dict[Shard, str]) -> None:
        """
        Raise BackendUnavailable if another process has taken the server's place.

        It may lack the records, even if no call noticed that the server was away: one write fails, so that all is sent
        again. A process that serves other shards of a cluster takes over a slot with its records.
        """
        known = {*self._homes.values()}
        found: dict[Hashable, str] = {}
        for shard, home in homes.items():
            found[shard] = found[self._server.place(shard.indexes[0])] = home
        strange = {home for place, home in found.items() if self._homes.get(place, home) != home} - known
        self._homes |= found
        if strange and not self._warned:
            raise BackendUnavailable(f"{self._server.failures.address}: another server has taken its place")

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return those that are known and have not expired, in one round trip."""
        return {record.id: record for record in unpacked(self._of_each("read", ids))}

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Mark those that are known and not done, and notify their workers and viewers."""
        return {id.decode() for id in self._of_each("cancel", ids)}

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        return {id.decode() for id in self._of_each("asked", ids)}

    def forget(self, ids: Collection[str]) -> set[str]:
        """Delete those that are done or stalled, and their entries in the indexes."""
        return {id.decode() for id in self._of_each("forget", ids)}

    def _of_each(self, action: str, ids: Collection[str]) -> builtins.list[bytes]:
        """Let the script act on jobs; return what it returns for some of them."""
        calls = [self._call(action, shard, part) for shard, part in self._shards.divided(ids, CHUNK)]
        return [each for found in self._server.run(calls) for each in found]

    def _call(self, action: str, shard: Shard, ids: Iterable[str], *arguments: bytes | str | int) -> Call:
        now = "" if self._clock is None else repr(float(self._clock()))
        keys = [*shard.indexes, *map(shard.job, ids)]
        return Call(keys, [action, now, self._server.publish, shard.suffix, *arguments])

    def list(
        self, *, kind: str | None, states: Collection[State] | None, limit: int, part_of: str | None = None
    ) -> builtins.list[Progress]:
        """Go along the index of when jobs were heard of, page by page; it is no snapshot while others write."""
        if states is not None and not states:
            return []
        wanted = " ".join(state.value for state in states or ())
        member = "" if part_of is None else f'"part_of":"{part_of}"'
        found: dict[Shard, dict[str, tuple[float, Progress]]] = {shard: {} for shard in self._shards.all}
        begins = dict.fromkeys(self._shards.all, 0)
        while begins:
            filters = (marked(kind).encode(), wanted, member)
            calls = [self._call("list", shard, (), begin, PAGE, *filters) for shard, begin in begins.items()]
            for shard, page in zip([*begins], self._server.run(calls), strict=True):
                for heard, packed in zip(page[1::2], page[2::2], strict=True):
                    for record in unpacked([packed]):
                        if part_of in (None, record.part_of):
                            found[shard][record.id] = float(heard), record
                begins[shard] += PAGE
                if page[0] < PAGE or len(found[shard]) >= limit:
                    del begins[shard]
        newest = sorted((each for part in found.values() for each in part.values()), reverse=True, key=itemgetter(0))
        return [record for _, record in newest[:limit]]

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Listen to a channel for each watched job, on one connection; in a cluster, one to each server."""
        return self._listeners.subscription(
            lambda id: self._shards.of(id).channel(id),
            lambda messages: on_update(unpacked(messages.values())),
            on_gap,
        )

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Listen, on the same connection, to another channel for each job; it is silent until a cancel is requested."""
        return self._listeners.subscription(lambda id: self._shards.of(id).cancel_channel(id), on_cancel, on_gap)

    def close(self) -> None:
        """Close subscriptions, and connections unless they are of a given client; a later call opens new ones."""
        self._listeners.close()
        self._server.close()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's."""
        self._server.after_fork_in_child()
        keep_inherited(self._listeners)
        self._listeners = Listeners(self._server)
        self._homes = {}
        self._warned = False


def _of_url(url: str) -> tuple[Server, int]:
    try:
        from .address import parsed
    except ImportError as error:
        raise missing_package(f"{url.partition('://')[0]}://", error, "redis") from error
    from redis import Redis

    address = parsed(url)
    kind = Cluster if address.kind == "cluster" else Server
    return kind(address.client, None, Failures(Redis, redact(url))), address.db


def _of_client(client: Any) -> tuple[Server, int]:
    failures = Failures(type(client), type(client).__name__)
    if hasattr(client, "nodes_manager"):
        return Cluster(None, client, failures), 0
    return Server(None, client, failures), int(client.connection_pool.connection_kwargs.get("db") or 0)
