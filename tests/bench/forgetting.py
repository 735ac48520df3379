"""What a fine-tune on the sample gains, and what it costs elsewhere: `python tests/bench/forgetting.py DATA`.

The run is the page's own. Gains are on the rows that it puts aside; old tasks are scored on the validation files of
DATA (a folder that holds `stsb_open/`, `uci_news/` and the others of assets/recipes/default.yaml), before and after.
`--json FILE` keeps the figures, as assets/results/freezing.json does.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mtl.data import tables
from mtl.evaluation.benchmark import describe_machine
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest
from mtl.settings import ROOT, Settings
from mtl.training.config import FreezePolicy, LoRA
from mtl.training.recipe import load_recipe
from mtl.training.recipe_data import build_tasks, load_sources
from mtl.types import Example

ROWS = 1000
"""Of each validation file at most."""
FOLDS = 5


def old_tasks(model: Predictor, rows: dict[str, list[Example]]) -> dict[str, float]:
    """The main metric of each old task on each validation file, in points."""
    found = {}
    for name, examples in rows.items():
        task = model.task(next(iter(examples[0].targets)))
        found[name] = 100 * evaluate(model, task.name, examples).metrics[task.metric or task.primary]
    return found


def scenarios(usual: TuneRequest) -> dict[str, TuneRequest]:
    """What may move, and what is held, by the words of the tables in the guides."""
    everything = replace(usual, freeze=FreezePolicy())
    return {
        "nothing: only measured": replace(usual, freeze=FreezePolicy(everything=True)),
        "heads only": usual,
        "heads only, seed 1": replace(usual, seed=1),
        "heads only, seed 2": replace(usual, seed=2),
        "top two layers, held and replayed": replace(usual, freeze=FreezePolicy(embeddings=True, layers=4)),
        "layer after layer (gradual), held and replayed": replace(usual, freeze=FreezePolicy(gradual=0.1)),
        "adapters (LoRA), held and replayed": replace(usual, freeze=FreezePolicy(lora=LoRA())),
        "everything but the old heads, held and replayed": everything,
        "everything but the old heads, held": replace(everything, replay=False),
        "everything, nothing held": replace(everything, replay=False, retention=False),
    }


def main() -> None:
    """Prints a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    service = Service(Settings())
    recipe = load_recipe(ROOT / "assets" / "recipes" / "default.yaml")
    sources = load_sources(recipe, build_tasks(recipe, asked.data), asked.data, "validation")
    rows = {source.name: list(source.examples[:ROWS]) for source in sources}
    before = old_tasks(service.models.base, rows)
    print("before: " + ", ".join(f"{name} {value:.1f}" for name, value in before.items()), flush=True)
    usual = TuneRequest(
        path=service.settings.samples / "helpdesk.marked", heads={"classification": "request", "ner": "things"}
    )
    fresh = unseen(service, usual)
    found = {}
    for words, request in scenarios(usual).items():
        start = time.monotonic()
        run = service.tune("bench", BASE, request)
        run.join()
        seconds = time.monotonic() - start
        if run.ended is None or not run.evaluations:
            raise RuntimeError(run.error)
        best = run.ended.best or run.evaluations[0]
        gains = {score.task: round(score.primary, 6) for score in best.scores}
        after = old_tasks(service.models.get("bench", run.name), rows)
        costs = {name: round(after[name] - before[name], 4) for name in before}
        found[words] = {"seconds": round(seconds, 1), "gains": gains, "costs": costs}
        print(f"{words}: {seconds:.0f} s, {gains}; old tasks, points: {costs}", flush=True)
    if asked.json:
        kept = {
            "rows": {name: len(examples) for name, examples in rows.items()},
            "before": {name: round(value, 4) for name, value in before.items()},
            "unseen": fresh,
            "runs": found,
            "machine": describe_machine(),
        }
        asked.json.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def unseen(service: Service, usual: TuneRequest) -> dict[str, dict[str, float]]:
    """The mean score on rows that neither taught nor chose the best step: each fifth of the sample once."""
    lines = usual.path.read_text(encoding="utf-8").splitlines(keepends=True)
    order = np.random.default_rng(0).permutation(len(lines))
    scores: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for fold in range(FOLDS):
            kept, left = Path(folder) / "kept.marked", Path(folder) / "left.marked"
            kept.write_text("".join(lines[i] for i in order if i % FOLDS != fold), encoding="utf-8")
            left.write_text("".join(lines[i] for i in order if i % FOLDS == fold), encoding="utf-8")
            run = service.tune("bench", BASE, replace(usual, path=kept))
            run.join()
            model = service.models.get("bench", run.name)
            rows = tables.examples(tables.read(left), [model.task(name) for name in usual.heads.values()])
            for name in usual.heads.values():
                task = model.task(name)
                scores.setdefault(name, []).append(evaluate(model, name, rows).metrics[task.metric or task.primary])
    said = {
        name: {"mean": round(float(np.mean(one)), 4), "low": round(min(one), 4), "high": round(max(one), 4)}
        for name, one in scores.items()
    }
    print(f"heads only, on {FOLDS} times a fifth that it never saw: {said}", flush=True)
    return said


if __name__ == "__main__":
    main()
