"""The benchmark runs from end to end; its figures are another matter."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mtl.inference.predictor import Predictor
from mtl.settings import ROOT


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir()
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.long
def test_every_case_gives_a_ratio(predictor: Predictor, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="Trainer needs it")
    encoder = predictor.save(tmp_path / "encoder")
    labelled = [{"text": f"the cat {i}", "label": "ab"[i % 2]} for i in range(96)]
    write(tmp_path / "movie_review" / "train.jsonl.gz", labelled)
    tagged = [{"tokens": ["in", "Rome", str(i)], "tags": ["O", "B-LOC", "O"]} for i in range(96)]
    write(tmp_path / "uner_en_ewt" / "train.jsonl.gz", tagged)
    words = ["--data-root", tmp_path, "--rows", 96, "--rounds", 1, "--only", "full,frozen,steps,gpu"]
    script = [
        sys.executable,
        ROOT / "tests" / "bench" / "training.py",
        encoder,
        *words,
        "--json",
        tmp_path / "found.json",
    ]
    done = subprocess.run([str(word) for word in script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    for case, ratios in (("full", 4), ("frozen", 2), ("steps", 1), ("gpu", 2)):
        assert len(found[case]["ratios"]) == ratios
        assert all(ratio["ratio"] > 0 for ratio in found[case]["ratios"])
        assert all(run["seconds"] > run["step"] > 0 for runs in found[case]["times"].values() for run in runs)
    assert found["machine"]["cores"] >= 1
