"""A Redis that goes away, forgets, is full or lets nobody write: told as such, and over when it is over."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from threading import Event
from threading import enumerate as threads
from typing import Any

import pytest

from progresskit import Kit
from progresskit.errors import BackendUnavailable
from progresskit.progress import State
from progresskit.testing import RecordingObserver, start, update
from progresskit_redis import RedisBackend, listeners
from progresskit_redis.server import SHA
from tests.services import patience
from tests.services.patience import HASTY_SECONDS, be_hasty
from tests.services.proxy import Proxy
from tests.services.redis import Redis, RedisCluster, Sentinel
from tests.services.refusals import refused
from tests.services.waiting import PATIENCE, wait_until

IN_TIME = HASTY_SECONDS + 3
"""Seconds within which a call has to end, whatever the server does; generous, for a busy machine."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    be_hasty(patience.REDIS, monkeypatch)


@pytest.fixture
def redis(stack: ExitStack) -> Redis:
    return stack.enter_context(Redis())


@pytest.fixture
def backend(stack: ExitStack, redis: Redis) -> RedisBackend:
    return stack.enter_context(closing(RedisBackend(redis.url)))


def after_outage(act: Callable[[], Any]) -> Any:
    """Return what the act returns once it works."""

    def works() -> Any:
        try:
            return (act(),)
        except BackendUnavailable:
            return None

    return wait_until(works)[0]


def connections(redis: Redis) -> int:
    """Count those over TCP."""
    with closing(redis.client()) as client:
        return sum(1 for each in client.client_list() if "U" not in each["flags"])


# What is forgotten.


def test_a_server_that_forgot_the_scripts_is_given_them_again(redis: Redis, backend: RedisBackend) -> None:
    ids = [f"job-{number}" for number in range(350)]
    acts: list[Callable[[], object]] = [
        lambda: backend.write([start(id) for id in ids]),
        lambda: backend.read(ids),
        lambda: backend.request_cancel(ids),
        lambda: backend.cancel_requested(ids),
        lambda: backend.list(kind=None, states=None, limit=1),
    ]
    with closing(redis.client()) as client:
        for act in acts:
            client.script_flush()
            act()
            assert client.script_exists(SHA) == [True]
    assert len(backend.read(ids)) == 350


def test_a_restart_that_nobody_saw_is_reported_once_so_that_all_is_sent_again(
    redis: Redis, backend: RedisBackend
) -> None:
    backend.write([start("live"), start("ended", state=State.SUCCEEDED)])
    redis.kill()
    redis.start()
    with pytest.raises(BackendUnavailable, match="another server has taken its place"):
        backend.write([update("live", 2)])
    assert backend.write([update("live", 2)]) == {"live": 1}
    assert backend.read(["live", "ended"]).keys() == {"live"}


def test_a_client_that_was_given_reports_a_restart_too(redis: Redis, stack: ExitStack) -> None:
    from redis import Redis as Client

    client = stack.enter_context(closing(Client.from_url(redis.url)))
    backend = stack.enter_context(closing(RedisBackend(client)))
    backend.write([start("live")])
    redis.kill()
    redis.start()
    with pytest.raises(BackendUnavailable):
        backend.write([update("live", 2)])
    assert backend.write([update("live", 2)]) == {"live": 1}


def test_a_restart_that_was_reported_already_is_not_reported_again(redis: Redis, backend: RedisBackend) -> None:
    backend.write([start("live")])
    redis.kill()
    with pytest.raises(BackendUnavailable):
        backend.write([update("live", 2)])
    redis.start()
    assert backend.write([update("live", 2)]) == {"live": 1}


def test_live_jobs_and_recent_ends_are_back_after_a_restart_without_a_disk(redis: Redis, stack: ExitStack) -> None:
    kit, viewers = stack.enter_context(closing(Kit(redis.url))), stack.enter_context(closing(Kit(redis.url)))
    job = kit.observe("live", total=10)
    with job, kit.observe("ended"):
        job.set_progress(4)
    kit.flush(PATIENCE)
    job = stack.enter_context(kit.observe("quiet", total=10))
    job.set_progress(7)
    kit.flush(PATIENCE)
    with viewers.hub.view(["quiet"]) as viewer:
        assert viewer.get(PATIENCE)["quiet"].current == 7
        redis.kill()
        redis.start()
        job.set_progress(8)
        seen = wait_until(lambda: viewer.get(1).get("quiet"))
        assert (seen.current, str(seen.version)[:2]) == (8, "1.")
        wait_until(lambda: kit.get_many(["live", "ended", "quiet"]).keys() == {"live", "ended", "quiet"})


