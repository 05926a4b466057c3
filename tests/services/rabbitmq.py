"""RabbitMQ, with a port mapper of its own; a store is a virtual host."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from base64 import b64decode
from collections import deque
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ports import free_port
from .process import Process
from .server import Server
from .waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT = 6
"""How many stores are kept: each costs the broker memory, and time at each start."""

CONFIGURATION = """
[{{rabbit, [
  {{tcp_listeners, [{{"127.0.0.1", {server.port}}}]}},
  {{disk_free_limit, 50000000}},
  {{log, [{{file, [{{file, false}}]}}, {{console, [{{enabled, true}}]}}]}}
  {more}
 ]}}
].
"""

GUEST, ALL = '<<"guest">>', '<<".*">>'

STREAM = """
{new, _} = rabbit_amqqueue:declare(
    rabbit_misc:r(<<"/">>, queue, <<"first">>), true, false,
    [{<<"x-queue-type">>, longstr, <<"stream">>}], none, <<"guest">>),
[ok = dets:sync(Table) || Table <- dets:all()], ok"""
"""Makes a stream, and has it written down at once that there are streams."""

QUEUES = """
base64:encode_to_string(rabbit_json:encode([
    #{{name => Name, exclusive => Exclusive, arguments => [Argument || {{Argument, _, _}} <- Arguments]}}
    || [{{name, {{resource, _, queue, Name}}}}, {{exclusive, Exclusive}}, {{arguments, Arguments}}]
    <- rabbit_amqqueue:info_all(<<"{host}">>, [name, exclusive, arguments])]))"""

ERLANG = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


class RabbitMQ(Server):
    """
    A RabbitMQ; `settings` are more of its own, in Erlang's terms: `{max_message_size, 1000}`.

    It has no plugin: that of management doubles the time in which it starts.
    """

    programs = ("rabbitmq-server", "epmd", "erl_call")

    def __init__(self, *, settings: Sequence[str] = ()) -> None:
        super().__init__()
        self._settings = settings
        self._hosts = count(1)
        self._kept = deque[str]()
        self._distribution, self._mapping = free_port(), free_port()
        self._mapper: Process | None = None

    @classmethod
    def find(cls, program: str) -> str | None:
        """Find a program; those on Debian's path insist on their own user, and hand over to these."""
        behind = Path("/usr/lib/rabbitmq/bin", program)
        return str(behind) if behind.exists() else super().find(program)

    @property
    def url(self) -> str:
        return self.url_of("%2F")

    def url_of(self, host: str) -> str:
        """Return the address of a virtual host by its name."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{host}"

    def fresh(self) -> str:
        host, old = f"store-{next(self._hosts)}", ""
        self._kept.append(host)
        if len(self._kept) > KEPT:
            old = f'rabbit_vhost:delete(<<"{self._kept.popleft()}">>, {GUEST}),'
        self.evaluate(f'{old} ok = rabbit_vhost:add(<<"{host}">>, {GUEST}),' + permitted(GUEST, host, ALL))
        return self.url_of(host)

    def evaluate(self, expressions: str) -> None:
        """Have the broker evaluate Erlang expressions, of which the last is `ok`; raises RuntimeError if it is not."""
        answer = self._call(expressions)
        if answer != "ok":
            raise RuntimeError(f"{expressions} gave {answer}")

    def connections(self) -> int:
        """Return how many clients are connected."""
        return int(self._call("length(rabbit_networking:connections())"))

    def queues(self, url: str) -> list[dict[str, Any]]:
        """Return the queues of a store: of each its name, whether it is exclusive, and the names of its arguments."""
        encoded = self._call(QUEUES.format(host=host_of(url)))
        queues: list[dict[str, Any]] = json.loads(b64decode(encoded.strip('"')))
        return queues

    def add_user(self, name: str, password: str, url: str, pattern: str) -> None:
        """Make a user, who may do everything with what matches the pattern in a store."""
        escaped = pattern.replace("\\", "\\\\")
        self.evaluate(
            f'ok = rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{password}">>, {GUEST}),'
            + permitted(f'<<"{name}">>', host_of(url), f'<<"{escaped}">>')
        )

    def delete_user(self, name: str) -> None:
        """Let a user be gone."""
        self.evaluate(f'rabbit_auth_backend_internal:delete_user(<<"{name}">>, {GUEST})')

    def _call(self, expressions: str) -> str:
        """Return what the last of some Erlang expressions gives in the broker; raises RuntimeError if they fail."""
        cookie = (self.folder / ".erlang.cookie").read_text()
        call = [self.program("erl_call"), "-c", cookie, "-address", f"127.0.0.1:{self._distribution}", "-e"]
        result = subprocess.run(
            call, check=False, input=f"{expressions}.\n", text=True, capture_output=True, timeout=PATIENCE
        )
        if result.returncode or not result.stdout.startswith("{ok, "):
            raise RuntimeError(f"{expressions} failed:\n{result.stdout}{result.stderr}")
        return result.stdout.strip().removeprefix("{ok, ").removesuffix("}")

    def limit_memory(self, share: float = 0.4) -> None:
        """Let it have so much of the machine's memory, as `rabbitmqctl` does but without starting another Erlang."""
        self._alarm(f"vm_memory_monitor:set_vm_memory_high_watermark({share:f})")

    def need_disk(self, limit: str = "50MB") -> None:
        """Let it need so much free disk, likewise."""
        self._alarm(f'rabbit_disk_monitor:set_disk_free_limit("{limit}")')

    def _alarm(self, limit: str) -> None:
        """Set a limit; once the process of the alarms answers, it has notified all connections of a new one."""
        self.evaluate(f"ok = {limit}, rabbit_alarm:get_alarms(), ok")

    @property
    def _node(self) -> str:
        return f"progresskit-{self.port}@localhost"

    def command(self) -> Sequence[str]:
        return [str(self._home / "sbin" / "rabbitmq-server")]

    @property
    def _home(self) -> Path:
        return self.folder / "home"

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return inherited | {
            "HOME": str(self.folder),  # the cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapping),
            "RABBITMQ_SCRIPTS_DIR": str(self._home / "sbin"),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.config"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
            "RUNNING_UNDER_SYSTEMD": "true",  # the broker takes the place of the script that starts it
        }

    def ping(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            assert connection.recv(1) == b"\x01"

    def prepare(self) -> None:
        # In Erlang's own terms: the other format is translated again at each start, which takes seconds.
        more = "".join(f", {term}" for term in self._settings)
        (self.folder / "rabbitmq.config").write_text(CONFIGURATION.format(server=self, more=more))
        (self.folder / "enabled_plugins").write_text("[].\n")
        self._furnish()
        mapper = [self.program("epmd"), "-port", str(self._mapping), "-address", "127.0.0.1"]
        self._mapper = Process(mapper, self.folder, log="epmd.log", env=self.environment())
        wait_until(self._is_mapped, "the port mapper answers")

    def _furnish(self) -> None:
        """
        Make a home with those libraries only that are needed.

        Erlang looks for each of its modules in the folder of one library after the other, and there are dozens: half of
        the time in which the broker starts.
        """
        whole = Path(self.program("rabbitmq-server")).resolve().parent.parent
        for name in ("sbin", "plugins"):
            (self._home / name).mkdir(parents=True)
        for script in (whole / "sbin").iterdir():
            (self._home / "sbin" / script.name).symlink_to(script)
        (self._home / "escript").symlink_to(whole / "escript")
        for library in libraries(whole / "plugins", ["rabbit"]):
            (self._home / "plugins" / library.name).symlink_to(library)

    def populate(self) -> None:
        # RabbitMQ 3.10 never finds its streams again if it is killed in the first seconds after the very first of them.
        self.evaluate(STREAM)

    def _is_mapped(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._mapping), timeout=2).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if os.getpid() == self._owner:
            self.kill()
            if self._mapper is not None:
                self._mapper.kill()
                self._mapper = None
            super().stop()


def host_of(url: str) -> str:
    """Return the name of the virtual host at an address."""
    return url.rpartition("/")[2]


def permitted(user: str, host: str, pattern: str) -> str:
    """Return the expression by which a user may do everything with what matches, both as Erlang's terms."""
    return f'rabbit_auth_backend_internal:set_permissions({user}, <<"{host}">>, {", ".join([pattern] * 3)}, {GUEST})'


def libraries(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return where those libraries are, with all that they need and that lies there as well."""
    paths = {path.name.rpartition("-")[0]: path for path in folder.iterdir()}
    found = list[Path]()
    queue = [*names]
    for name in queue:
        if name in paths:
            path = paths[name]
            found.append(path)
            needed = re.search(r"{applications,\s*\[(.*?)\]}", (path / "ebin" / f"{name}.app").read_text(), re.DOTALL)
            assert needed is not None
            queue += [each for each in re.findall(r"\w+", needed[1]) if each not in queue]
    return found
