"""Two processes on the CPU train what one does: each takes half of every batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mtl
from mtl.inference.predictor import Predictor
from mtl.settings import ROOT, launched_processes
from mtl.training.processes import Processes

SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from mtl.settings import launched_processes
from mtl.training.events import StepEnded, Evaluated
from mtl.training.fit import fit
from mtl.training.processes import Launched, Processes
from mtl.training.recipe import load_recipe

root, method, rows = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
processes = Launched(cpu=True) if launched_processes() > 1 else Processes()
recipe = load_recipe(root / "recipe.yaml", [f"training.balancing={{method: {method}}}", f"training.batch_rows={rows}"])
found = {"losses": [], "scores": [], "norms": [], "count": processes.count}
for event in fit(recipe, root, root / f"out-{processes.count}-{method}", device="cpu", processes=processes):
    if isinstance(event, StepEnded):
        found["losses"].append(dict(event.losses))
        found["norms"].append(event.grad_norm)
    if isinstance(event, Evaluated):
        found["scores"].append(event.composite)
if processes.is_main:
    (root / f"{processes.count}-{method}.json").write_text(json.dumps(found))
"""

RECIPE = """
encoder: {encoder}
max_tokens: 32
tasks:
  topic: {{type: classification, labels: from data, dropout: 0.0}}
  entities: {{type: ner, labels: from data, hidden: 16, dropout: 0.0}}
sources:
  topics: {{tasks: [topic], train: topics.csv, validation: 0.3}}
  places: {{tasks: [entities], train: places.marked, validation: 0.3}}
training:
  steps: 20
  batch_rows: 7
  encoder_lr: 3.0e-3
  head_lr: 1.0e-2
  retention: {{cosine: 1.0, geometry: 0.0}}
  precision: fp32
  validate_every: 10
"""


@pytest.fixture
def folder(make_still, tmp_path: Path) -> Path:
    predictor: Predictor = make_still()
    config = predictor.model.encoder.backbone.config
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    encoder = predictor.save(tmp_path / "encoder")
    topics = [f"{word} {i},{label}\n" for i in range(9) for word, label in (("soup", "food"), ("judge", "law"))]
    (tmp_path / "topics.csv").write_text("text,label\n" + "".join(topics), encoding="utf-8")
    places = [f"x\tin [{city}](LOC) {i}\n" for i in range(5) for city in ("Rome", "Oslo", "Bonn")]
    (tmp_path / "places.marked").write_text("".join(places), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(encoder=encoder), encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    return tmp_path


def launch(count: int, *words: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", f"--num_processes={count}"]
    launcher += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    command = [*(launcher if count > 1 else [sys.executable]), *map(str, words)]
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(("method", "rows"), [("fixed", 7), ("famo", 7), ("fixed", 1), ("pcgrad", 1)])
def test_two_processes_get_the_loss_curve_of_one(folder: Path, method: str, rows: int) -> None:
    """With one row a batch the second process has none, and still takes part."""
    pytest.importorskip("accelerate")
    if method == "pcgrad":
        pytest.importorskip("torchjd")
    found = []
    for count in (1, 2):
        launch(count, folder / "script.py", folder, method, rows)
        found.append(json.loads((folder / f"{count}-{method}.json").read_text(encoding="utf-8")))
    one, two = found
    assert (one["count"], two["count"]) == (1, 2)
    assert len(one["losses"]) == 20
    for ours, theirs in zip(two["losses"], one["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=3e-2, abs=3e-3)
    assert two["norms"] == pytest.approx(one["norms"], rel=0.1, abs=1e-2)
    assert two["scores"] == pytest.approx(one["scores"], abs=0.05)
    assert one["losses"][-1] != one["losses"][0]
    texts = ["soup", "in Rome"]
    vectors = [mtl.load(folder / f"out-{count}-{method}", precision="fp32").encode(texts) for count in (1, 2)]
    assert abs(vectors[0] - vectors[1]).max() < 2e-2


def test_words_that_only_one_process_reads_are_not_moved_by_what_is_left_of_earlier_steps(folder: Path) -> None:
    pytest.importorskip("accelerate")
    rows = [f"{letter},{'food' if letter < 'n' else 'law'}\n" for letter in "abcdefghijklmnopqrstuvwxyz"]
    (folder / "topics.csv").write_text("text,label\n" + "".join(rows), encoding="utf-8")
    found = []
    for count in (1, 2):
        launch(count, folder / "script.py", folder, "fixed", 2)
        table = mtl.load(folder / f"out-{count}-fixed", precision="fp32").model.encoder.embeddings
        found.append(table.word_embeddings.weight.detach())
    start = mtl.load(folder / "encoder").model.encoder.embeddings.word_embeddings.weight
    assert (found[0] - start).abs().max() > 1e-2
    assert (found[0] - found[1]).abs().max() < 5e-3


def test_the_command_line_runs_under_the_launcher_and_speaks_once(folder: Path) -> None:
    pytest.importorskip("accelerate")
    words = ["train", folder / "recipe.yaml", "--data-root", folder, "--output", folder / "out", "--device", "cpu"]
    done = launch(2, "-m", "mtl", *words)
    assert done.stdout.count("finished after 20 steps") == 1
    assert mtl.load(folder / "out").meta["run"]["steps"] == 20
    assert not (folder / "out" / "snapshots").exists()


def test_alone_nothing_is_added_and_nobody_asked() -> None:
    alone = Processes()
    assert (alone.is_main, alone.gather([1, 2]), alone.any(False), alone.any(True)) == (True, [1, 2], False, True)


@pytest.mark.parametrize(("environ", "count"), [({}, 1), ({"WORLD_SIZE": "4"}, 4), ({"WORLD_SIZE": ""}, 1)])
def test_the_launcher_says_how_many_there_are(environ: dict[str, str], count: int) -> None:
    assert launched_processes(environ) == count
