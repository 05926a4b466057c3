"""The places where progresskit is installed: the settings of workers, and the pools of senders."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import arq
from arq.connections import RedisSettings
from arq.constants import (
    abort_jobs_ss,
    default_queue_name,
    in_progress_key_prefix,
    job_key_prefix,
    retry_key_prefix,
)
from arq.utils import timestamp_ms
from arq.worker import Function, func
from redis.exceptions import WatchError

from progresskit.default_kit import default
from progresskit.errors import ConfigurationError
from progresskit.integrations import Integration, inherit_owner, owner_of

from .execution import Executions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from arq import ArqRedis

    from progresskit.kit import Kit

    Hook = Callable[[dict[Any, Any]], Awaitable[Any]]


class Queue(NamedTuple):
    """A queue in which jobs wait."""

    redis: RedisSettings
    name: str


class Installation(Integration):
    """How the jobs of arq become those of a kit."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit, remove=self._remove, terminate=self._abort)
        self._queues: list[Queue] = []

    def add(self, queue: Queue) -> None:
        """Look in this queue too for jobs that were cancelled; a site may make a pool for each request."""
        if queue not in self._queues:
            self._queues.append(queue)

    def announce(self, pool: ArqRedis) -> None:
        """Report which jobs the pool enqueues, once; they have the owner of the surrounding job."""
        if "enqueue_job" in vars(pool):
            return
        enqueue_job = pool.enqueue_job

        @wraps(enqueue_job)
        async def enqueue(function: str, *args: Any, **kwargs: Any) -> Any:
            inherit_owner(kwargs)
            job = await enqueue_job(function, *args, **kwargs)
            if job is not None:
                self.enqueued(job.job_id, kind=function, owner=owner_of(kwargs))
            return job

        pool.enqueue_job = enqueue

    # Jobs that were cancelled; in a thread, which has no event loop.

    def _remove(self, ids: list[str]) -> list[str]:
        return asyncio.run(self._take_out(ids, aborts=False))

    def _abort(self, ids: list[str]) -> list[str]:
        return asyncio.run(self._take_out(ids, aborts=True))

    async def _take_out(self, ids: list[str], aborts: bool) -> list[str]:
        removed: list[str] = []
        for queue in self._queues:
            async with await arq.create_pool(queue.redis) as redis:
                for id in ids:
                    if await _remove_waiting(redis, queue.name, id):
                        removed.append(id)
                    elif aborts and await redis.exists(in_progress_key_prefix + id):
                        await redis.zadd(abort_jobs_ss, {id: timestamp_ms()})
        return removed


async def _remove_waiting(redis: ArqRedis, queue: str, id: str) -> bool:
    """Take a job out of its queue; return False where it does not wait there. Workers watch the same key."""
    async with redis.pipeline(transaction=True) as pipe:
        await pipe.watch(in_progress_key_prefix + id)
        if await pipe.exists(in_progress_key_prefix + id) or await pipe.zscore(queue, id) is None:
            return False
        pipe.multi()
        pipe.zrem(queue, id)
        pipe.delete(job_key_prefix + id, retry_key_prefix + id)
        try:
            await pipe.execute()
        except WatchError:  # a worker has taken it meanwhile
            return False
    return True


_installations: dict[Kit, Installation] = {}


def installation(kit: Kit | None) -> Installation:
    """Return the integration of a kit, of the default one unless it is given."""
    kit = kit or default()
    if kit not in _installations:
        _installations[kit] = Installation(kit)
    return _installations[kit]


async def create_pool(
    settings_: RedisSettings | None = None,
    *,
    kit: Kit | None = None,
    default_queue_name: str = default_queue_name,
    **options: Any,
) -> ArqRedis:
    """
    Make a pool, as `arq.create_pool` does, whose jobs are `pending` from the moment they are enqueued.

    `kit` is progresskit's default one unless it is given. A job that is cancelled in this process while it waits is
    taken out of the queue.
    """
    pool = await arq.create_pool(settings_, default_queue_name=default_queue_name, **options)
    progress = installation(kit)
    progress.announce(pool)
    progress.add(Queue(settings_ or RedisSettings(), default_queue_name))
    return pool


def install(settings: Any, *, kit: Kit | None = None, cancellable: bool = True, capture: bool = False) -> None:
    """
    Make every job of a worker with these settings one of the kit, under its own id, with its function's name as `kind`.

    `settings` is a class or a dict of the arguments of `arq.Worker`. `kit` is progresskit's default one unless it is
    given. With `cancellable=False`, or for a function with the attribute `progress_cancellable = False`, reporting
    never raises Cancelled. With `capture`, bars that functions draw with tqdm or rich count, as in a block of
    `progresskit.capture()`. Call it once, behind the settings: raises ConfigurationError for the second call.

    A worker does not start with a kit that cannot work: it raises ConfigurationError.
    """
    own: dict[str, Any] = settings if isinstance(settings, dict) else dict(vars(settings))
    functions = own.get("functions", ())
    if isinstance(functions, _Functions):
        raise ConfigurationError(f"progresskit_arq is installed in {settings!r} already")
    progress = installation(kit)
    progress.capture = capture
    if own.get("redis_pool") is None:
        progress.add(Queue(own.get("redis_settings") or RedisSettings(), own.get("queue_name", default_queue_name)))
    executions = Executions(progress, own.get("job_timeout", 300), cancellable)

    async def start_up(ctx: dict[Any, Any]) -> None:
        progress.check("an arq worker")
        progress.announce(ctx["redis"])

    changed = {
        "functions": _Functions(functions, executions),
        "cron_jobs": [executions.wrapped(job) for job in own.get("cron_jobs") or ()],
        "job_serializer": executions.noting_results(own.get("job_serializer") or pickle.dumps),
        "on_startup": _both(start_up, own.get("on_startup")),
        "on_job_end": _both(executions.on_job_end, own.get("on_job_end")),
        "after_job_end": _both(executions.after_job_end, own.get("after_job_end")),
    }
    for name, value in changed.items():
        if isinstance(settings, dict):
            settings[name] = value
        else:
            setattr(settings, name, value)


class _Functions(Sequence[Function]):
    """The functions of a worker; those that are named are imported when a worker asks, as arq does it."""

    def __init__(self, functions: Sequence[Any], executions: Executions) -> None:
        self._functions, self._executions = functions, executions

    def __len__(self) -> int:
        return len(self._functions)

    def __getitem__(self, index: Any) -> Any:
        return self._executions.wrapped(func(self._functions[index]))


def _both(ours: Hook, theirs: Hook | None) -> Hook:
    if theirs is None:
        return ours

    @wraps(theirs)
    async def both(ctx: dict[Any, Any]) -> None:
        await ours(ctx)
        await theirs(ctx)

    return both
