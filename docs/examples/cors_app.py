from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from progresskit_asgi import ProgressApp

cors = Middleware(
    CORSMiddleware,
    allow_origins=["https://pages.example.com"],
    allow_methods=["GET", "POST"],
    allow_headers=["X-Progresskit", "If-None-Match", "Prefer"],
    expose_headers=["ETag", "Retry-After", "Preference-Applied"],
)
app = Starlette(routes=[Mount("/progress", app=ProgressApp())], middleware=[cors])
