import fcntl
import json
import os
from contextlib import contextmanager
from pathlib import Path
from time import time

from progresskit import BackendUnavailable, SupportsListing
from progresskit.backends.stores import StoreBackend, load_records


class FileBackend(StoreBackend, SupportsListing):
    """One JSON file for all processes of a machine: `jsonfile:///srv/progress.json`."""

    def __init__(self, url, prefix="progresskit", clock=time):
        super().__init__()
        self.path, self.clock = Path(url.removeprefix("jsonfile://")), clock

    def load(self, ids):
        with self.opened() as (records, now):
            return {id: records[id] for id in ids if id in records}, now

    def transact(self, ids, decide):
        with self.opened() as (records, now):
            for id in ids:
                changed = decide(id, records.get(id), now)
                if changed is not None:
                    records[id] = changed
            texts = {id: record.dump() for id, record in records.items() if now < record.expires_at}
            Path(f"{self.path}.new").write_text(json.dumps(texts))
            os.replace(f"{self.path}.new", self.path)  # at once, so that a killed process leaves a whole file

    def list(self, *, kind, states, limit, part_of=None):
        with self.opened() as (records, now):
            newest_first = sorted(records.items(), key=lambda item: item[1].heard_at, reverse=True)
        found = self.progress_of(dict(newest_first), now).values()
        of_kind = [one for one in found if kind in (None, one.kind) and part_of in (None, one.part_of)]
        return [one for one in of_kind if states is None or one.state in states][:limit]

    @contextmanager
    def opened(self):
        """Give the stored records and the time, while no other process reads or writes."""
        try:
            with open(f"{self.path}.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield load_records(json.loads(self.path.read_text()) if self.path.exists() else {}), self.clock()
        except OSError as error:
            raise BackendUnavailable(f"{self.path}: {error.strerror}") from error
