import lzma

from pack import here, pack

import progresskit

paths = sorted(here.glob("logs/*.log"))
with progresskit.observe("pack-2", steps={"Pack": 15, "Check": 1}, description="Packing") as job:
    with job.step("Pack"):
        for path in progresskit.track(paths, unit="files"):
            pack(path)
    with job.step("Check"):
        for path in progresskit.track(paths, unit="files"):
            assert lzma.decompress(path.with_suffix(".log.xz").read_bytes()) == path.read_bytes()