def test_what_a_server_without_memory_throws_out_comes_back_with_a_heartbeat(
    redis: Redis, backend: RedisBackend
) -> None:
    backend.write([start("job", current=5)])
    with closing(redis.client()) as client:
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", 1)
        wait_until(lambda: not client.exists("progresskit:job:job") or client.set("pressure", "x") is None)
        client.config_set("maxmemory", 0)
    assert backend.read(["job"]) == {}
    backend.write([update("job", 1, current=5)])
    assert backend.read(["job"])["job"].current == 5


# What cannot be done now.


@pytest.mark.parametrize(
    ("sick", "well"),
    [
        ({"maxmemory": "1"}, {"maxmemory": "0"}),
        ({"min-replicas-to-write": "1"}, {"min-replicas-to-write": "0"}),
    ],
)
def test_a_server_that_takes_no_writes_says_so_and_can_be_read(
    redis: Redis, backend: RedisBackend, sick: dict[str, str], well: dict[str, str]
) -> None:
    backend.write([start("job"), start("kept", current=3)])
    with closing(redis.client()) as client:
        for name, value in sick.items():
            client.config_set(name, value)
        batch = [update("job", 2), *(start(f"new-{number}") for number in range(250))]
        for act in (lambda: backend.write(batch), lambda: backend.request_cancel(["job"])):
            with pytest.raises(BackendUnavailable):
                act()
        assert backend.read(["job", "kept", "new-1"]).keys() == {"job", "kept"}
        assert backend.read(["job"])["job"].version.seq == 1
        for name, value in well.items():
            client.config_set(name, value)
    assert len(backend.write(batch)) == 251


def test_a_replica_lets_nobody_write(redis: Redis, stack: ExitStack) -> None:
    replica = stack.enter_context(Redis(settings=[f"replicaof 127.0.0.1 {redis.port}"]))
    backend = stack.enter_context(closing(RedisBackend(replica.url)))
    with pytest.raises(BackendUnavailable, match="read only"):
        after_sync(replica, lambda: backend.write([start("job")]))
    with closing(replica.client()) as client:
        client.replicaof("NO", "ONE")
    assert backend.write([start("job")]) == {"job": 1}


def after_sync(replica: Redis, act: Callable[[], object]) -> None:
    with closing(replica.client()) as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")
    act()


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_a_server_that_hangs_is_given_up_in_time_and_works_again_after(redis: Redis, backend: RedisBackend) -> None:
    observer = RecordingObserver()
    listener = backend.subscribe(observer.notify_all, lambda: None)
    backend.write([start("job")])
    redis.pause()
    try:
        for act in (lambda: backend.write([update("job", 2)]), lambda: listener.add(["job"])):
            refused(act, IN_TIME)
    finally:
        redis.resume()
    assert after_outage(lambda: backend.write([update("job", 3)])) == {"job": 1}
    after_outage(lambda: listener.add(["job"]))
    backend.write([update("job", 4)])
    observer.wait_for(lambda progress: progress.version.seq == 4)


def test_a_connection_that_is_cut_in_the_middle_of_a_batch_loses_nothing_that_is_sent_again(
    redis: Redis, stack: ExitStack
) -> None:
    proxy = stack.enter_context(Proxy(redis.port))
    backend = stack.enter_context(closing(RedisBackend(f"redis://127.0.0.1:{proxy.port}/0")))
    batch = [start(f"job-{number}", meta={"x": "y" * 300}) for number in range(500)]
    backend.write(batch[:1])
    for count in (1, 1_000, 100_000, 250_000):
        cut = proxy.cut_after(count)
        with pytest.raises(BackendUnavailable):
            backend.write(batch)
        assert cut.is_set()
    assert backend.write(batch) == {write.id: 1 for write in batch}
    assert len(backend.read([write.id for write in batch])) == 500


