"""From a URL to the Celery app, and to the class of its result backend."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from celery import _state, current_app
from celery.app.backends import by_url
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import ImproperlyConfigured

from progresskit.errors import ConfigurationError

SCHEME = "celery://"
EXAMPLE = "celery://proj.app:app, or celery:// for the current app"


def app_of(address: Any) -> Any:
    """Return the app that a URL names, or that is given; ConfigurationError where there is none."""
    if isinstance(address, str):
        place = address.removeprefix(SCHEME).strip("/")
        if not address.startswith(SCHEME) or set("/?#@") & set(place):
            raise ConfigurationError(f"not the URL of a Celery app; one looks like {EXAMPLE}")
        app = _imported(place) if place else _current()
    else:
        app = address
    app = getattr(app, "_get_current_object", lambda: app)()
    if not (hasattr(app, "backend_cls") and hasattr(app, "conf")):
        raise ConfigurationError(f"{type(app).__name__} is no Celery app; the URL looks like {EXAMPLE}")
    return app


def _current() -> Any:
    if _state._tls.current_app is None and _state.default_app is None:
        raise ConfigurationError(
            "celery:// is the current Celery app, and no app is made yet: name it, as in celery://proj.app:app"
        )
    return current_app


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    try:
        found: Any = import_module(module)
    except ImportError as error:
        raise ConfigurationError(f"{SCHEME}{place}: cannot import {module}: {error}") from error
    for part in (name or "app").split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ConfigurationError(f"{SCHEME}{place}: {module} has no {name or 'app'}; is it still being imported?")
    return found


def result_backend_class(app: Any) -> tuple[type[Any], str]:
    """
    Return the class of the app's result backend, which is not made, and its URL, which may be empty.

    Raises ConfigurationError for one that cannot serve.
    """
    found: type[Any]
    name = f"the Celery app {app.main}" if app.main else "the Celery app"
    address = app.backend_cls or app.conf.result_backend
    try:
        found, url = by_url(address, app.loader)
    except (ImproperlyConfigured, ImportError) as error:
        # Celery repeats the whole of a text that is not a URL, be it one without its scheme.
        why = type(error).__name__ if isinstance(address, str) and "@" in address else error
        raise ConfigurationError(f"{name} has a result backend that cannot be had: {why}") from None
    if issubclass(found, RPCBackend):
        raise ConfigurationError(
            f"{name} has its results sent back by rpc://, to the sender of the task and once only, so no page could "
            "read progress there: give the app a result backend that keeps results (Redis, a database), or "
            "progresskit another URL"
        )
    if issubclass(found, DisabledBackend):
        raise ConfigurationError(
            f"{name} has no result backend, or it is not configured yet: set result_backend before progresskit is "
            "configured, or give progresskit another URL"
        )
    return found, url or ""
