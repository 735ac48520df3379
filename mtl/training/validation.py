"""Scores while a run goes on, and which weights were the best so far. Knows no optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mtl.data.batches import Batch, Source, by_length, collate, row_lengths
from mtl.errors import ConfigError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.model.precision import Precision, autocast
from mtl.tasks import Task
from mtl.training import averaging
from mtl.training.config import TrainConfig
from mtl.training.events import Evaluated, SourceScore
from mtl.training.processes import Processes
from mtl.types import Example

LOSS_ROWS = 256
"""Rows of each source whose loss is taken at a validation: a curve needs no more."""

PROBE_ROWS = 16


class Validation:
    """Scores a predictor on the same rows again and again; several processes share the sources out."""

    def __init__(
        self, predictor: Predictor, sources: Sequence[Source], config: TrainConfig, processes: Processes
    ) -> None:
        self.predictor, self.config, self.processes = predictor, config, processes
        self.sources = [sample(source, config.validation_rows, config.seed) for source in sources]
        self.tasks = {task.name: task for task in predictor.tasks}

    def run(self, step: int) -> Evaluated | None:
        """The scores of the model as it is; None where there is nothing to score."""
        self.predictor.model.eval()
        mine = self.sources[self.processes.rank :: self.processes.count]
        found = [(self.sources.index(source), self._scores(source)) for source in mine]
        scores = [score for _, part in sorted(self.processes.gather(found)) for score in part]
        return Evaluated(step, tuple(scores), composite(scores, self.config.select_by)) if scores else None

    def _scores(self, source: Source) -> list[SourceScore]:
        scores = []
        for name in dict.fromkeys(name for row in source.examples for name in row.targets):
            found = evaluate(self.predictor, name, source.examples, labels=source.among or None)
            task = self.tasks[name]
            main = found.metrics[task.metric or task.primary]
            rows = sample(source, LOSS_ROWS, self.config.seed).examples
            loss = mean_loss(self.predictor, task, rows, self.config.precision)
            scores.append(SourceScore(source.name, name, found.metrics, main, loss))
        return scores


@torch.no_grad()
def mean_loss(predictor: Predictor, task: Task, rows: Sequence[Example], precision: Precision) -> float:
    """The task's loss on the rows that have a target, a mean over batches by their rows."""
    known = [row for row in rows if task.name in row.targets]
    model = predictor.model
    total = 0.0
    for places in by_length(row_lengths(known, predictor.tokenizer), max_tokens=4096, max_rows=64):
        batch = collate("", [known[place] for place in places], [task], predictor.tokenizer)
        with autocast(model.device, precision):
            encoding = model.encode(batch.inputs.to(model.device), [task.name])
            output = model.read(encoding, [task.name])[task.name]
        total += float(task.loss(output, batch.targets[task.name].to(model.device))) * len(places)
    return total / max(1, len(known))


def probes(predictor: Predictor, sources: Sequence[Source], seed: int, *, max_tokens: int) -> dict[str, Batch]:
    """A fixed batch for each task: rows drawn once from all that have a target for it, as many as a step would hold."""
    found = {}
    for task in predictor.tasks:
        rows = [row for source in sources for row in source.examples if task.name in row.targets]
        if rows:
            drawn = sample(Source("", rows), PROBE_ROWS, seed).examples
            lengths = row_lengths(drawn, predictor.tokenizer)
            drawn = drawn[: max(2, max_tokens // max(lengths))]
            found[task.name] = collate("", drawn, [task], predictor.tokenizer)
    return found


def sample(source: Source, limit: int, seed: int) -> Source:
    """At most `limit` rows, drawn once: a file may be sorted by label."""
    if len(source.examples) <= limit:
        return source
    chosen = np.random.default_rng(seed).permutation(len(source.examples))[:limit]
    return replace(source, examples=[source.examples[i] for i in sorted(chosen)])


class Best:
    """The best validation so far with the weights of encoder and heads together, and what a soup is made of."""

    def __init__(self, *, soup: bool) -> None:
        self.soup = soup
        self.before: Evaluated | None = None
        self.best: Evaluated | None = None
        self.state: dict[str, Tensor] | None = None
        self.ingredients: list[tuple[Evaluated, dict[str, Tensor]]] = []
        self.since = 0

    def consider(self, result: Evaluated, state: dict[str, Tensor]) -> None:
        """Keeps the weights where they score best; of equals a model that learned is better than the one that came."""
        self.before = self.before or result
        self.since += 1
        if self.best is None or result.composite > self.best.composite:
            self.since = 0
        if self.best is None or (result.composite, result.step > 0) > (self.best.composite, self.best.step > 0):
            self.best, self.state = result, state
        if self.soup and result.step > 0:
            self.ingredients.append((result, state))

    def mixed(self, score: averaging.Score) -> tuple[int, ...]:
        """Lets the best become a mean of validated weights where that scores better; -> the steps of the mean."""
        if self.best is None or self.state is None:
            return ()
        self.best, self.state, steps = averaging.soup(self.best, self.state, self.ingredients, score)
        return steps


def check_select_by(select_by: str, tasks: Sequence[Task]) -> None:
    """Whether a choice of the best weights names something that is scored.

    Raises:
        ConfigError: where it does not.
    """
    known = [f"{task.name}.{metric}" for task in tasks for metric in task.metrics]
    if select_by not in ("mean", "worst", *known):
        raise ConfigError(f"training.select_by is {select_by!r}; say mean, worst or one of {', '.join(known)}")


def composite(scores: Sequence[SourceScore], select_by: str) -> float:
    """`mean` or `worst`: of tasks, of the mean over their sources, of main metrics; `TASK.METRIC`: over its sources.

    Raises:
        ConfigError: where `select_by` names no score.
    """
    by_task: dict[str, list[float]] = {}
    by_metric: dict[str, list[float]] = {}
    for score in scores:
        by_task.setdefault(score.task, []).append(score.primary)
        for metric, value in score.metrics.items():
            by_metric.setdefault(f"{score.task}.{metric}", []).append(value)
    if select_by in ("mean", "worst"):
        values = [np.mean(found) for found in by_task.values()]
        return float(np.mean(values) if select_by == "mean" else np.min(values))
    if select_by not in by_metric:
        raise ConfigError(f"training.select_by is {select_by!r}; the scores are {', '.join(by_metric)}")
    return float(np.mean(by_metric[select_by]))
