"""Tasks that work with libraries: their progress is that of the library."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import progresskit
from tests.services.s3 import BUCKET, client_of

from .tasks import FOLDER, app, pass_gate

__all__ = ["app"]

TASKS = f"{__package__}.tasks"
"""What the sites name tasks by."""


@app.task(bind=True, name=f"{TASKS}.apply_frame")
def apply_frame(self: Any, rows: int) -> int:
    """Apply a function to each row of a frame, with a bar of pandas."""
    import pandas

    from progresskit.tqdm import tqdm

    def double(value: int) -> int:
        pass_gate(self.request.id, value + 1)
        return 2 * value

    tqdm.pandas(desc="Doubling", file=io.StringIO())
    return int(pandas.Series(range(rows)).progress_apply(double).sum())


@app.task(name=f"{TASKS}.download_model")
def download_model(url: str) -> list[str]:
    """Download a repository of models by several threads."""
    from huggingface_hub import snapshot_download

    from progresskit.tqdm import bound
    from tests.end_to_end.hub import REPOSITORY

    folder = snapshot_download(
        REPOSITORY, endpoint=url, cache_dir=FOLDER / "models", tqdm_class=bound(progresskit.current())
    )
    return sorted(os.listdir(folder))


@app.task(name=f"{TASKS}.copy_object")
def copy_object(url: str, path: str) -> None:
    """Upload a file, and download it again."""
    size = Path(path).stat().st_size
    client, job = client_of(url), progresskit.current()
    with job.step("Upload", total=size, unit="B") as step:
        client.upload_file(path, BUCKET, "key", Callback=step.advance)
    with job.step("Download", total=size, unit="B") as step:
        client.download_file(BUCKET, "key", f"{path}.back", Callback=step.advance)
