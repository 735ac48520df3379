"""Whenever a save is broken off, what is read is all old or all new; on a full disk the old one stays."""

from __future__ import annotations

import errno
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import mtl
from mtl.errors import CheckpointError
from mtl.inference.predictor import Predictor
from mtl.model import saving
from mtl.settings import ROOT

OLD = {"a": b"old a", "sub/b": b"old b"}
NEW = {"a": b"new a", "sub/b": b"new b", "c": b"new c"}


class Killed(BaseException):
    """The process ends here."""


def found(folder: Path) -> dict[str, bytes]:
    saving.finish(folder)
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file() and f.name[0] != "."}


def test_files_are_there_and_nothing_else(tmp_path: Path) -> None:
    saving.write_together(tmp_path / "x", OLD)
    assert found(tmp_path / "x") == OLD
    saving.write_together(tmp_path / "x", NEW)
    assert found(tmp_path / "x") == NEW
    assert [path.name for path in (tmp_path / "x").rglob(".*")] == []


@pytest.mark.parametrize("step", range(9))
def test_at_whichever_step_it_ends_all_is_old_or_all_is_new(tmp_path: Path, step: int, monkeypatch) -> None:
    """Four files are written (three and the journal), then four take their place."""
    saving.write_together(tmp_path, OLD)
    done = 0

    def counted(method):
        def call(*arguments):
            nonlocal done
            if done == step:
                raise Killed
            done += 1
            return method(*arguments)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(saving, "_synced", counted(saving._synced))
        patch.setattr(Path, "replace", counted(Path.replace))
        if step == 8:
            saving.write_together(tmp_path, NEW)
        else:
            with pytest.raises(Killed):
                saving.write_together(tmp_path, NEW)
    assert found(tmp_path) == (OLD if step < 5 else NEW)
    saving.write_together(tmp_path, NEW)
    assert found(tmp_path) == NEW


def test_on_a_full_disk_the_old_one_stays_and_nothing_is_left_lying(
    predictor: Predictor, tmp_path: Path, monkeypatch
) -> None:
    folder = predictor.save(tmp_path / "x")
    before = mtl.load(folder, device="cpu").model.state_dict()
    names = sorted(path.name for path in folder.rglob("*"))

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, "_synced", full)
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\); free some room"):
        predictor.save(folder)
    assert sorted(path.name for path in folder.rglob("*")) == names
    assert all(torch.equal(value, before[name]) for name, value in mtl.load(folder).model.state_dict().items())


SAVE = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import mtl
model = mtl.load(sys.argv[2], device="cpu")
print("ready", flush=True)
value = 0.0
while True:
    value = 1.0 - value
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.fill_(value)
    model.save(sys.argv[2])
"""


@pytest.mark.long
def test_a_save_that_is_killed_at_any_moment_leaves_one_whole_model(predictor: Predictor, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in predictor.model.parameters():
            parameter.fill_(0.0)
    folder = predictor.save(tmp_path / "x")
    moments, seen = random.Random(0), []
    for _ in range(25):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE, str(ROOT), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.005, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        values = {float(v) for p in mtl.load(folder, device="cpu").model.parameters() for v in p.detach().unique()}
        assert len(values) == 1, "old and new are mixed"
        seen += values
    assert set(seen) == {0.0, 1.0}, "or no save came about"
