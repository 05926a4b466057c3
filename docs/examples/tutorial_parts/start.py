from pack import here
from tasks import pack_some

import progresskit

paths = sorted(map(str, here.glob("logs/*.log")))
chunks = [paths[start : start + 10] for start in range(0, len(paths), 10)]
id = progresskit.group(size=len(chunks), unit="chunks", description="Packing")
for number, chunk in enumerate(chunks):
    pack_some.delay(id, number, chunk)
print(id)
