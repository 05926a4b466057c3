from html import escape
from types import SimpleNamespace

import falcon

from progresskit.web import TOKEN_SECONDS, Request, Server, Surface, host_settings, mount_path, wsgi_abort, wsgi_read


class ProgressKit:
    """Serves the jobs of the default kit below `url_prefix`, and makes the bars that pages show."""

    def __init__(self, app: falcon.App, url_prefix="/progress", **settings):
        self.prefix = mount_path(url_prefix)
        host_settings(settings)  # the environment and progresskit.configure() come before these
        self.surface = Surface()
        self.surface.check()
        app.add_sink(self.respond, self.prefix + r"/(?P<path>[\s\S]*)")

    def respond(self, req, resp, path):
        """Answer one request below the prefix."""
        request = Request(
            method=req.method,
            path=path,
            query=req.query_string,
            headers=SimpleNamespace(get=req.get_header),
            server=Server.THREADS if req.env["wsgi.multithread"] else Server.ONE_BY_ONE,
            native=req,  # what `authorize` and `user` receive
            peer=req.remote_addr,
            abort=wsgi_abort(req.env),
            read=wsgi_read(req.env),
        )
        answer = self.surface.answer(request)
        resp.status = answer.status
        resp.set_headers(answer.headers)
        if isinstance(answer.body, bytes):
            resp.data = answer.body
        else:
            resp.stream = answer.body  # Falcon iterates and closes it

    def progress_bar(self, id, cancel=False, ttl=TOKEN_SECONDS, *, user=None, req=None):
        """Return the element for a page, as HTML."""
        source = f"{self.prefix}/{self.surface.key_of_bar(id, cancel, ttl, user, req)}/"
        bar = f'<progress-bar src="{escape(source)}"{" cancel" if cancel else ""}>'
        script = f'<script type="module" src="{escape(self.prefix)}/progresskit.js"></script>'
        return f"{bar}{self.surface.fallback(id, source)}</progress-bar>{script}"
