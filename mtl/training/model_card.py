"""The README of a checkpoint, written from its `mtl.json`: what it does, how well, and what it saw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from mtl.data.batches import Source
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor

Scores = Mapping[str, Mapping[str, float]]


def score_sources(predictor: Predictor, sources: list[Source]) -> dict[str, dict[str, float]]:
    """The metrics of each task on each source, under `source/task`."""
    found: dict[str, dict[str, float]] = {}
    for source in sources:
        for name in dict.fromkeys(name for row in source.examples for name in row.targets):
            result = evaluate(predictor, name, source.examples)
            found[f"{source.name}/{name}"] = {"examples": result.examples, **result.metrics}
    return found


def write_card(folder: Path, predictor: Predictor) -> None:
    """Writes `README.md` beside the weights; `predictor.meta` has `provenance`, and `test` where it was scored."""
    found, test = predictor.meta.get("provenance"), predictor.meta.get("test")
    provenance: Mapping[str, object] = found if isinstance(found, dict) else {}
    front = {
        "license": provenance.get("licence"),
        "language": provenance.get("language"),
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "base_model": provenance.get("encoder"),
    }
    front = {name: value for name, value in front.items() if value}
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {folder.name}: one sentence encoder, {len(predictor.tasks)} tasks, one pass",
        "A plain sentence encoder in the root of this folder, and beside it small heads that read its states.",
        _tasks(predictor),
        _use(folder),
        _metrics(test if isinstance(test, dict) else {}),
        _data(provenance),
    ]
    (folder / "README.md").write_text("\n\n".join(part for part in sections if part) + "\n", encoding="utf-8")


def _tasks(predictor: Predictor) -> str:
    rows = [f"| {task.name} | {task.kind} | {', '.join(task.labels) or '-'} |" for task in predictor.tasks]
    return "\n".join(["| task | type | labels |", "|---|---|---|", *rows])


def _use(folder: Path) -> str:
    return f"""## Use

```python
import mtl
model = mtl.load("checkpoints/{folder.name}")
model.analyze(["Oslo wins the cup."])[0]["topic"].label

from sentence_transformers import SentenceTransformer
SentenceTransformer("checkpoints/{folder.name}").encode(["Oslo wins the cup."])  # the same vectors
```

Weights are stored in half precision and widened to float32 when loaded; the figures below are of the stored weights.
mtl computes in bf16 where the hardware multiplies it (`precision="auto"`); say `mtl.load(..., precision="fp32")` for
vectors that equal the other libraries' to the last digits."""


def _metrics(test: Scores) -> str:
    if not test:
        return ""
    rows = []
    for name, metrics in test.items():
        shown = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items() if k != "examples")
        rows.append(f"| {name} | {metrics['examples']:.0f} | {shown} |")
    table = "\n".join(["| test set / task | rows | metrics |", "|---|---|---|", *rows])
    return (
        f"## Test figures\n\n{table}\n\nAccuracy and macro-F1 let the head choose among all its labels, also "
        "those that a test set never uses. Entity scores are strict: start, end and label must all agree. "
        "One training run."
    )


def _data(provenance: Mapping[str, object]) -> str:
    sources = provenance.get("sources")
    if not isinstance(sources, dict) or not sources:
        return ""
    rows = [f"| {n} | {', '.join(s['tasks'])} | {s['source']} | {s['licence']} |" for n, s in sources.items()]
    table = "\n".join(["| set | tasks | source | licence |", "|---|---|---|---|", *rows])
    return (
        f"## Data\n\nTrained on the training parts of these sets, without the rows whose text also stands in one of "
        f"their validation or test parts:\n\n{table}"
    )
