"""Redis: alone, with TLS, with passwords, as a cluster of three nodes, and watched over by sentinels."""

from __future__ import annotations

from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .ports import free_port
from .server import Server
from .waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

DATABASES = 512


class Redis(Server):
    """
    A Redis.

    `persistent` stores each command on disk before it is answered; otherwise nothing outlives the process. `password`
    is that of the default user, `acl` are lines such as `alice on >secret ~* &* +@all`, `settings` are more lines of
    its configuration.
    """

    programs = ("redis-server",)

    def __init__(
        self,
        *,
        persistent: bool = False,
        tls: bool = False,
        password: str | None = None,
        acl: Sequence[str] = (),
        settings: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.persistent, self.tls, self.password = persistent, tls, password
        self._acl, self._settings = acl, settings
        self._databases = count(1)

    @property
    def url(self) -> str:
        return self.url_of(0)

    @property
    def socket(self) -> Path:
        """The socket for `unix://`."""
        return self.folder / "redis.sock"

    @property
    def authority(self) -> Path:
        """The certificate by which a client knows the server's, with `tls`."""
        return self.folder / "authority.pem"

    def url_of(self, database: int) -> str:
        """Return the address of a database by its number."""
        password = f":{quote(self.password, safe='')}@" if self.password else ""
        place = f"{password}127.0.0.1:{self.port}/{database}"
        return f"rediss://{place}?ssl_ca_certs={self.authority}" if self.tls else f"redis://{place}"

    def fresh(self) -> str:
        database = next(self._databases) % DATABASES
        with closing(self.client(db=database)) as client:
            client.flushdb()
        return self.url_of(database)

    def client(self, **options: Any) -> Any:
        """Return a client of redis-py, by the socket, as the user who may do everything."""
        from redis import Redis as Client

        return Client(unix_socket_path=str(self.socket), password=self.password, **options)

    def command(self) -> Sequence[str]:
        return [self.program("redis-server"), str(self.folder / "redis.conf")]

    def ping(self) -> None:
        with closing(self.client()) as client:
            client.ping()

    def prepare(self) -> None:
        (self.folder / "redis.conf").write_text("\n".join(self.configuration()) + "\n")

    def configuration(self) -> list[str]:
        """Return the lines of its configuration."""
        return [
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"unixsocket {self.socket}",
            *([] if "cluster-enabled yes" in self._settings else [f"databases {DATABASES}"]),
            'save ""',
            *(["appendonly yes", "appendfsync always"] if self.persistent else ["appendonly no"]),
            *(self._certificate() if self.tls else [f"port {self.port}"]),
            *([f'requirepass "{self.password}"'] if self.password else []),
            *(f"user {line}" for line in self._acl),
            *self._settings,
        ]

    def _certificate(self) -> list[str]:
        import trustme

        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(str(self.authority))
        key, chain = self.folder / "server.key", self.folder / "server.pem"
        issued.private_key_pem.write_to_path(str(key))
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return [
            "port 0",
            f"tls-port {self.port}",
            f"tls-cert-file {chain}",
            f"tls-key-file {key}",
            f"tls-ca-cert-file {self.authority}",
            "tls-auth-clients no",
        ]


class Sentinel(Redis):
    """A sentinel that watches over a Redis under the name `main`."""

    def __init__(self, master: Redis, *, quorum: int = 1) -> None:
        super().__init__()
        self._master, self._quorum = master, quorum

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/main/0"

    def fresh(self) -> str:
        raise NotImplementedError("a sentinel stores nothing")

    def command(self) -> Sequence[str]:
        return [*super().command(), "--sentinel"]

    def configuration(self) -> list[str]:
        return [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"dir {self.folder}",
            f"unixsocket {self.socket}",
            f"sentinel monitor main 127.0.0.1 {self._master.port} {self._quorum}",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 2000",
        ]


class RedisCluster:
    """A cluster of three Redis nodes, without replicas."""

    def __init__(self) -> None:
        self._buses = [free_port() for _ in range(3)]  # by default a port is taken that need not be free
        # A node that is slow for seconds, with the whole machine, is not to be given up by the others.
        settings = ["cluster-enabled yes", "cluster-node-timeout 30000", "cluster-require-full-coverage no"]
        self.nodes = [Redis(settings=[*settings, f"cluster-port {bus}"]) for bus in self._buses]
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """The address of the cluster by way of its first node."""
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def fresh(self) -> str:
        """Empty the cluster, which has no databases, and return its address."""
        for node in self.nodes:
            with closing(node.client()) as client:
                client.flushall()
        return self.url

    def start(self) -> None:
        """Start the nodes for the first time, and make them one cluster."""
        with ExitStack() as running:
            clients = []
            for node in self.nodes:
                running.enter_context(node)
                clients.append(running.enter_context(closing(node.client())))
            bounds = (0, 5461, 10923, 16384)
            for client, first, end in zip(clients, bounds, bounds[1:], strict=False):
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            for node, bus in zip(self.nodes[1:], self._buses[1:], strict=True):
                clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
            wait_until(lambda: all(map(_is_whole, clients)), "the cluster is whole")
            self._running = running.pop_all()

    def stop(self) -> None:
        """End the nodes."""
        self._running.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _is_whole(client: Any) -> bool:
    info = client.execute_command("CLUSTER", "INFO").split()
    return {b"cluster_state:ok", b"cluster_known_nodes:3", b"cluster_slots_ok:16384"}.issubset(info)