# Who listens.


def test_a_listener_that_was_cut_off_connects_again_and_reports_that_it_may_have_missed_something(
    redis: Redis, backend: RedisBackend
) -> None:
    observer, lost = RecordingObserver(), Event()
    listener = backend.subscribe(observer.notify_all, lost.set)
    listener.add(["job", "other"])
    for _ in range(3):
        assert not lost.is_set()
        with closing(redis.client()) as client:
            assert client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        assert lost.wait(PATIENCE)
        lost.clear()
        backend.write([start("job")])
        observer.wait_for(lambda progress: progress.version.run == backend.read(["job"])["job"].version.run)
        backend.write([update("job", 2, state=State.FAILED)])
        observer.wait_for(lambda progress: progress.done)


def test_a_listener_comes_back_after_a_restart(redis: Redis, backend: RedisBackend) -> None:
    asked, lost = list[str](), Event()
    backend.subscribe_cancels(asked.extend, lost.set).add(["job"])
    redis.kill()
    redis.start()
    assert lost.wait(PATIENCE)
    after_outage(lambda: backend.write([start("job")]))
    assert backend.request_cancel(["job"]) == {"job"}
    wait_until(lambda: asked == ["job"])


def test_a_connection_that_leads_nowhere_is_noticed_and_replaced(
    redis: Redis, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "progresskit")
    backend = stack.enter_context(closing(RedisBackend(redis.url)))
    observer, lost = RecordingObserver(), Event()
    backend.subscribe(observer.notify_all, lost.set).add(["job"])
    monkeypatch.setattr(listeners, "PING_SECONDS", 0.2)
    monkeypatch.setattr(listeners, "ANSWER_SECONDS", 2.0)
    backend.write([start("job")])  # by which the thread looks up, and goes by these from then on
    observer.wait_for(lambda progress: progress.id == "job")
    redis.pause()
    try:
        wait_until(lambda: "the server does not answer" in caplog.text)
        assert not lost.is_set()
    finally:
        redis.resume()
    assert lost.wait(PATIENCE)


def test_a_silent_connection_that_is_alive_is_kept(
    redis: Redis, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "PING_SECONDS", 0.05)
    backend = stack.enter_context(closing(RedisBackend(redis.url)))
    lost = Event()
    backend.subscribe(lambda records: None, lost.set).add(["job"])
    with closing(redis.client()) as client:
        before = client.info("commandstats")["cmdstat_ping"]["calls"]
        wait_until(lambda: client.info("commandstats")["cmdstat_ping"]["calls"] >= before + 5)
    assert not lost.is_set()


def test_a_listener_that_is_too_slow_is_cut_off_by_the_server_and_gets_the_newest_then(
    redis: Redis, backend: RedisBackend
) -> None:
    with closing(redis.client()) as client:
        client.config_set("client-output-buffer-limit", "pubsub 65536 65536 1")
    held, lost, observer = Event(), Event(), RecordingObserver()

    def notify(records: Any) -> None:
        held.wait(PATIENCE)
        observer.notify_all(records)

    backend.subscribe(notify, lost.set).add(["job"])
    backend.write([start("job")])
    with closing(redis.client()) as client:
        seq = 1
        while client.pubsub_numsub("progresskit:job:job")[0][1]:
            seq += 1
            backend.write([update("job", seq, current=seq, meta={"x": "y" * 7_000})])
    held.set()
    assert lost.wait(PATIENCE)
    assert backend.read(["job"])["job"].current == seq
    assert len(observer.records) < seq


def test_an_error_in_who_is_notified_ends_nothing(backend: RedisBackend, caplog: pytest.LogCaptureFixture) -> None:
    received = list[int]()

    def notify(records: Any) -> None:
        received.extend(progress.version.seq for progress in records)
        raise RuntimeError("of the one who listens")

    backend.subscribe(notify, lambda: None).add(["job"])
    for seq in (1, 2, 3):
        backend.write([update("job", seq)])
        wait_until(lambda seq=seq: seq in received)  # type: ignore[misc]
    assert "of the one who listens" in caplog.text


# Forks, ends, leaks.


