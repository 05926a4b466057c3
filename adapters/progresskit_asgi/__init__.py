"""
progresskit for every ASGI server and framework: the HTTP surface as one application.

    progress = ProgressApp()                                            # by default at /progress, for the default kit
    app.mount("/progress", progress)                                    # Starlette, FastAPI
    templates.env.globals["progress_bar"] = progress.progress_bar       # {{ progress_bar("import-42") }}

It uses ASGI alone, so it needs no framework, and can also be served by itself: `progresskit serve`.
"""

from __future__ import annotations

from .app import ProgressApp

__all__ = ["ProgressApp"]
