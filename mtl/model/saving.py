"""Several files of a folder replaced as if at once: whenever the process or the machine ends, what is read afterwards
is all of the old ones or all of the new ones.

All new files are written and synced under other names, then a journal says that they are complete, then each takes its
place. A reader that finds the journal ends what was begun; without it, what lies there is a save that never came about.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mtl.errors import CheckpointError

JOURNAL = ".complete"
PART = ".part"


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files by their paths in the folder, which is made where it is missing.

    Raises:
        CheckpointError: where they cannot be written, on a full disk for example; the old ones are as they were.
    """
    parts = {folder / name: _part(folder / name) for name in files}
    finish(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, part in parts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _synced(part, files[path.relative_to(folder).as_posix()])
        _synced(_part(folder / JOURNAL), "\n".join(files).encode())
        _part(folder / JOURNAL).replace(folder / JOURNAL)
        _sync_folder(folder)
    except OSError as error:
        for part in (*parts.values(), _part(folder / JOURNAL)):
            part.unlink(missing_ok=True)
        raise CheckpointError(
            f"{folder}: cannot be written ({error.strerror or error}); free some room, or choose another place"
        ) from error
    finish(folder)


def finish(folder: Path) -> None:
    """Ends a save that was complete and did not come to its end; without one, nothing.

    Raises:
        CheckpointError: where the folder cannot be written.
    """
    journal = folder / JOURNAL
    if not journal.is_file():
        return
    try:
        for name in journal.read_text(encoding="utf-8").splitlines():
            path = folder / name
            if _part(path).is_file() and path.resolve().is_relative_to(folder.resolve()):
                _part(path).replace(path)
        journal.unlink()
    except OSError as error:
        raise CheckpointError(
            f"{folder}: a save cannot be brought to its end ({error.strerror or error}); make the folder writable"
        ) from error


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}{PART}")


def _sync_folder(folder: Path) -> None:
    """Has the names of files on the disk too, where a system can."""
    if os.name == "posix":
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def _synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
