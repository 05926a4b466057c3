"""The application: HTTP and WebSocket below one prefix."""

from __future__ import annotations

from asyncio import get_running_loop
from html import escape
from typing import TYPE_CHECKING

from progresskit.errors import ConfigurationError
from progresskit.web import TOKEN_SECONDS, Surface, mount_path

from . import messages
from .connections import can_be_stepped
from .fanout import Fanout
from .sockets import Socket
from .streams import stream_connection

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from typing import Any

    from progresskit import Kit, Progress
    from progresskit.web import Hosts, JobId

    from .connections import Connection
    from .messages import Receive, Scope, Send


class ProgressApp:
    """
    Answers every request below its prefix; by default for the default kit.

    `url_prefix` is its public path: the addresses in pages begin with it. A framework that mounts the app passes the
    path in the scope too; without a mount, or with a dispatcher that leaves the path unchanged, the app strips the
    prefix itself. The `request` that is passed to `authorize` has `scope` and `headers`.

    Raises ConfigurationError for wrong settings. A backend in a Celery app, which may not be importable yet, is checked
    at its first use, or at the server's startup event.
    """

    def __init__(self, url_prefix: str = "/progress", *, kit: Kit | None = None) -> None:
        self._prefix = mount_path(url_prefix)
        self._surface = Surface(kit)
        self._surface.check()
        self._fanouts: dict[tuple[AbstractEventLoop, object], Fanout] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI 3."""
        match scope["type"]:
            case "http":
                # Of a stream, which lasts for hours, no more stays than is needed: not its request, and few frames.
                staying = await self._http(scope, receive, send)
                if staying is not None:
                    await self._stay(*staying, receive)
            case "websocket":
                await self._websocket(scope, receive, send)
            case "lifespan":
                await self._lifespan(receive, send)
            case other:
                raise ValueError(f"ASGI scopes of type {other!r} are not known")

    def progress_bar(
        self,
        id: JobId,
        cancel: bool = False,
        ttl: float = TOKEN_SECONDS,
        script: bool = True,
        *,
        user: Any = None,
        record: Progress | None = None,
    ) -> _Html:
        """
        Return the element that shows the job of that id, as HTML.

        `cancel` adds a button, and the right that it needs. The token is valid for `ttl` seconds, by default a day, and
        with a `user` for that user alone. `script` adds the component's script; a browser loads it once, however often
        a page names it. Browsers without JavaScript show the `record`: pass the result of `aget`. By default it is read
        in a thread; in an event loop, where reading would block, they show a link.
        """
        key = self._surface.key_of_bar(id, cancel, ttl, user)
        address, button = f"{self._prefix}/{key}/", " cancel" if cancel else ""
        fallback = self._surface.fallback(id, address, record)
        module = escape(f"{self._prefix}/progresskit.js")
        bar = f'<progress-bar src="{escape(address)}"{button}>{fallback}</progress-bar>'
        return _Html(f'{bar}<script type="module" src="{module}"></script>' if script else bar)

    def end_streams(self) -> None:
        """End all streams of this event loop, as a server does that is about to stop; browsers come again."""
        here = get_running_loop()
        for place, fanout in list(self._fanouts.items()):
            if place[0] is here:
                del self._fanouts[place]
                fanout.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> tuple[Connection, str | None] | None:
        """Answer; return the connection of a stream that stays open, and the client that a place was acquired for."""
        self._surface.warn_unshared()
        answer = await self._surface.aanswer(messages.request(scope, self._prefix, receive))
        await send(messages.start(answer.status, answer.headers))
        stream = answer.body
        if isinstance(stream, bytes):
            await send(messages.body(stream))
        elif stream.context.acquire(stream.client):
            return stream_connection(stream, send, stepped=can_be_stepped(receive, send)), stream.client
        else:
            await send(messages.body(await stream.snapshot()))
        return None

    async def _stay(self, connection: Connection, client: str | None, receive: Receive) -> None:
        try:
            fanout = self._fanout()
            try:
                fanout.join(connection)
                await connection.run(receive)
            finally:
                fanout.leave(connection)
        finally:
            self._surface.limiter.release(client)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = messages.request(scope, self._prefix)
        if request.path.removesuffix("/") != "ws" or not self._surface.serves_host_of(request):
            await _deny(send)
            return
        self._surface.warn_unshared()
        await Socket(self._surface.context(request), self._fanout, receive, send).run()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            try:
                self._surface.check(site_loaded=True)
            except ConfigurationError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": f"{message['type']}.complete"})
        self.end_streams()
        await send({"type": "lifespan.shutdown.complete"})

    def _fanout(self) -> Fanout:
        """Return that of this loop and of the current hub: the default kit may have been configured again."""
        for place, fanout in list(self._fanouts.items()):
            if place[0].is_closed() or not fanout.serves:
                self._fanouts.pop(place, None)
        place = get_running_loop(), self._surface.kit.hub
        if place not in self._fanouts:
            self._fanouts[place] = Fanout(self._surface.view())
        return self._fanouts[place]


def served_alone(url_prefix: str, kit: Kit, own_hosts: Hosts) -> ProgressApp:
    """Return the application for a server that has no other: requests are for its hosts, or for the allowed ones."""
    app = ProgressApp(url_prefix, kit=kit)
    app._surface.own_hosts = own_hosts
    return app


class _Html(str):
    """Text that is HTML already, as Jinja and Django understand it."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


async def _deny(send: Send) -> None:
    await send({"type": "websocket.close", "code": 1008})
