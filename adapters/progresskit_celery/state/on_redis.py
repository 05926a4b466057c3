"""Redis: a script compares and sets, so that each edit is one step."""

from __future__ import annotations

import email.parser  # noqa: F401 - else redis-py does, in the first thread that connects
import json
import secrets  # noqa: F401 - likewise
from functools import cached_property, partial
from hashlib import sha1
from importlib.resources import files
from json.encoder import encode_basestring_ascii
from math import ceil
from threading import Lock, local
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from celery.backends.base import KeyValueStoreBackend
from celery.backends.redis import redis

from progresskit.backends import keep_inherited
from progresskit.backends.channels import ChannelSubscription, new_connection
from progresskit.backends.prompt import PromptConnection, PromptConnections, Script
from progresskit.backends.replies import ErrorReply
from progresskit.backends.stores import ServerClock, retry_conflicts
from progresskit.errors import BackendError, BackendUnavailable
from progresskit.urls import describe

from .store import PROGRESS, Change, KeyValueStore, Meta

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

    from .opening import Opening
    from .store import Edit

Answer = TypeVar("Answer")

CONNECT_SECONDS, CALL_SECONDS = 2.0, 5.0

PIECE = 200
"""How many results a script stores, and blocks the server for, at once."""

KNOWN_RESULTS = 1_000
"""How many results of running jobs, and of their tasks, are remembered as this process has stored them."""

PASSING = frozenset(
    ["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN"]
)
"""The first words of answers after which the same may succeed later."""

FAILURES = (redis.exceptions.RedisError, ErrorReply, OSError)
"""The errors of calls, by the client or on a connection of our own."""


OPEN, SWAP = (Script.of(files(__package__).joinpath(name).read_bytes()) for name in ("open.lua", "swap.lua"))


class _Swap(NamedTuple):
    """A change of a result: the SHA-1 of the stored one ('' for none), and the parts of its job as read, by name."""

    id: str
    key: bytes
    before: str
    parts: Mapping[str, bytes | None]
    change: Change


class _Known(NamedTuple):
    """A result that this process has stored: the SHA-1 of its bytes, and the result as a read returns it."""

    sha: str
    meta: Meta


class _MirrorFrame(NamedTuple):
    """The JSON of a running task's state before and after the part that changes, while it has so many children."""

    children: int
    before: bytes
    after: bytes


