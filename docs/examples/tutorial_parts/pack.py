import lzma
from pathlib import Path

import progresskit

here = Path(__file__).resolve().parent
progresskit.configure(f"sqlite:///{here}/progress.db")


def pack(path):
    Path(f"{path}.xz").write_bytes(lzma.compress(Path(path).read_bytes()))


if __name__ == "__main__":
    paths = sorted(here.glob("logs/*.log"))
    for path in progresskit.track(paths, id="pack-1", unit="files", description="Packing"):
        pack(path)
