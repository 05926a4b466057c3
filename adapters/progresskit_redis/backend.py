"""The backend."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.abc import (
    Backend,
    Subscription,
    SupportsCancelPush,
    SupportsListing,
    SupportsParts,
    SupportsPush,
)
from progresskit.backends import DecodeCache, keep_inherited
from progresskit.backends.channels import ChannelSubscription
from progresskit.decoding import report_undecodable
from progresskit.errors import BackendUnavailable, ConfigurationError
from progresskit.progress import ID_ALPHABET, STARTS, undeclared_body
from progresskit.registry import missing_package
from progresskit.urls import redact

from .failures import Failures
from .keys import Shards
from .records import head, id_of, marked, report_words, unpack
from .scripts import Call, RepeatedCall, script

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from progresskit.config import Settings
    from progresskit.parts import Report
    from progresskit.progress import Progress, State, Write

    from .keys import Shard
    from .server import Server

CHUNK = 100
"""How many jobs one run of a script is given: in between, the server serves others."""

PAGE = 200
"""How many jobs of the index one run of a script looks at."""


class _Chunk(NamedTuple):
    """The ids of one run of the script that writes: of jobs that are written, and of those of which parts report."""

    shard: Shard
    written: list[str]
    parents: list[str]


class _Request(NamedTuple):
    """One call that writes, and the function that reads its result; that is None where no record was written."""

    call: Call
    answer: Callable[[Any], tuple[dict[str, int], dict[str, str]]]


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
        self._decoded = DecodeCache()
        self._subscriptions: set[ChannelSubscription] = set()
        self._homes: dict[Shard, bytes] = {}  # which process served the last write
        self._checked = 0  # how many connections there had been when that was last looked at
        self._repeated: tuple[str, str, RepeatedCall] | None = None
        self._warned = False  # the last write failed, so that the publisher sends all again

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> RedisBackend:
        """Make the backend of a URL."""
        return cls(url, prefix=settings.prefix)

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in, in the server, in one round trip."""
        return self._write_one(batch[0]) if len(batch) == 1 else self._write(batch, (), with_tokens=False)[0]

    def _write_one(self, write: Write) -> dict[str, int]:
        """Do so on the connection that timed writes have, where it is known to lead to the same server."""
        if self._is_at_home and not self._warned:
            result = self._run_within(None, self._writing_again(write.id).ending(head(write), write.body.encode()))
            if result is not None:
                return {write.id: int(result.partition(b"\n")[0])}
        return self._write([write], (), with_tokens=False)[0]

    def _writing_again(self, id: str) -> RepeatedCall:
        """Return the call that writes one record of a job; that of the last job is kept."""
        known, now = self._repeated, self._now()
        if known is None or known[:2] != (id, now):
            shard = self._shards.of(id)
            keys = [shard.jobs, shard.expiring, shard.job(id)]
            call = Call(script("write"), keys, [*self._surroundings(shard), 1, 0])
            self._repeated = known = (id, now, RepeatedCall.of(call, changing=2))
        return known[2]

    def write_with_reports(
        self, batch: Sequence[Write], reports: Sequence[Report]
    ) -> tuple[dict[str, int], dict[str, str]]:
        """
        Fold both in, in the server, in one round trip.

        In a cluster a job and its parent may be of two slots, and so of two calls, of which one may fail: then all is
        sent again, which changes no stored record.
        """
        if self._is_at_home and not self._warned:
            written = self._write_within(None, batch, reports)
            if written is not None:
                return written
        return self._write(batch, reports, with_tokens=True)

    def _write_within(
        self, seconds: float | None, batch: Sequence[Write], reports: Sequence[Report]
    ) -> tuple[dict[str, int], dict[str, str]] | None:
        request = self._request(batch, reports)
        result = None if request is None else self._run_within(seconds, request.call)
        return None if request is None or result is None else request.answer(result)

    def _request(self, batch: Sequence[Write], reports: Sequence[Report]) -> _Request | None:
        """Return the call that folds both in; None where it takes several."""
        if len(batch) == 1 and not reports and _opens_simply(batch[0]):
            id = batch[0].id
            return _Request(self._opening(batch[0]), lambda run: ({id: int(run)}, {}))
        chunks, writes, parents = self._divided(batch, reports)
        with_tokens = bool(reports) or any(write.declaration for write in batch)
        if len(chunks) != 1:
            return None
        call = self._writing(chunks[0], writes, parents, with_tokens)
        return _Request(call, lambda result: _runs_and_tokens(chunks, [result], with_tokens=with_tokens))

    @property
    def _is_at_home(self) -> bool:
        """True where no connection was made since it was last looked at which process serves."""
        return bool(self._homes) and self._server.connects == self._checked

    @property
    def _is_new(self) -> bool:
        """True before the first write of this process, if no other call has connected: no record can be missed yet."""
        return not self._homes and self._server.connects == self._checked and self._server.connects_within

    def _run_within(self, seconds: float | None, call: Call | RepeatedCall) -> Any:
        """Make a call; the first one asks for the process that serves as well."""
        connects = self._server.connects
        asked = [*self._shards.all] if self._is_new else []
        try:
            results = self._server.run_within(seconds, [call, *map(_home_of, asked)])
        except BackendUnavailable:
            self._warned = True
            raise
        if results is None:
            return None
        if asked and self._server.connects == connects + 1:  # else those of other threads are not known
            self._homes.update(zip(asked, results[1:], strict=True))
            self._checked = connects + 1
        return results[0]

    def _opening(self, write: Write) -> Call:
        shard = self._shards.of(write.id)
        arguments = [*self._surroundings(shard), head(write), write.body.encode()]
        return Call(script("open"), [shard.jobs, shard.expiring, shard.job(write.id)], arguments)

    def _surroundings(self, shard: Shard) -> tuple[bytes | str | int, ...]:
        """Return the first arguments of each script that writes: the time, and where the shard's changes are pushed."""
        return self._now(), self._server.publish, shard.suffix, shard.before

    def _write(
        self, batch: Sequence[Write], reports: Sequence[Report], *, with_tokens: bool
    ) -> tuple[dict[str, int], dict[str, str]]:
        chunks, writes, parents = self._divided(batch, reports)
        calls = [self._writing(chunk, writes, parents, with_tokens) for chunk in chunks]
        try:
            results = self._run_at_home(calls, dict.fromkeys(chunk.shard for chunk in chunks))
        except BackendUnavailable:
            self._warned = True
            raise
        self._warned = False
        return _runs_and_tokens(chunks, results, with_tokens=with_tokens)

    def _divided(
        self, batch: Sequence[Write], reports: Sequence[Report]
    ) -> tuple[builtins.list[_Chunk], dict[str, Write], dict[str, builtins.list[Report]]]:
        writes = {write.id: write for write in batch}
        parents: dict[str, builtins.list[Report]] = {}
        for report in reports:
            parents.setdefault(report.parent, []).append(report)
        shards = self._shards.divided([*writes, *(id for id in parents if id not in writes)])
        chunks = [
            _Chunk(shard, [id for id in chunk if id in writes], [id for id in chunk if id in parents])
            for shard, ids in shards.items()
            for chunk in _chunks(ids, CHUNK)
        ]
        return chunks, writes, parents

    def _writing(
        self, chunk: _Chunk, writes: Mapping[str, Write], parents: Mapping[str, Sequence[Report]], with_tokens: bool
    ) -> Call:
        shard, written = chunk.shard, [writes[id] for id in chunk.written]
        keys = [shard.jobs, shard.expiring, *map(shard.job, chunk.written), *map(shard.job, chunk.parents)]
        arguments = [*self._surroundings(shard), len(written), int(with_tokens)]
        for write in written:
            arguments += (head(write), write.body.encode())
        for reports in map(parents.__getitem__, chunk.parents):
            arguments += (undeclared_body(reports[0]).encode(), len(reports), *map(report_words, reports))
        return Call(script("write"), keys, arguments)

    def _run_at_home(self, calls: Sequence[Call], shards: Iterable[Shard]) -> Sequence[bytes]:
        """
        Make the calls, and find out whether another process has taken the server's place.

        It may lack the records, even if no call noticed that the server was away: one write fails, so that all is sent
        again. Only a new connection can lead to another process; whether a client that was given has made one is not
        known. A process that serves other shards of a cluster takes over a slot with its records.
        """
        connects, known = self._server.connects, {*self._homes.values()}
        if self._server.own and connects == self._checked:
            asked = [shard for shard in shards if shard not in self._homes]
        else:
            asked = [*{**self._homes, **dict.fromkeys(shards)}]
        results = self._server.run([*calls, *map(_home_of, asked)])
        self._note_homes(asked, results[len(calls) :], known)
        if self._server.own and self._server.connects != connects:  # in the middle of it
            connects, asked = self._server.connects, [*self._homes]
            self._note_homes(asked, self._server.run([*map(_home_of, asked)]), known)
        self._checked = connects
        return results[: len(calls)]

    def _note_homes(self, shards: Sequence[Shard], homes: Sequence[bytes], known: AbstractSet[bytes]) -> None:
        before = [self._homes.get(shard, home) for shard, home in zip(shards, homes, strict=True)]
        self._homes.update(zip(shards, homes, strict=True))
        strange = {home for old, home in zip(before, homes, strict=True) if home != old} - known
        if strange and not self._warned:
            raise BackendUnavailable(f"{self._server.failures.address}: another server has taken its place")

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return those that are known and have not expired, in one round trip."""
        found = self._flat("read", ids)
        return {progress.id: progress for progress in self._records(found)}

    def _records(self, packed: Iterable[bytes]) -> builtins.list[Progress]:
        return [record for each in packed if (record := self._record(each)) is not None]

    def _record(self, packed: bytes) -> Progress | None:
        return self._decoded.get(id_of(packed), packed, unpack, packed)

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Mark those that are known and not done, and notify their workers and viewers."""
        calls = []
        for shard, part in self._parts(ids):
            keys = [key for id in part for key in (shard.job(id), shard.request(id))]
            calls.append(Call(script("cancel"), keys, [self._now(), self._server.publish, shard.suffix, shard.before]))
        return {id.decode() for found in self._server.run(calls) for id in found}

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        return {id.decode() for id in self._flat("cancels", ids)}

    def forget(self, ids: Collection[str]) -> set[str]:
        """Delete those that are done or stalled, and their entries in the indexes."""
        calls = []
        for shard, part in self._parts(ids):
            keys = [shard.jobs, shard.expiring, *(shard.job(id) for id in part)]
            calls.append(Call(script("forget"), keys, [self._now(), shard.before]))
        return {id.decode() for found in self._server.run(calls) for id in found}

    def _flat(self, name: str, ids: Collection[str]) -> list[bytes]:
        """Give the keys of the jobs to a script that returns a list; return all lists as one."""
        calls = [
            Call(script(name), [shard.job(id) for id in part], [self._now(), shard.before])
            for shard, part in self._parts(ids)
        ]
        return [each for found in self._server.run(calls) for each in found]

    def _parts(self, ids: Collection[str]) -> Iterable[tuple[Shard, list[str]]]:
        for shard, part in self._shards.divided(dict.fromkeys(ids)).items():
            for chunk in _chunks(part, CHUNK):
                yield shard, chunk

    def list(
        self, *, kind: str | None, states: Collection[State] | None, limit: int, part_of: str | None = None
    ) -> builtins.list[Progress]:
        """Go along the index of when jobs were heard of, page by page; it is no snapshot while others write."""
        wanted = " ".join(state.value for state in states) if states is not None else ""
        if states is not None and not wanted:
            return []
        found: dict[Shard, dict[str, tuple[float, Progress]]] = {shard: {} for shard in self._shards.all}
        begins = dict.fromkeys(self._shards.all, 0)
        while begins:
            calls = [self._listing(shard, begin, marked(kind), wanted, part_of) for shard, begin in begins.items()]
            for shard, page in zip([*begins], self._server.run(calls), strict=True):
                for heard, packed in zip(page[1::2], page[2::2], strict=True):
                    record = self._record(packed)
                    if record is not None and part_of in (None, record.part_of):
                        found[shard][record.id] = float(heard), record
                begins[shard] += PAGE
                if page[0] < PAGE or len(found[shard]) >= limit:
                    del begins[shard]
        newest = sorted((each for part in found.values() for each in part.values()), reverse=True, key=itemgetter(0))
        return [record for _, record in newest[:limit]]

    def _listing(self, shard: Shard, begin: int, kind: str, states: str, part_of: str | None) -> Call:
        member = "" if part_of is None else f'"part_of":"{part_of}"'
        arguments: list[bytes | str | int] = [self._now(), shard.job_base, begin, PAGE, kind.encode(), states, member]
        return Call(script("list"), [shard.jobs], arguments)

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Listen to a channel for each watched job, on a connection of its own; in a cluster, one to each server."""
        return self._subscription(
            lambda id: self._shards.of(id).channel(id),
            lambda messages: on_update(_pushed(messages)),
            on_gap,
        )

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Listen to another channel for each watched job, which is silent until a cancel is requested."""
        return self._subscription(lambda id: self._shards.of(id).request_channel(id), on_cancel, on_gap)

    def _subscription(
        self,
        channel: Callable[[str], bytes],
        on_messages: Callable[[dict[str, bytes]], None],
        on_gap: Callable[[], None],
    ) -> Subscription:
        subscription = ChannelSubscription(self._server, channel, on_messages, on_gap, self._subscriptions.discard)
        self._subscriptions.add(subscription)
        return subscription

    def _now(self) -> str:
        return "" if self._clock is None else repr(float(self._clock()))

    def close(self) -> None:
        """Close subscriptions, and connections unless they are of a given client; a later call opens new ones."""
        for subscription in [*self._subscriptions]:
            subscription.close()
        self._server.close()
        self._decoded.clear()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's."""
        self._server.after_fork_in_child()
        self._decoded = DecodeCache()
        keep_inherited(self._subscriptions)
        self._subscriptions = set()
        self._homes.clear()
        self._checked = self._server.connects
        self._warned = False


