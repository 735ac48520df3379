"""The README of a checkpoint, written from its `mtl.json`: what it does, how well, what it saw, where it errs.

The front matter is Hugging Face's, with a model-index that its hub can read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mtl.data.batches import Source
from mtl.evaluation.bootstrap import DRAWS, intervals
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.tasks import Task
from mtl.training.probes import Answer, Probe, ask

HUB_TASKS = {
    "classification": "text-classification",
    "ner": "token-classification",
    "similarity": "sentence-similarity",
}
SCHEMES = {
    "classification": "Accuracy and macro-F1 let the head choose among all its labels, also those that a test set "
    "never uses, unless the table says `among`.",
    "ner": "Entity scores are strict IOB2 spans, micro-averaged (the measure of CoNLL-2003 and of seqeval's strict "
    "mode): start, end and label must all agree.",
    "similarity": "Similarity is the rank correlation of cosines with people's scores.",
}


def score_sources(predictor: Predictor, sources: Sequence[Source]) -> dict[str, dict[str, object]]:
    """The metrics of each task on each source, under `source/task`, with 95 % limits from drawn rows."""
    found: dict[str, dict[str, object]] = {}
    for source in sources:
        for name in dict.fromkeys(name for row in source.examples for name in row.targets):
            result = evaluate(predictor, name, source.examples, labels=source.among or None)
            limits = intervals(predictor.task(name), result.statistics)
            found[f"{source.name}/{name}"] = {
                "examples": result.examples,
                **result.metrics,
                **({"among": list(source.among)} if source.among else {}),
                "limits": {metric: [limit.low, limit.high] for metric, limit in limits.items()},
            }
    return found


def write_card(folder: Path, predictor: Predictor, *, probes: Sequence[Probe] = ()) -> None:
    """Writes `README.md` beside the weights; `predictor.meta` has `provenance`, and `test` where it was scored."""
    found, test = predictor.meta.get("provenance"), predictor.meta.get("test")
    provenance: Mapping[str, object] = found if isinstance(found, dict) else {}
    scores: Mapping[str, Mapping[str, object]] = test if isinstance(test, dict) else {}
    n = len(predictor.tasks)
    sections = [
        f"---\n{_front_matter(folder.name, predictor, provenance, scores)}\n---",
        f"# {folder.name}: one sentence encoder, {n} {'task' if n == 1 else 'tasks'}, one pass",
        "A plain sentence encoder in the root of this folder, and beside it small heads that read its states.",
        _tasks(predictor),
        _use(folder, predictor),
        _metrics(predictor.tasks, scores, provenance, predictor.meta.get("run")),
        _limits(predictor, ask(predictor, probes) if probes else []),
        _data(provenance),
    ]
    (folder / "README.md").write_text("\n\n".join(part for part in sections if part) + "\n", encoding="utf-8")


def _front_matter(
    name: str, predictor: Predictor, provenance: Mapping[str, object], test: Mapping[str, Mapping[str, object]]
) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=HUB_TASKS.get(task.kind, "other"),
            task_name=task.name,
            dataset_type=key.rpartition("/")[0],
            dataset_name=key.rpartition("/")[0],
            dataset_split="test",
            metric_type=metric,
            metric_value=round(float(str(metrics[metric])), 4),
        )
        for key, metrics in test.items()
        for task in predictor.tasks
        if task.name == key.rpartition("/")[2]
        for metric in _metric_names(metrics)
    ]
    known = {key: str(value) for key, value in provenance.items() if value and isinstance(value, str)}
    data = ModelCardData(
        language=known.get("language"),
        license=known.get("licence"),
        base_model=known.get("encoder"),
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", "multi-task", *sorted({t.kind for t in predictor.tasks})],
        model_name=name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml()).strip()


def _metric_names(metrics: Mapping[str, object]) -> list[str]:
    return [name for name, value in metrics.items() if isinstance(value, float)]


def _tasks(predictor: Predictor) -> str:
    rows = [f"| {task.name} | {task.kind} | {', '.join(task.labels) or '-'} |" for task in predictor.tasks]
    return "\n".join(["| task | type | labels |", "|---|---|---|", *rows])


def _use(folder: Path, predictor: Predictor) -> str:
    path = f"checkpoints/{folder.name}" if folder.resolve().parent.name == "checkpoints" else folder.name
    width = predictor.model.encoder.width
    pairs = any(task.n_texts == 2 and task.labels for task in predictor.tasks)
    answers = [
        'found = model.analyze(["Oslo wins the cup."])[0]  # every task of one text, one pass',
        'found = model.analyze_pairs(["Oslo wins the cup."], ["The cup goes to Oslo."])[0]  # every task of two texts',
    ]
    use = "\n".join(answers if pairs and any(t.n_texts == 1 for t in predictor.tasks) else answers[pairs : pairs + 1])
    return f"""## Use

