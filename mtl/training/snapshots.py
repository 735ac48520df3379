"""A run on disk, so that it can go on after any end: written to a new folder, synced, then renamed in one step.

A snapshot is an mtl checkpoint (the best weights so far, in use like any other) and beside it `run.safetensors`
and `run.json`: all that the next step depends on. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtl.errors import CheckpointError, ConfigError

FOLDER = "snapshots"


@dataclass(frozen=True)
class Snapshot:
    """The state of a run after `step` steps: tensors by name, and plain values."""

    step: int
    tensors: Mapping[str, Tensor]
    values: Mapping[str, object]


class Snapshots:
    """The snapshots of one run, in `folder/snapshots`; the newest is kept.

    made_by  names the recipe and the data: another run's snapshot is not gone on from
    """

    def __init__(self, folder: Path, *, made_by: str) -> None:
        self.folder = folder / FOLDER
        self.made_by = made_by

    def newest(self) -> Path | None:
        """The folder of the last one, or None."""
        found = [path for path in self.folder.glob("step-*") if path.is_dir()]
        return max(found, default=None, key=lambda path: path.name)

    def load(self) -> Snapshot | None:
        """The last one, or None where there is none.

        Raises:
            ConfigError: where it was made by another recipe or with other data.
            CheckpointError: where it is damaged.
        """
        path = self.newest()
        if path is None:
            return None
        try:
            values = json.loads((path / "run.json").read_text(encoding="utf-8"))
            tensors = load_file(path / "run.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"{path}: is damaged ({error}); delete it and start again") from error
        if values["made_by"] != self.made_by:
            raise ConfigError(f"{path}: was made by another recipe or with other data; choose another --output")
        return Snapshot(values["step"], tensors, values["values"])

    def write(self, snapshot: Snapshot, write_checkpoint: Callable[[Path], object]) -> Path:
        """Writes one and deletes those before; `write_checkpoint` is called with the folder to fill."""
        path = self.folder / f"step-{snapshot.step:08d}"
        part = self.folder / ".part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_checkpoint(part)
        save_file({name: value.contiguous() for name, value in snapshot.tensors.items()}, part / "run.safetensors")
        content = {"step": snapshot.step, "made_by": self.made_by, "values": snapshot.values}
        (part / "run.json").write_text(json.dumps(content), encoding="utf-8")
        for file in [*part.rglob("*"), part]:
            _sync(file)
        old = [found for found in self.folder.glob("step-*") if found != path]
        shutil.rmtree(path, ignore_errors=True)
        part.rename(path)
        _sync(self.folder)
        for found in old:
            shutil.rmtree(found)
        return path

    def clear(self) -> None:
        """Deletes them all: the run is over and saved."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _sync(path: Path) -> None:
    """Waits until a file or a folder's names are on the disk; Windows opens no folders and needs none of it."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
