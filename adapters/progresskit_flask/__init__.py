"""
progresskit for Flask: the addresses that pages ask, and the template function that shows a bar.

    app.config["PROGRESSKIT_URL"] = "sqlite:////var/lib/site/progress.db"   # and any other setting of progresskit
    ProgressKit(app)                                                        # or init_app(app), once that is filled

    {{ progress_bar("import-42") }}

Keys are signed with SECRET_KEY, and those of SECRET_KEY_FALLBACKS are accepted, unless there is a
PROGRESSKIT_SECRET_KEY.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from progresskit.registry import needs_extra
from progresskit.web import TOKEN_SECONDS, Request, Server, Surface, host_settings, mount_path, wsgi_abort, wsgi_read

with needs_extra("progresskit_flask", "flask"):
    from flask import Flask, Response, copy_current_request_context, current_app, has_request_context, request, url_for
    from markupsafe import Markup
    from werkzeug.routing import BaseConverter

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Request as FlaskRequest

    from progresskit import Kit, Progress
    from progresskit.web import JobId

__all__ = ["ProgressKit", "signed_in"]

_SCRIPT_IS_THERE = "progresskit.script_is_there"


class _AnyPath(BaseConverter):
    """All that is left of a path, be it empty."""

    regex = r"[\s\S]*"
    part_isolating = False


class ProgressKit:
    """
    The extension: serves the HTTP surface below `url_prefix`, and adds `progress_bar` to the templates.

    By default for the default kit, which gets the settings of `app.config`.
    """

    def __init__(self, app: Flask | None = None, url_prefix: str = "/progress", *, kit: Kit | None = None) -> None:
        self._prefix = mount_path(url_prefix)
        self._kit = kit
        self._surface = Surface(kit, keep_context=_keep_context)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Serve from this app, whose config must be complete; raise ConfigurationError for wrong settings."""
        if self._kit is None:
            host_settings(_settings(app))
        self._surface.check()
        app.url_map.converters["progresskit"] = _AnyPath
        # The rule is added by hand, as Flask would want a list of methods: a wrong one is answered here as well.
        rule = app.url_rule_class(
            f"{self._prefix}/<progresskit:path>", endpoint="progresskit", strict_slashes=False, merge_slashes=False
        )
        app.url_map.add(rule)
        app.view_functions["progresskit"] = self._view
        app.jinja_env.globals["progress_bar"] = self.progress_bar
        app.extensions["progresskit"] = self

    def progress_bar(
        self,
        id: JobId,
        cancel: bool = False,
        ttl: float = TOKEN_SECONDS,
        *,
        user: Any = None,
        record: Progress | None = None,
    ) -> Markup:
        """
        Return the element that shows the job of that id.

        `cancel` adds a button, and the right that it needs. The token is valid for `ttl` seconds, by default a day, and
        with a `user` for that user alone. The first bar of a page adds the component's script. Browsers without
        JavaScript show the `record`; by default it is read.
        """
        key = self._surface.key_of_bar(id, cancel, ttl, user, request)
        source = url_for("progresskit", path=f"{key}/")
        button = Markup(" cancel") if cancel else ""
        fallback = Markup(self._surface.fallback(id, source, record))
        return Markup('<progress-bar src="{}"{}>{}</progress-bar>{}').format(source, button, fallback, _script())

    def _view(self, path: str) -> Response:
        self._surface.warn_unshared()
        server = Server.THREADS if request.environ.get("wsgi.multithread") else Server.ONE_BY_ONE
        query = request.query_string.decode("utf-8", "replace")
        peer, abort, read = request.remote_addr, wsgi_abort(request.environ), wsgi_read(request.environ)
        asked = Request(request.method, path, query, request.headers, server, request, peer, abort, read)
        status, headers, body = self._surface.answer(asked)
        response = Response(body, status, headers)
        if "Content-Type" not in headers:
            del response.headers["Content-Type"]  # Flask's default
        return response


def signed_in(request: FlaskRequest) -> Any:
    """Return the user of the request: Flask-Login's user where the app uses it, else `request.user`."""
    if hasattr(current_app, "login_manager"):
        return import_module("flask_login").current_user  # not needed by us: the app that has it has brought it
    return getattr(request, "user", None)


def _keep_context() -> Callable[[Callable[[], Any]], Any]:
    """Return a function that runs others in the context of this request: a stream outlives its view."""
    again = copy_current_request_context(_call)
    return lambda function: function() if has_request_context() else again(function)


def _call(function: Callable[[], Any]) -> Any:
    return function()


def _settings(app: Flask) -> dict[str, Any]:
    keys = [app.config.get("SECRET_KEY"), *(app.config.get("SECRET_KEY_FALLBACKS") or ())]
    defaults = {"secret_key": [key for key in keys if key], "user": signed_in}
    return defaults | app.config.get_namespace("PROGRESSKIT_")


def _script() -> Markup:
    if request.environ.get(_SCRIPT_IS_THERE):
        return Markup("")
    request.environ[_SCRIPT_IS_THERE] = True
    return Markup('<script type="module" src="{}"></script>').format(url_for("progresskit", path="progresskit.js"))