def test_nothing_is_left_of_backends_and_listeners_that_were_closed(redis: Redis) -> None:
    before = connections(redis)
    descriptors, running = len(os.listdir("/proc/self/fd")), set(threads())
    for number in range(30):
        with closing(RedisBackend(redis.url)) as backend:
            listeners = [backend.subscribe(lambda records: None, lambda: None) for _ in range(2)]
            for listener in listeners:
                listener.add([f"job-{number}", "job"])
                listener.remove(["job"])
            backend.subscribe_cancels(lambda ids: None, lambda: None).add(["job"])
            backend.write([start("job")])
            listeners[0].close()
    wait_until(lambda: connections(redis) == before)
    # What tests before this one have left may come to its end meanwhile.
    wait_until(lambda: set(threads()) <= running)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_channels_that_nobody_watches_any_more_are_left(redis: Redis, backend: RedisBackend) -> None:
    listener = backend.subscribe(lambda records: None, lambda: None)
    listener.add(["a", "b"])
    listener.add(["b", "c"])
    listener.remove(["b", "never"])
    with closing(redis.client()) as client:
        wait_until(lambda: {*client.pubsub_channels()} == {b"progresskit:job:a", b"progresskit:job:c"})


def test_all_subscriptions_share_one_connection_and_end_by_themselves(redis: Redis, backend: RedisBackend) -> None:
    observers = [RecordingObserver(), RecordingObserver()]
    subscriptions = [backend.subscribe(observer.notify_all, lambda: None) for observer in observers]
    asked = list[str]()
    for subscription in (*subscriptions, backend.subscribe_cancels(asked.extend, lambda: None)):
        subscription.add(["job"])
    backend.write([start("job")])
    for observer in observers:
        observer.wait_for(lambda progress: progress.id == "job")
    with closing(redis.client()) as client:
        assert len(client.client_list(_type="pubsub")) == 1
    subscriptions[0].close()
    backend.write([update("job", 2)])
    observers[1].wait_for(lambda progress: progress.version.seq == 2)
    assert {progress.version.seq for progress in observers[0].records} == {1}
    assert backend.request_cancel(["job"]) == {"job"}
    wait_until(lambda: asked == ["job"])


def test_a_listener_can_be_watched_and_unwatched_over_and_over(backend: RedisBackend) -> None:
    observer = RecordingObserver()
    listener = backend.subscribe(observer.notify_all, lambda: None)
    for seq in range(1, 60):
        listener.add(["job"])
        backend.write([update("job", seq)])
        observer.wait_for(lambda progress, seq=seq: progress.version.seq == seq)  # type: ignore[misc]
        listener.remove(["job"])


def test_a_forked_child_listens_for_itself_and_leaves_its_parent_alone(redis: Redis, backend: RedisBackend) -> None:
    observer = RecordingObserver()
    listener = backend.subscribe(observer.notify_all, lambda: None)
    listener.add(["job"])
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            backend.after_fork_in_child()
            listener.close()
            mine = RecordingObserver()
            backend.subscribe(mine.notify_all, lambda: None).add(["job"])
            backend.write([start("job", description="from the child")])
            mine.wait_for(lambda progress: progress.description == "from the child")
            backend.close()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    observer.wait_for(lambda progress: progress.description == "from the child")
    backend.write([start("job", description="from the parent", token="parent")])
    observer.wait_for(lambda progress: progress.description == "from the parent")


def test_a_backend_that_was_closed_can_be_used_again(backend: RedisBackend) -> None:
    backend.write([start("job")])
    backend.close()
    backend.close()
    assert backend.read(["job"]).keys() == {"job"}


# Sentinels.


def test_a_failover_is_followed_by_writers_readers_and_listeners(redis: Redis, stack: ExitStack) -> None:
    replica = stack.enter_context(Redis(settings=[f"replicaof 127.0.0.1 {redis.port}"]))
    sentinel = stack.enter_context(Sentinel(redis))
    with closing(sentinel.client()) as watcher:
        wait_until(lambda: watcher.sentinel_slaves("main"))
    after_sync(replica, lambda: None)
    backend = stack.enter_context(closing(RedisBackend(sentinel.url)))
    observer, lost = RecordingObserver(), Event()
    backend.subscribe(observer.notify_all, lost.set).add(["job"])
    backend.write([start("job")])
    redis.kill()
    with pytest.raises(BackendUnavailable):
        backend.write([update("job", 2)])
    assert after_outage(lambda: backend.write([update("job", 2)])) == {"job": 1}
    assert lost.wait(PATIENCE)
    backend.write([update("job", 3)])
    observer.wait_for(lambda progress: progress.version.seq == 3)
    with closing(replica.client()) as client:
        assert client.exists("progresskit:job:job")


