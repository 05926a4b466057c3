# The checksums of some files, as a job that a page shows: python report_urllib.py ADDRESS FILE...
import hashlib
import json
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen


class Job:
    """Reports one run of a job."""

    def __init__(self, address):
        self.address = address
        self.seq = 0
        self.headers = {"X-Progresskit": "1"}

    def report(self, **values):
        """Send values; return the record of the job."""
        self.seq += 1
        headers = {**self.headers, "Progresskit-Seq": str(self.seq)}
        pause = 0.5
        while True:
            request = Request(self.address, json.dumps(values).encode(), headers, method="PUT")
            try:
                with urlopen(request, timeout=30) as answer:
                    self.headers["Progresskit-Run"] = answer.headers["Progresskit-Run"]
                    return json.load(answer)
            except HTTPError as error:
                if error.code < 500:
                    raise
            except (URLError, TimeoutError, ConnectionError):
                pass
            time.sleep(pause)  # the same report again: the site or its store is away
            pause = min(2 * pause, 30)


def main(address, *files):
    job = Job(address)
    job.report(total=len(files), unit="files", description="Checksums")
    for count, file in enumerate(files, 1):
        try:
            print(hashlib.sha256(Path(file).read_bytes()).hexdigest(), file)
        except OSError:
            job.report(state="failed", error="A file cannot be read")
            raise
        if job.report(current=count)["cancel_requested"]:
            job.report(state="cancelled")
            return
    job.report(state="succeeded")


if __name__ == "__main__":
    main(*sys.argv[1:])
