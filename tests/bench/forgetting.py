"""What a fine-tune on the sample gains, and what it costs elsewhere: `python tests/bench/forgetting.py DATA`.

The run is the page's own. Gains are on the rows that it puts aside; old tasks are scored on the validation files of
DATA (a folder that holds `stsb_open/`, `uci_news/` and the others of assets/recipes/default.yaml), before and after.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtl.data import tables
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest
from mtl.settings import ROOT, Settings
from mtl.training.config import FreezePolicy
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


def main(data: Path) -> None:
    """Prints a line a run."""
    service = Service(Settings())
    recipe = load_recipe(ROOT / "assets" / "recipes" / "default.yaml")
    sources = load_sources(recipe, build_tasks(recipe, data), data, "validation")
    rows = {source.name: list(source.examples[:ROWS]) for source in sources}
    before = old_tasks(service.models.base, rows)
    print("before: " + ", ".join(f"{name} {value:.1f}" for name, value in before.items()), flush=True)
    usual = TuneRequest(
        path=service.settings.samples / "helpdesk.marked", heads={"classification": "request", "ner": "things"}
    )
    unseen(service, usual)
    top = replace(usual, freeze=FreezePolicy(embeddings=True, layers=4))
    everything = replace(usual, freeze=FreezePolicy())
    requests = {
        "as the tab opens": usual,
        "the same, seed 1": replace(usual, seed=1),
        "the same, seed 2": replace(usual, seed=2),
        "top 2 layers, held and replayed": top,
        "everything, held and replayed": everything,
        "everything, held": replace(everything, replay=False),
        "everything, nothing held": replace(everything, replay=False, retention=False),
    }
    for words, request in requests.items():
        start = time.monotonic()
        run = service.tune("bench", BASE, request)
        run.join()
        seconds = time.monotonic() - start
        if run.ended is None or run.ended.best is None:
            raise RuntimeError(run.error)
        gains = {score.task: score.primary for score in run.ended.best.scores}
        after = old_tasks(service.models.get("bench", run.name), rows)
        cost = ", ".join(f"{name} {after[name] - before[name]:+.1f}" for name in before)
        said = ", ".join(f"{name} {value:.3f}" for name, value in gains.items())
        print(f"{words}: {seconds:.0f} s, {said}; old tasks, points: {cost}", flush=True)


def unseen(service: Service, usual: TuneRequest) -> None:
    """Prints the mean score on rows that neither taught nor chose the best step: each fifth of the sample once."""
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
    said = ", ".join(
        f"{name} {np.mean(found):.3f} ({min(found):.3f} to {max(found):.3f})" for name, found in scores.items()
    )
    print(f"as the tab opens, on {FOLDS} times a fifth that it never saw: {said}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