# Clusters.


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


def nodes(cluster: RedisCluster, stack: ExitStack) -> list[Any]:
    return [stack.enter_context(closing(node.client())) for node in cluster.nodes]


def slot_of(client: Any, key: str) -> int:
    return int(client.execute_command("CLUSTER", "KEYSLOT", key))


class Move:
    """A slot on its way from one node of three to another."""

    def __init__(self, cluster: RedisCluster, clients: list[Any], slot: int, source: int, target: int) -> None:
        self._cluster, self._clients, self._slot, self._source, self._target = cluster, clients, slot, source, target
        self._names = [client.execute_command("CLUSTER", "MYID").decode() for client in clients]

    def begin(self) -> None:
        """Have keys that are not there looked for at the target."""
        self._set(self._target, "IMPORTING", self._source)
        self._set(self._source, "MIGRATING", self._target)

    def carry(self) -> None:
        """Bring the keys over."""
        source, port = self._clients[self._source], self._cluster.nodes[self._target].port
        while keys := source.execute_command("CLUSTER", "GETKEYSINSLOT", self._slot, 100):
            source.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5_000, "KEYS", *keys)

    def end(self) -> None:
        """Give the slot to the target."""
        for number in (self._target, self._source, 3 - self._target - self._source):
            self._set(number, "NODE", self._target)

    def _set(self, number: int, what: str, node: int) -> None:
        self._clients[number].execute_command("CLUSTER", "SETSLOT", self._slot, what, self._names[node])


def test_a_slot_that_moves_is_followed_by_writers_readers_and_listeners(
    cluster: RedisCluster, stack: ExitStack
) -> None:
    backend = stack.enter_context(closing(RedisBackend(cluster.fresh())))
    clients = nodes(cluster, stack)
    ids = [f"job-{number}" for number in range(100)]
    observer = RecordingObserver()
    backend.subscribe(observer.notify_all, lambda: observer.notify_all(backend.read(ids).values())).add(ids)
    backend.write([start(id) for id in ids])
    key = next(key for client in clients for key in client.scan_iter("*:job:job-7")).decode()
    slot = slot_of(clients[0], key)
    source = owner(clients, key)
    target = (source + 1) % 3
    move = Move(cluster, clients, slot, source, target)
    move.begin()
    assert backend.read(ids).keys() == {*ids}, "all keys are where they were"
    with pytest.raises(BackendUnavailable):  # its index is here, and a new job would be there
        backend.write([start(id, token="new") for id in fresh_in(slot, clients[0], key)])
    move.carry()
    assert backend.read(ids).keys() == {*ids}, "they are asked for where they go"
    move.end()
    assert after_outage(lambda: backend.write([update(id, 2) for id in ids])).keys() == {*ids}
    backend.write([update(id, 3) for id in ids])
    wait_until(lambda: {p.id for p in observer.records if p.version.seq == 3} == {*ids})
    assert owner(clients, key) == target
    assert {progress.id for progress in backend.list(kind=None, states=None, limit=200)} == {*ids}


def test_who_listens_to_nothing_else_on_the_node_that_has_taken_a_slot_is_notified_that_something_may_be_missing(
    cluster: RedisCluster, stack: ExitStack
) -> None:
    backend = stack.enter_context(closing(RedisBackend(cluster.fresh())))
    clients = nodes(cluster, stack)
    lost = Event()
    backend.subscribe(lambda records: None, lost.set).add(["job"])
    backend.write([start("job")])
    key = backend._shards.of("job").indexes[0].decode()
    source = owner(clients, key)
    move = Move(cluster, clients, slot_of(clients[0], key), source, (source + 1) % 3)
    for act in (move.begin, move.carry, move.end):
        act()
    assert lost.wait(PATIENCE)


