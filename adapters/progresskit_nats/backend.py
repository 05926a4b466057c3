"""The backend."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from nats.js.api import KeyValueConfig, RePublish
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError

from progresskit.abc import SupportsCancelPush, SupportsPush
from progresskit.backends import keep_inherited
from progresskit.backends.stores import RevisionBackend, ServerClock, StoredRecord, load_record, load_records
from progresskit.errors import BackendError

from .connection import CALL_SECONDS, Client, Connection, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from progresskit.abc import Subscription
    from progresskit.backends.stores import Decide
    from progresskit.progress import Progress, Write

MAX_AGE_SECONDS = 86_400.0
"""How long the server keeps a value that is not written again; raised once a record has a longer ttl."""

CLOCK = "=clock"
"""The key that is written to learn the server's time; no job has it, for there `=` is followed by two hex digits."""


class NATSBackend(RevisionBackend, SupportsPush, SupportsCancelPush):
    """Keeps one key a job in the bucket `prefix`; `clock` (seconds since the epoch) replaces the server's."""

    def __init__(self, url: str, *, prefix: str = "progresskit", clock: Callable[[], float] | None = None) -> None:
        super().__init__()
        parse(url)
        self._url, self._server_clock, self._max_age = url, ServerClock(clock), MAX_AGE_SECONDS
        self._name = re.sub("[.:]", "-", prefix)
        self._connection = Connection(url, self._open_bucket)

    async def _open_bucket(self, client: Client) -> None:
        self._stream: Any = client.jetstream(timeout=CALL_SECONDS)
        try:
            self._bucket: Any = await self._stream.key_value(self._name)
        except BucketNotFoundError:
            republish = RePublish(src=f"$KV.{self._name}.>", dest=f"{self._name}.updates.>")
            config = KeyValueConfig(self._name, ttl=MAX_AGE_SECONDS, direct=True, republish=republish)
            self._bucket = await self._stream.create_key_value(config)
        info = (await self._bucket.status()).stream_info
        if info.config.republish is None:
            raise BackendError(f"{self}: the bucket {self._name} was made by another program, and republishes nothing")
        self._created, self._max_age = info.created, info.config.max_age
        self.forget_revisions()

    def get_records(self, ids: Collection[str]) -> tuple[dict[str, tuple[StoredRecord | None, int]], float]:
        """Read the keys, all at once."""

        async def get(id: str) -> tuple[StoredRecord | None, int]:
            try:
                entry = await self._bucket.get(key(id))
            except KeyNotFoundError as error:
                return None, error.entry.revision if error.entry else 0
            return load_record(id, entry.value.decode(errors="replace")), entry.revision

        return dict(zip(ids, self._connection.call_each(get, ids), strict=True)), self.time()

    def swap_records(self, records: Mapping[str, tuple[StoredRecord, int]]) -> dict[str, int]:
        """Update the keys, all at once."""

        async def update(id: str) -> int | None:
            record, revision = records[id]
            with suppress(KeyWrongLastSequenceError):
                return int(await self._bucket.update(key(id), record.dump().encode(), last=revision))
            return None

        revisions = zip(records, self._connection.call_each(update, records), strict=True)
        return {id: revision for id, revision in revisions if revision is not None}

    def transact_writes(self, writes: Mapping[str, Write], decide: Decide) -> None:
        """Have the server keep values for the longest ttl, and write."""
        longest = max(write.ttl for write in writes.values())
        if 0 < self._max_age < longest:
            self._connection.call(partial(self._keep, longest))
        super().transact_writes(writes, decide)
        self.check_server(self._created)

    async def _keep(self, seconds: float, client: Client) -> None:
        config = (await self._bucket.status()).stream_info.config
        self._max_age = config.max_age and max(config.max_age, seconds)  # 0 is without a limit
        await self._stream.update_stream(config.evolve(max_age=self._max_age))

    def time(self) -> float:
        """Return the time of a value that the server stores now, or follow the last one."""

        async def ask(client: Client) -> float:
            await self._bucket.put(CLOCK, b"")
            message = await self._stream.get_last_msg(f"KV_{self._name}", f"$KV.{self._name}.{CLOCK}")
            return float(message.time.timestamp())

        return self._server_clock(lambda: self._connection.call(ask))

    def _subject(self, kind: str, id: str) -> str:
        return f"{self._name}.{kind}.{key(id)}"

    def publish_cancels(self, ids: Collection[str]) -> None:
        """Publish to a subject of each job for requests to cancel."""
        for subject in [self._subject("cancels", id) for id in ids]:
            self._connection.submit(partial(Client.publish, subject=subject))

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Subscribe to these subjects."""
        return self._connection.subscription(partial(self._subject, "cancels"), on_cancel, on_gap)

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Subscribe to the republished values of each job."""

        def on_messages(messages: dict[str, bytes]) -> None:
            records = load_records({id: data.decode(errors="replace") for id, data in messages.items()})
            on_update(self.progress_of(records, self._server_clock.now).values())

        return self._connection.subscription(partial(self._subject, "updates"), on_messages, on_gap)

    def __str__(self) -> str:
        return str(self._connection)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._connection.close()
        self._connection = Connection(self._url, self._open_bucket)
        super().close()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's."""
        keep_inherited(self._connection)
        self._connection = Connection(self._url, self._open_bucket)
        super().after_fork_in_child()


def key(id: str) -> str:
    """Return the key of a job, which is a single token of a subject."""
    return re.sub("[.:]", lambda found: f"={ord(found[0]):02X}", id)
