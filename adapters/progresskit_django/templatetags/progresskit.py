"""`{% load progresskit %}`."""

from __future__ import annotations

from typing import Any

from django.template import Context, Library
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from progresskit import Progress
from progresskit.web import TOKEN_SECONDS
from progresskit_django.views import surface

register = Library()

_SCRIPT_IS_THERE = "progresskit script"


@register.simple_tag(takes_context=True)
def progress_bar(
    context: Context,
    id: Any,
    *,
    cancel: bool = False,
    ttl: float = TOKEN_SECONDS,
    user: Any = None,
    record: Progress | None = None,
) -> SafeString:
    """
    Show the job of that id: `{% progress_bar task.id %}`, `{% progress_bar task.id cancel=True ttl=3600 %}`.

    `cancel` adds a button, and the right that it needs. The token is valid for `ttl` seconds, by default a day, and
    with a `user` for that user alone. The first bar of a page adds the component's script. Browsers without JavaScript
    show the `record`; by default it is read.
    """
    key = surface.key_of_bar(id, cancel, ttl, user, context.get("request"))
    source = reverse("progresskit:mount", kwargs={"path": f"{key}/"})
    button = " cancel" if cancel else ""
    fallback = SafeString(surface.fallback(id, source, record))
    return format_html('<progress-bar src="{}"{}>{}</progress-bar>{}', source, button, fallback, _script(context))


def _script(context: Context) -> SafeString:
    # Includes push a frame of their own; the one of the whole page is the second, after Django's builtins.
    page = context.render_context.dicts[1]
    if _SCRIPT_IS_THERE in page:
        return SafeString("")
    page[_SCRIPT_IS_THERE] = True
    source = reverse("progresskit:mount", kwargs={"path": "progresskit.js"})
    return format_html('<script type="module" src="{}"></script>', source)
