"""The same model, the same file: a `.keras` archive without the time at which it was made.

Keras writes the time into `metadata.json`, and zip into every entry. Nobody reads either back, and
both would make two conversions of one model differ.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that zip can write."""
METADATA, SAVED = "metadata.json", "date_saved"


def without_times(archive: Path) -> None:
    """Write the archive again, its entries as they were and in their order."""
    rewritten = archive.with_suffix(".rewritten")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(rewritten, "w") as new:
        for entry in old.infolist():
            timeless = zipfile.ZipInfo(entry.filename, EPOCH)
            timeless.compress_type = entry.compress_type
            timeless.external_attr = entry.external_attr
            if entry.filename == METADATA:
                content = json.loads(old.read(entry)) | {SAVED: "1980-01-01@00:00:00"}
                new.writestr(timeless, json.dumps(content).encode())
                continue
            timeless.file_size = entry.file_size
            with old.open(entry) as source, new.open(timeless, "w") as target:
                shutil.copyfileobj(source, target)
    rewritten.replace(archive)
