"""Files that a page offers for download; after an hour, or when they take too much room, they are gone."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from mtl.settings import page_files

KEPT_S = 3600
MOST_BYTES = 2_000_000_000

_LOCK = threading.Lock()


def place_for(name: str) -> Path:
    """Where a file of that name may be written; what is old or too much is deleted first, oldest first."""
    with _LOCK:
        folders = sorted(_root().iterdir(), key=lambda folder: folder.stat().st_mtime)
        sizes = [_size(folder) for folder in folders]
        total, now = sum(sizes), time.time()
        for folder, size in zip(folders, sizes, strict=True):
            if total > MOST_BYTES or now - folder.stat().st_mtime > KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
                total -= size
        folder = _root() / secrets.token_urlsafe(16)
        folder.mkdir()
        return folder / name


def _size(folder: Path) -> int:
    """Bytes of all that lies in it; what is written or removed at this moment may or may not count."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            total += file.stat().st_size
    return total


@lru_cache(maxsize=1)
def _root() -> Path:
    """A folder of this process, where the page need not copy what it offers."""
    root = page_files().resolve() / f"mtl-{secrets.token_urlsafe(16)}"
    root.mkdir(parents=True)
    return root
