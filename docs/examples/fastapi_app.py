from secrets import token_hex
from time import sleep

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import HTMLResponse

import progresskit
from progresskit_asgi import ProgressApp

progresskit.configure(secret_key="a long random string")  # the same in every process that creates or checks tokens

app = FastAPI()
progress = ProgressApp()
app.mount("/progress", progress)

PAGE = """<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Import</title>
{bar}
"""


def import_rows(id: str) -> None:
    for row in progresskit.track(range(200), id=id, description="Importing", unit="rows", cancellable=True):
        sleep(0.05)  # the work


@app.get("/", response_class=HTMLResponse)
def page(background: BackgroundTasks) -> str:
    id = token_hex(16)
    background.add_task(import_rows, id)
    return PAGE.format(bar=progress.progress_bar(id, cancel=True))
