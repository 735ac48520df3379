"""Files that a page offers for download; after an hour they are gone."""

from __future__ import annotations

import secrets
import tempfile
import time
from pathlib import Path

KEPT_S = 3600


def place_for(name: str) -> Path:
    """Where a file of that name may be written; what was written there long ago is deleted."""
    root = Path(tempfile.gettempdir()) / "mtl-downloads"
    root.mkdir(exist_ok=True)
    for old in root.iterdir():
        if time.time() - old.stat().st_mtime > KEPT_S:
            for file in old.iterdir():
                file.unlink(missing_ok=True)
            old.rmdir()
    folder = root / secrets.token_hex(8)
    folder.mkdir()
    return folder / name
