from secrets import token_hex
from threading import Thread
from time import sleep

from django.shortcuts import render

import progresskit


def work(id):
    for row in progresskit.track(range(100), id=id, description="Importing", unit="rows", cancellable=True):
        sleep(0.02)


def start(request):
    id = token_hex(16)
    Thread(target=work, args=(id,)).start()
    return render(request, "job.html", {"id": id})
