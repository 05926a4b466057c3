"""The baselines of the stores: each gets the very statements that the backend sends, made by the backend's modules."""

# mypy: allow-untyped-calls
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar

from progresskit.progress import Write


class Baseline(ABC):
    """Writes records to the store of a URL, where they are already, begun by the backend."""

    name: ClassVar[str]

    @abstractmethod
    def prepare(self, batch: Sequence[Write]) -> Any:
        """Make all that is sent for the batch."""

    @abstractmethod
    def write(self, prepared: Any) -> None:
        """Send it, and wait until it is done."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class RedisBaseline(Baseline):
    name = "redis-py, the same EVALSHA calls in a pipeline"

    def __init__(self, url: str) -> None:
        from redis import Redis

        from progresskit_redis.keys import Shards

        self.client: Any = Redis.from_url(url)
        database = self.client.connection_pool.connection_kwargs.get("db") or 0
        self.shards, self.publish = Shards("progresskit", db=database), "PUBLISH"

    def calls(self, batch: Sequence[Write]) -> list[Any]:
        from progresskit_redis.backend import CHUNK
        from progresskit_redis.records import head
        from progresskit_redis.server import Call

        writes, calls = {write.id: write for write in batch}, []
        for shard, part in self.shards.divided(writes, CHUNK):
            records = chain.from_iterable((head(writes[id]), writes[id].body.encode()) for id in part)
            keys = [*shard.indexes, *map(shard.job, part)]
            calls.append(Call(keys, ["write", "", self.publish, shard.suffix, len(part), *records]))
        return calls

    def prepare(self, batch: Sequence[Write]) -> Any:
        return [call.by_hash() for call in self.calls(batch)]

    def write(self, prepared: Any) -> None:
        pipeline = self.client.pipeline(transaction=False)
        for command in prepared:
            pipeline.execute_command(*command)
        pipeline.execute()

    def close(self) -> None:
        self.client.close()


class ClusterBaseline(RedisBaseline):
    name = "redis-py, the same EVALSHA calls in a pipeline to each node"

    def __init__(self, url: str) -> None:
        from redis.cluster import RedisCluster

        from progresskit_redis.keys import Shards

        self.client = RedisCluster.from_url(url.replace("redis+cluster", "redis"))
        self.shards, self.publish = Shards("progresskit", clustered=True), "SPUBLISH"

    def prepare(self, batch: Sequence[Write]) -> Any:
        nodes: dict[Any, list[Any]] = {}
        for call in self.calls(batch):
            node = self.client.get_node_from_key(call.keys[0])
            nodes.setdefault(self.client.get_redis_connection(node), []).append(call.by_hash())
        return nodes

    def write(self, prepared: Any) -> None:
        for client, commands in prepared.items():
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            pipeline.execute()