def test_a_slot_that_has_moved_with_all_that_is_in_it_is_not_reported_as_a_loss(
    cluster: RedisCluster, stack: ExitStack
) -> None:
    backend = stack.enter_context(closing(RedisBackend(cluster.fresh())))
    clients = nodes(cluster, stack)
    ids = [f"job-{number}" for number in range(100)]
    for seq in range(1, 4):
        backend.write([start(id) if seq == 1 else update(id, seq) for id in ids])
        key = backend._shards.of("job-7").indexes[0].decode()
        source = owner(clients, key)
        move = Move(cluster, clients, slot_of(clients[0], key), source, (source + 1) % 3)
        for act in (move.begin, move.carry, move.end):
            act()
        for client in clients:
            client.client_kill_filter(_type="normal", skipme=True)
    assert {progress.version.seq for progress in backend.read(ids).values()} == {3}


def test_a_node_that_was_restarted_unseen_is_reported_by_whichever_job_is_written_first(stack: ExitStack) -> None:
    cluster = stack.enter_context(RedisCluster())
    backend = stack.enter_context(closing(RedisBackend(cluster.url)))
    clients = nodes(cluster, stack)
    old, new = [
        [id for number in range(20) if owner_of(clients, backend, id := f"{name}-{number}") == 2]
        for name in ("old", "new")
    ]
    new = [id for id in new if backend._shards.of(id) not in map(backend._shards.of, old)]
    backend.write([start(id) for id in old])
    cluster.nodes[2].kill()
    cluster.nodes[2].start()
    wait_until(lambda: b"cluster_state:ok" in clients[2].execute_command("CLUSTER", "INFO"))
    with pytest.raises(BackendUnavailable, match="another server has taken its place"):
        backend.write([start(id) for id in new])


def owner_of(clients: list[Any], backend: RedisBackend, id: str) -> int:
    """Return which node has a job that may not be there, where nothing was moved."""
    return slot_of(clients[0], backend._shards.of(id).indexes[0].decode()) * 3 // 16384


def owner(clients: list[Any], key: str) -> int:
    """Return which node has the key's slot."""
    slot = slot_of(clients[0], key)
    held = [client.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) for client in clients]
    return held.index(max(held))


def fresh_in(slot: int, client: Any, key: str) -> list[str]:
    """Return the id of a job that is not there yet, and whose key is in the slot."""
    base = key.partition(":job:")[0]
    backend = RedisBackend("redis+cluster://127.0.0.1:1")
    found = (id for number in range(100_000) if base in str(backend._shards.of(id := f"fresh-{number}").job(id)))
    return [next(found)]


def test_jobs_of_the_other_nodes_are_written_while_one_is_away(stack: ExitStack) -> None:
    cluster = stack.enter_context(RedisCluster())
    backend = stack.enter_context(closing(RedisBackend(cluster.url)))
    ids = [f"job-{number}" for number in range(200)]
    backend.write([start(id) for id in ids])
    clients = nodes(cluster, stack)
    there = {key.decode().rpartition(":")[2] for client in clients[:2] for key in client.scan_iter("*:job:*")}
    cluster.nodes[2].kill()
    with pytest.raises(BackendUnavailable):
        backend.write([update(id, 2) for id in ids])
    assert {progress.version.seq for progress in backend.read(there).values()} == {2}
    cluster.nodes[2].start()
    assert after_outage(lambda: backend.write([update(id, 2) for id in ids])).keys() == {*ids}
    assert {progress.version.seq for progress in backend.read(ids).values()} == {2}


def test_a_cluster_without_channels_of_shards_reports_by_those_of_all(stack: ExitStack) -> None:
    cluster = RedisCluster()
    for node in cluster.nodes:
        node._settings = [*node._settings, *(f'rename-command {name} ""' for name in ("SPUBLISH", "SSUBSCRIBE"))]
    stack.enter_context(cluster)
    backend = stack.enter_context(closing(RedisBackend(cluster.url)))
    observer = RecordingObserver()
    ids = [f"job-{number}" for number in range(20)]
    backend_listener = backend.subscribe(observer.notify_all, lambda: None)
    after_outage(lambda: backend_listener.add(ids))
    backend.write([start(id) for id in ids])
    observer.wait_for(lambda progress: {progress.id for progress in observer.records} == {*ids})
