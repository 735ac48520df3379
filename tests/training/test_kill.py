"""A run is killed at twenty random moments; each time what is on the disk loads, and the rest is as if unbroken."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import mtl
from mtl.inference.predictor import Predictor
from mtl.settings import ROOT

KILLS = 20

RECIPE = """
encoder: {encoder}
max_tokens: 32
tasks:
  topic: {{type: classification, labels: from data}}
  entities: {{type: ner, labels: from data, hidden: 16}}
sources:
  topics: {{tasks: [topic], train: topics.csv, validation: 0.3}}
  places: {{tasks: [entities], train: places.marked, validation: 0.3}}
training:
  steps: 400
  batch_rows: 7
  encoder_lr: 3.0e-3
  ema: 0.9
  validate_every: 50
  precision: fp32
  snapshot_s: 0.05
"""


def train(folder: Path, output: Path, *more: str) -> list[str]:
    words = ["train", folder / "recipe.yaml", "--data-root", folder, "--output", output, "--device", "cpu", *more]
    return [sys.executable, "-m", "mtl", *map(str, words)]


@pytest.mark.long
def test_a_run_survives_being_killed_at_any_moment(predictor: Predictor, tmp_path: Path) -> None:
    encoder = predictor.save(tmp_path / "encoder")
    topics = [f"{word} {i},{label}\n" for i in range(40) for word, label in (("soup", "food"), ("judge", "law"))]
    (tmp_path / "topics.csv").write_text("text,label\n" + "".join(topics), encoding="utf-8")
    places = [f"x\tin [{city}](LOC) {i}\n" for i in range(20) for city in ("Rome", "Oslo", "Bonn")]
    (tmp_path / "places.marked").write_text("".join(places), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(encoder=encoder), encoding="utf-8")
    start = time.monotonic()
    subprocess.run(train(tmp_path, tmp_path / "whole"), cwd=ROOT, check=True, capture_output=True)
    whole_s = time.monotonic() - start
    expected = mtl.load(tmp_path / "whole", device="cpu").model.state_dict()
    moments = random.Random(0)
    hit = 0
    for place in range(KILLS):
        output = tmp_path / f"killed-{place}"
        process = subprocess.Popen(
            train(tmp_path, output), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not list(output.glob("snapshots/step-*")):
            time.sleep(0.01)  # before the first snapshot there is nothing to lose
        time.sleep(moments.random() * whole_s / 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = sorted(output.glob("snapshots/step-*"))
        if kept:
            hit += 1
            assert mtl.load(kept[-1], device="cpu").encode(["in Rome"]).shape == (1, 32)
        subprocess.run(train(tmp_path, output, "--resume"), cwd=ROOT, check=True, capture_output=True)
        found = mtl.load(output, device="cpu").model.state_dict()
        assert all(torch.equal(value, found[name]) for name, value in expected.items()), place
        assert not (output / "snapshots").exists()
    assert hit >= KILLS // 2, "most kills shall come in the middle of a run"
