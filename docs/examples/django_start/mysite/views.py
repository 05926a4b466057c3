from secrets import token_hex
from threading import Thread
from time import sleep

from django.shortcuts import redirect, render

import progresskit


def import_rows(id):
    for row in progresskit.track(range(200), id=id, description="Importing", unit="rows", cancellable=True):
        sleep(0.05)  # the work


def home(request):
    if request.method == "POST":
        id = token_hex(16)
        Thread(target=import_rows, args=(id,)).start()
        return redirect("job", id=id)
    return render(request, "import.html")


def job(request, id):
    return render(request, "import.html", {"id": id})
