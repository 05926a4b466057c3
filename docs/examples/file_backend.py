import fcntl
import json
import os
from contextlib import contextmanager
from pathlib import Path
from time import time

from progresskit import Backend, BackendUnavailable, State, SupportsListing
from progresskit.decoding import decode, decode_each
from progresskit.progress import Effect, Stored, fold, is_over


class FileBackend(Backend, SupportsListing):
    """One JSON file for all processes of a machine: `jsonfile:///srv/progress.json`."""

    def __init__(self, path, clock=time):
        self.path, self.clock = Path(path), clock

    @classmethod
    def from_url(cls, url, settings):
        return cls(url.removeprefix("jsonfile://"))

    def write(self, batch):
        runs = {}
        with self.opened(save=True) as (jobs, now):
            for write in batch:
                job = jobs.get(write.id)
                stored, effect = fold(job and as_stored(job), write, now)
                if effect is not Effect.IGNORED:
                    jobs[write.id] = {"stored": stored, "heard": now, "lease": write.lease, "expires": now + write.ttl}
                runs[write.id] = stored.run
        return runs

    def read(self, ids):
        with self.opened() as (jobs, now):
            return {id: progress for id in ids if id in jobs and (progress := as_progress(id, jobs[id], now))}

    def request_cancel(self, ids):
        with self.opened(save=True) as (jobs, _):
            accepted = {id for id in ids if id in jobs and not as_stored(jobs[id]).state.final}
            for id in accepted:
                jobs[id]["stored"] = as_stored(jobs[id])._replace(cancel_requested=True)
        return accepted

    def cancel_requested(self, ids):
        return {id for id, progress in self.read(ids).items() if progress.cancel_requested}

    def forget(self, ids):
        with self.opened(save=True) as (jobs, now):
            gone = {id for id in ids if id in jobs and is_dead(jobs[id], now)}
            for id in gone:
                del jobs[id]
        return gone

    def list(self, *, kind, states, limit):
        with self.opened() as (jobs, now):
            newest_first = sorted(jobs.items(), key=lambda item: item[1]["heard"], reverse=True)
            records = [progress for id, job in newest_first if (progress := as_progress(id, job, now))]
        chosen = [one for one in records if kind in (None, one.kind) and (states is None or one.state in states)]
        return chosen[:limit]

    def close(self):
        pass  # nothing is kept open

    def after_fork_in_child(self):
        pass  # and so nothing is inherited

    @contextmanager
    def opened(self, save=False):
        """Give the jobs that have not expired and the time, while no other process reads or writes."""
        try:
            with open(f"{self.path}.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                jobs, now = json.loads(self.path.read_text()) if self.path.exists() else {}, self.clock()
                jobs = {id: job for id, job in jobs.items() if now < job["expires"]}
                yield jobs, now
                if save:
                    Path(f"{self.path}.new").write_text(json.dumps(jobs))
                    os.replace(f"{self.path}.new", self.path)  # at once, so that a killed process leaves a whole file
        except OSError as error:
            raise BackendUnavailable(f"{self.path}: {error.strerror}") from error


def as_stored(job):
    stored = Stored(*job["stored"])
    return stored._replace(state=State(stored.state))


def as_progress(id, job, now):
    """Return the record; None where it cannot be decoded, which is logged once."""
    return decode_each(id, decode, as_stored(job), stalled=is_over(job["heard"], now, job["lease"]), id=id)


def is_dead(job, now):
    """Return whether the job is done or stalled."""
    state = as_stored(job).state
    return state.final or (state is State.RUNNING and is_over(job["heard"], now, job["lease"]))
