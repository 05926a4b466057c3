"""
progresskit for every ASGI server and framework: the addresses that pages ask, as one application.

    progress = ProgressApp()                                            # the default kit, at /progress unless told
    app.mount("/progress", progress)                                    # Starlette, FastAPI
    templates.env.globals["progress_bar"] = progress.progress_bar       # {{ progress_bar("import-42") }}

It is written against ASGI alone, so it needs no framework, and can also be served by itself: `progresskit serve`.
"""

from __future__ import annotations

from .app import ProgressApp

__all__ = ["ProgressApp"]
