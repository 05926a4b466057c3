from flask import Flask, render_template_string

from progresskit_flask import ProgressKit

progress = ProgressKit()


def create_app(url="memory://"):
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "a long random string"
    app.config["PROGRESSKIT_URL"] = url
    app.config["PROGRESSKIT_MAX_STREAMS"] = 4
    progress.init_app(app)  # once the config is filled

    @app.get("/jobs/<id>")
    def show(id):
        return render_template_string("<!doctype html>{{ progress_bar(id, cancel=True) }}", id=id)

    return app