def _home_of(shard: Shard) -> Call:
    """Return the call that asks which process serves a shard."""
    return Call(script("home"), [shard.jobs], [])


def _pushed(messages: dict[str, bytes]) -> builtins.list[Progress]:
    """Return the records of messages; they are not kept, as the next message of a job replaces its record."""
    records: builtins.list[Progress] = []
    for id, packed in messages.items():
        try:
            records.append(unpack(packed))
        except Exception as error:  # as in `decode_each`, a call of which for each would take longer
            report_undecodable(id, error)
    return records


def _opens_simply(write: Write) -> bool:
    """Return whether the write may be all that there is to decide by."""
    return write.role in STARTS and not write.late and write.declaration is None


def _runs_and_tokens(
    chunks: Sequence[_Chunk], results: Sequence[bytes], *, with_tokens: bool
) -> tuple[dict[str, int], dict[str, str]]:
    runs, tokens = dict[str, int](), dict[str, str]()
    for chunk, result in zip(chunks, results, strict=True):
        stored, _, of_runs = result.partition(b"\n")
        runs.update(zip(chunk.written, map(int, stored.split()), strict=True))
        found = zip([*chunk.written, *chunk.parents], of_runs.decode().split(), strict=with_tokens)
        tokens.update((id, token) for id, token in found if token != "-")
    return runs, tokens


def _chunks(ids: Sequence[str], size: int) -> Iterable[builtins.list[str]]:
    for begin in range(0, len(ids), size):
        yield [*ids[begin : begin + size]]


def _of_url(url: str) -> tuple[Server, int]:
    try:
        from .address import parsed
    except ImportError as error:
        raise missing_package(f"{url.partition('://')[0]}://", error, "redis") from error
    from redis import Redis

    address = parsed(url)
    return _server(address.kind == "cluster", address.client, None, Failures(Redis, redact(url))), address.db


def _of_client(client: Any) -> tuple[Server, int]:
    failures = Failures(type(client), type(client).__name__)
    if hasattr(client, "nodes_manager"):
        return _server(True, None, client, failures), 0
    return _server(False, None, client, failures), int(client.connection_pool.connection_kwargs.get("db") or 0)


def _server(clustered: bool, make: Any, given: Any, failures: Failures) -> Server:
    if clustered:
        from .cluster import Cluster

        return Cluster(make, given, failures)
    from .server import Single

    return Single(make, given, failures)