class RedisStore(KeyValueStore):
    """
    Uses a client of its own, made as Celery makes one, because Celery's waits for two minutes and tries again for long.
    """

    def __init__(self, app: Any, clock: Callable[[], float] | None) -> None:
        super().__init__(app, clock)
        self._lock = Lock()
        self._client: Any = None
        self._subscriptions: set[ChannelSubscription] = set()
        self._server_clock = ServerClock(clock)
        self._prompt = PromptConnections(lambda: self.connection(None))
        self._thread = local()
        self._known: dict[str, _Known] = {}
        self._mirror_frames = WeakKeyDictionary[Any, _MirrorFrame]()  # by the request of an execution

    def client(self) -> Any:
        """Return the client, which several threads may use."""
        with self._lock:
            if self._client is None:
                self._client = self._backend._create_client(**self._parameters())
            return self._client

    def _parameters(self) -> dict[str, Any]:
        given: dict[str, Any] = self._backend.connparams
        ours: dict[str, Any] = {
            "socket_timeout": min(given.get("socket_timeout") or CALL_SECONDS, CALL_SECONDS),
            "max_connections": None,
            "retry_on_timeout": False,
            "decode_responses": False,
            "protocol": 2,
        }
        if "host" in given or "hosts" in given:  # not through a Unix socket
            connect = given.get("socket_connect_timeout") or CONNECT_SECONDS
            ours["socket_connect_timeout"] = min(connect, CONNECT_SECONDS)
        return given | ours

    def call_within(self, seconds: float, call: Callable[[], Answer]) -> Answer | None:
        """
        Make a call that waits no longer than that for answers of the server.

        Returns None, without the call, where there is no connection that was used before.
        """
        if self._client is None:
            return None
        try:
            with self._prompt.within(seconds) as connection:
                if connection is None:
                    return None
                self._thread.connection = connection
                try:
                    return call()
                finally:
                    self._thread.connection = None
        except FAILURES as error:
            raise self.translated(error) from error

    def _execute(self, *commands: Sequence[Any]) -> list[Any]:
        """Return the answers to commands, which are sent together."""
        prompt: PromptConnection | None = getattr(self._thread, "connection", None)
        if prompt is not None:
            return prompt.execute(*commands)
        if self._client is not None:  # the first call needs no second connection
            with self._prompt.kept() as kept:
                if kept is not None:
                    return kept.execute(*commands)
        with self.client().pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            answers: list[Any] = pipe.execute()
            return answers

    def _call(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Any]) -> Any:
        """Return the answer of a script, which the server is sent if it does not know it."""
        command = (b"EVALSHA", script.sha, len(keys), *keys, *arguments)
        try:
            [answer] = self._execute(command)
        except (redis.exceptions.NoScriptError, ErrorReply) as error:
            if isinstance(error, ErrorReply) and not error.is_unknown_script:
                raise
            self.client().script_load(script.text)
            [answer] = self._execute(command)
        return answer

    def translated(self, error: Exception) -> BackendError:
        """Return the kit's error for one of the client library."""
        if isinstance(error, BackendError):
            return error
        errors = redis.exceptions
        gone = isinstance(error, (errors.ConnectionError, errors.TimeoutError, errors.ReadOnlyError, OSError))
        full = type(error).__name__ == "OutOfMemoryError"  # which redis-py has since 5.1
        passing = gone or full or not PASSING.isdisjoint(str(error).split())
        return (BackendUnavailable if passing else BackendError)(f"{self}: {describe(error, self._url)}")

    def now(self) -> float:
        """Return the time by the server's last answer, without a call."""
        return self._server_clock.now

    def _load(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], float]:
        values, _, now = self._load_with_parts(keys, {})
        return values, now

    def _load_with_parts(
        self, keys: Sequence[bytes], names: Mapping[bytes, Sequence[str]]
    ) -> tuple[list[bytes | None], dict[bytes, list[bytes | None]], float]:
        """Return the results of the keys, then those parts of jobs that `names` has by key, and the time."""
        pieces = [("MGET", *keys[begin : begin + PIECE]) for begin in range(0, len(keys), PIECE)]
        parts = [("HMGET", _parts_key(key), *those) for key, those in names.items()]
        (seconds, microseconds), *answers = self._execute(("TIME",), *pieces, *parts)
        self._server_clock.set(int(seconds) + int(microseconds) / 1e6)
        values = [value for piece in answers[: len(pieces)] for value in piece]
        return values, dict(zip(names, answers[len(pieces) :], strict=True)), self.now()

    def read(self, ids: Collection[str]) -> tuple[dict[str, Meta], float]:
        """Read all in one round trip."""
        try:
            values, now = self._load([self._key(id) for id in ids])
        except FAILURES as error:
            raise self.translated(error) from error
        found = zip(ids, map(self._decode, values), strict=True)
        return {id: meta for id, meta in found if meta is not None}, now

    @cached_property
    def _key_prefix(self) -> bytes | None:
        """The beginning of the keys of all results, before the id; None where the site has keys of its own."""
        kind, names = type(self._backend), ("get_key_for_task", "_get_key_for")
        if any(getattr(kind, name, None) is not getattr(KeyValueStoreBackend, name, None) for name in names):
            return None
        key: bytes = super()._key("id")
        return key.removesuffix(b"id")

    def _key(self, id: str) -> Any:
        prefix = self._key_prefix
        return super()._key(id) if prefix is None else prefix + id.encode()

    @cached_property
    def _frame(self) -> tuple[bytes, bytes, bytes] | None:
        """The JSON of a result before its text, from there to its id, and after that; None where it is no JSON."""
        if self._backend.serializer != "json":
            return None
        before, _, rest = super()._encode("the id", Change("the text")).partition(b'"the text"')
        between, _, after = rest.partition(b'"the id"')
        return (before, between, after) if before.startswith(b"{") and after else None  # it may be compressed

    def _encode(self, id: str, change: Change) -> bytes:
        if self._frame is None:
            return super()._encode(id, change)
        result = json.dumps(change.result).encode()
        if change.request is not None:
            frame = self._mirror_frame(id, change.request)
            return frame.before + result + frame.after
        before, between, after = self._frame
        return b"%b%b%b%b%b" % (before, result, between, _quoted(id), after)

    def _mirror_frame(self, id: str, request: Any) -> _MirrorFrame:
        """Return that of an execution of a task, which takes Celery longer than all else of a change."""
        children = len(request.children or ())
        frame = self._mirror_frames.get(request)
        if frame is None or frame.children != children:
            before, _, after = super()._encode(id, Change("the text", request=request)).partition(b'"the text"')
            self._mirror_frames[request] = frame = _MirrorFrame(children, before, after)
        return frame

    def open(self, id: str, opening: Opening) -> int | None:
        """Store the only record of a run in one round trip; return the run, None where it has to be read before."""
        if self._frame is None:
            return None
        before, between, after = self._frame
        clock = b"" if self._clock is None else repr(float(self._clock())).encode()
        rest = b"%b%b%b%b" % (_quoted(opening.text)[1:], between, _quoted(id), after)
        run: int | None = self._call(OPEN, [self._key(id)], [clock, before + b'"', rest, opening.words.encode()])
        return run

    def change(self, edits: Mapping[str, Edit]) -> None:
        """
        Swap all in one round trip where this process has stored all of them last.

        Else read all, and swap all, in a round trip each; again those that another process has changed in between.
        """
        self.change_with_parts(edits, {})

    def change_with_parts(self, edits: Mapping[str, Edit], names: Mapping[str, Sequence[str]]) -> None:
        """Do the same; the edits of the ids in `names`, which are read, get the parts that have these names."""
        try:
            if names or not self._swap_known(edits):
                retry_conflicts(edits, partial(self._swap_all, edits, names), self)
        except FAILURES as error:
            raise self.translated(error) from error

    def _swap_known(self, edits: Mapping[str, Edit]) -> bool:
        """Swap all remembered results without reading them; return False, and store none, where that fails."""
        if not 0 < len(edits) <= PIECE or not self._server_clock.is_fresh:
            return False
        known = {id: result for id in edits if (result := self._known.get(id)) is not None}
        if len(known) < len(edits):
            return False
        now, swaps = self.now(), list[_Swap]()
        for id, result in known.items():
            change = edits[id](result.meta, now)
            if change is None:  # a remembered result may be outdated: no decision against a change is based on it
                return False
            swaps.append(_Swap(id, self._key(id), result.sha, {}, change))
        return not self._swap(swaps, all_or_none=True)

    def _swap_all(
        self, edits: Mapping[str, Edit], names: Mapping[str, Sequence[str]], left: Collection[str]
    ) -> list[str]:
        keys = {id: self._key(id) for id in left}
        asked = {keys[id]: names[id] for id in left if id in names}
        values, found, now = self._load_with_parts([*keys.values()], asked)
        swaps = list[_Swap]()
        for id, value in zip(left, values, strict=True):
            parts = dict(zip(names.get(id, ()), found.get(keys[id], ()), strict=True))
            meta = self._decode(value)
            if meta is not None and parts:
                meta = meta._replace(parts={name: text.decode() for name, text in parts.items() if text is not None})
            change = edits[id](meta, now)
            if change is not None:
                swaps.append(_Swap(id, keys[id], "" if value is None else _sha(value), parts, change))
        failed = list[str]()
        for begin in range(0, len(swaps), PIECE):
            failed += self._swap(swaps[begin : begin + PIECE])
        return failed

    def _swap(self, swaps: Sequence[_Swap], *, all_or_none: bool = False) -> list[str]:
        """Store the results that are still as they were; return the ids of those that are not stored."""
        values = [self._encode(swap.id, swap.change) for swap in swaps]
        keys = [
            *(swap.key for swap in swaps),
            *(_parts_key(swap.key) for swap in swaps if swap.change.parts is not None),
        ]
        arguments = [argument for pair in zip(swaps, values, strict=True) for argument in self._arguments(*pair)]
        seconds, microseconds, *numbers = self._call(SWAP, keys, [len(swaps), int(all_or_none), *arguments])
        self._server_clock.set(int(seconds) + int(microseconds) / 1e6)
        is_none_stored = all_or_none and bool(numbers)
        failed = [swap.id for swap in swaps] if is_none_stored else [swaps[number - 1].id for number in numbers]
        self._remember(swaps, values, failed)
        return failed

    def _remember(self, swaps: Sequence[_Swap], values: Sequence[bytes], failed: Collection[str]) -> None:
        """Remember the stored results of running jobs, and forget the others."""
        if len(self._known) >= KNOWN_RESULTS:
            self._known.clear()
        for swap, value in zip(swaps, values, strict=True):
            if swap.change.is_running and swap.id not in failed:
                change = swap.change
                self._known[swap.id] = _Known(_sha(value), Meta(PROGRESS, change.result, record=change.record))
            else:
                self._known.pop(swap.id, None)

    def _arguments(self, swap: _Swap, value: bytes) -> list[Any]:
        change = swap.change
        ttl = self._backend.expires if change.ttl is None else change.ttl
        milliseconds = max(ceil(ttl * 1000), 1) if ttl else 0
        channel = _cancel_channel(swap.key) if change.cancelling else ""
        fate = "" if change.parts is None else "stay" if change.keeps_parts else "go"
        parts = (change.parts or {}).items()
        swapped = [word for name, text in parts for word in (name, swap.parts.get(name) or "", text)]
        return [swap.before, value, milliseconds, int(change.is_pushed), channel, fate, len(parts), *swapped]

    # Push.

    clustered = False

    def place(self, channel: bytes) -> Hashable:
        """Return the one place there is."""
        return None

    def connection(self, place: Hashable) -> Any:
        """Return a new connection with the options of the client's own."""
        return new_connection(self.client())

    def refresh(self) -> None:
        """Do nothing: there is one server."""

    def follow(
        self, name: Callable[[str], str], on_results: Callable[[dict[str, Meta]], None], on_gap: Callable[[], None]
    ) -> ChannelSubscription:
        """Pass on each result that is stored of the watched jobs; `name` gives the id of a job's record."""

        def on_messages(messages: dict[str, bytes]) -> None:
            on_results({id: meta for id, payload in messages.items() if (meta := self._decode(payload)) is not None})

        return self._subscription(lambda id: self._key(name(id)), on_messages, on_gap)

    def follow_cancels(
        self, name: Callable[[str], str], on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> ChannelSubscription:
        """Pass on requests to cancel the jobs."""
        return self._subscription(lambda id: _cancel_channel(self._key(name(id))), on_cancel, on_gap)

    def _subscription(
        self,
        channel: Callable[[str], bytes],
        on_messages: Callable[[dict[str, bytes]], None],
        on_gap: Callable[[], None],
    ) -> ChannelSubscription:
        subscription = ChannelSubscription(self, channel, on_messages, on_gap, self._subscriptions.discard)
        self._subscriptions.add(subscription)
        return subscription

    def close(self) -> None:
        """Close the client and the subscriptions."""
        for subscription in [*self._subscriptions]:
            subscription.close()
        self._prompt.close()
        self._known.clear()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.connection_pool.disconnect()

    def after_fork_in_child(self) -> None:
        """Forget the client."""
        self._lock = Lock()
        keep_inherited(self._client, self._subscriptions)
        self._prompt.after_fork_in_child()
        self._client = None
        self._subscriptions = set()
        self._known = {}
        self._mirror_frames.clear()


def _quoted(text: str) -> bytes:
    return encode_basestring_ascii(text).encode()


def _sha(value: bytes) -> str:
    return sha1(value, usedforsecurity=False).hexdigest()


def _cancel_channel(key: bytes) -> bytes:
    return key + b":cancel"


def _parts_key(key: bytes) -> bytes:
    return key + b"/parts"  # no id of a job has a slash