```python
import mtl

model = mtl.load("{path}")
{use}
model.encode(["Oslo wins the cup."])  # (1, {width}) float32, unit length

from sentence_transformers import SentenceTransformer

SentenceTransformer("{path}").encode(["Oslo wins the cup."])  # the same vectors

from transformers import AutoModel, AutoTokenizer  # the encoder alone; its token states want the pooling above

AutoModel.from_pretrained("{path}"), AutoTokenizer.from_pretrained("{path}")
```

`python -m mtl export {path} --output DIR` writes the encoder and the heads of one text as one ONNX graph.

Weights are stored in half precision and widened to float32 when loaded; the figures below are of the stored weights.
mtl computes in bf16 where the hardware multiplies it (`precision="auto"`); say `mtl.load(..., precision="fp32")` for
vectors that equal the other libraries' to the last digits."""


def _metrics(
    tasks: Sequence[Task], test: Mapping[str, Mapping[str, object]], provenance: Mapping[str, object], run: object
) -> str:
    if not test:
        return ""
    rows = []
    for name, metrics in test.items():
        among, limits = metrics.get("among"), metrics.get("limits")
        known = limits if isinstance(limits, dict) else {}
        shown = [f"{metric} {metrics[metric]:.4f}{_brackets(known.get(metric))}" for metric in _metric_names(metrics)]
        note = f" (among {', '.join(among)})" if isinstance(among, list) else ""
        rows.append(f"| {name}{note} | {metrics['examples']} | {', '.join(shown)} |")
    table = "\n".join(["| test set / task | rows | metrics |", "|---|---|---|", *rows])
    schemes = [SCHEMES[kind] for kind in dict.fromkeys(task.kind for task in tasks) if kind in SCHEMES]
    words = [f"In brackets: the limits of 95 % of {DRAWS} draws of the test rows, with replacement."]
    teachers = provenance.get("teachers")
    if isinstance(teachers, list) and teachers:
        words.append(f"One training run, which also learned from the answers of {len(teachers)} earlier ones.")
    else:
        words.append("One training run.")
    if isinstance(run, dict) and run.get("reason") == "stopped":
        words.append(f"It was stopped by hand after {run['steps']:,} steps, before its schedule ended.")
    return "\n\n".join(["## Test figures", table, " ".join([*schemes, *words])])


def _brackets(limits: Sequence[float] | None) -> str:
    return f" [{limits[0]:.3f}, {limits[1]:.3f}]" if limits else ""


def _limits(predictor: Predictor, answers: Sequence[Answer]) -> str:
    lines = [
        "## Limits",
        f"- It reads the first {predictor.tokenizer.max_tokens} tokens of a text and says where it stopped.",
        "- A label is always chosen, also for a text that no label fits; look at the probabilities.",
        "- It learned from the data below and shares their habits and their errors; text of other kinds is answered "
        "less well than the test figures say.",
    ]
    wrong = [answer for answer in answers if not answer.right]
    if answers:
        lines.append(
            f"- Of {len(answers)} sentences written to probe it, it answers {len(answers) - len(wrong)} as a person "
            f"expects{'; the others:' if wrong else '.'}"
        )
    if wrong:
        rows = [
            f"| {_cell(a.probe.text)} | {a.probe.task} | {_cell(_said(a.probe.expected))} | {_cell(_said(a.said))} |"
            for a in wrong
        ]
        lines += ["", "| sentence | task | a person expects | it says |", "|---|---|---|---|", *rows]
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _said(answer: str | tuple[tuple[str, str], ...]) -> str:
    if isinstance(answer, str):
        return answer
    return ", ".join(f"{words} {label}" for words, label in answer) or "nothing"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _data(provenance: Mapping[str, object]) -> str:
    sources = provenance.get("sources")
    if not isinstance(sources, dict) or not sources:
        return ""
    rows = [f"| {n} | {', '.join(s['tasks'])} | {s['source']} | {s['licence']} |" for n, s in sources.items()]
    table = "\n".join(["| set | tasks | source | licence |", "|---|---|---|---|", *rows])
    base = provenance.get("began_with")
    before = f"It began with the weights of {base}, whose card names the data that they saw. " if base else ""
    return (
        f"## Data\n\n{before}Trained on the training parts of these sets, without the rows whose text also stands in "
        f"one of their validation or test parts:\n\n{table}"
    )
