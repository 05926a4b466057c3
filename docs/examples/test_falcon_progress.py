from threading import Thread

import falcon
import pytest
from falcon_progress import ProgressKit
from werkzeug.serving import make_server

from progresskit.testing import ShimContract
from progresskit.web import host_settings


@pytest.fixture(scope="module")
def base_url():
    app = falcon.App()
    ProgressKit(app, secret_key="a long random string")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/progress"
    server.shutdown()
    thread.join()
    server.server_close()
    host_settings({})


class TestFalcon(ShimContract):
    threaded = True  # a stream keeps a thread
    any_method = False  # Falcon refuses methods that HTTP does not define
    aborts = True  # gunicorn and werkzeug tell `wsgi_abort` which connection it is

    def user_of(self, request):
        return request.get_header("X-User")
