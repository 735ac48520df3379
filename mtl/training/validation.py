"""Scores while a run goes on, and which weights were the best so far. Knows no optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mtl.data.batches import Batch, Source, by_length, collate, row_lengths
from mtl.errors import ConfigError
from mtl.evaluation import evaluate
from mtl.inference.predictor import Predictor
from mtl.model.precision import autocast
from mtl.tasks import Task
from mtl.training import averaging
from mtl.training.config import TrainConfig
from mtl.training.events import Evaluated, SourceScore
from mtl.training.processes import Processes
from mtl.types import Encoding, Prediction, Tokens

PROBE_ROWS = 16

BATCH = {"max_tokens": 1024, "max_rows": 64}
KEPT_BYTES = 1 << 28
"""Outputs of an encoder that stays as it is, which are kept from one validation to the next; more is computed anew."""


@dataclass
class Ready:
    """A batch of validation rows: which they are, what a head reads, and what is kept of it."""

    places: Sequence[int]
    tokens: Tokens
    targets: Mapping[str, Tensor]
    encoding: Encoding | None = None

    def cut(self) -> list[int]:
        """Rows whose text is longer than one reading."""
        return [p for p, at in zip(self.places, self.tokens.truncated_at, strict=True) if at is not None]


class Validation:
    """Scores a predictor on the same rows again and again; several processes share the sources out.

    One pass through the encoder gives answers and losses of all tasks; `still` says that the encoder does not move,
    so that its outputs are kept. Answers are those of `Predictor.analyze` to rounding.
    """

    def __init__(
        self,
        predictor: Predictor,
        sources: Sequence[Source],
        config: TrainConfig,
        processes: Processes,
        *,
        still: bool = False,
    ) -> None:
        self.predictor, self.config, self.processes, self.still = predictor, config, processes, still
        self.sources = [sample(source, config.validation_rows, config.seed) for source in sources]
        self.tasks = {task.name: task for task in predictor.tasks}
        self._ready: dict[str, list[Ready]] = {}
        self._room = KEPT_BYTES

    def run(self, step: int) -> Evaluated | None:
        """The scores of the model as it is; None where there is nothing to score."""
        self.predictor.model.eval()
        mine = self.sources[self.processes.rank :: self.processes.count]
        found = [(self.sources.index(source), self._scores(source)) for source in mine]
        scores = [score for _, part in sorted(self.processes.gather(found)) for score in part]
        return Evaluated(step, tuple(scores), composite(scores, self.config.select_by)) if scores else None

    @torch.no_grad()
    def _scores(self, source: Source) -> list[SourceScore]:
        rows = source.examples
        tasks = [self.tasks[name] for name in dict.fromkeys(name for row in rows for name in row.targets)]
        said: dict[str, dict[int, Prediction]] = {task.name: {} for task in tasks}
        sums = {task.name: [0.0, 0.0] for task in tasks}
        for batch in self._batches(source, tasks):
            encoding = self._encoding(batch, tasks)
            with autocast(self.predictor.model.device, self.config.precision):
                outputs = self.predictor.model.read(encoding, [task.name for task in tasks])
            for task in tasks:
                output = outputs[task.name]
                said[task.name].update(zip(batch.places, task.decode(output, batch.tokens), strict=True))
                if task.name in batch.targets:
                    known = sum(task.name in rows[place].targets for place in batch.places)
                    target = batch.targets[task.name].to(self.predictor.model.device)
                    sums[task.name][0] += float(task.loss(output, target)) * known
                    sums[task.name][1] += known
        found = []
        for task in tasks:
            mine = [place for place, row in enumerate(rows) if task.name in row.targets]
            answers = self._in_full(task, source, said[task.name])
            scored = evaluate.score(
                task,
                [answers[place] for place in mine],
                [rows[place] for place in mine],
                labels=source.among or None,
            )
            main = scored.metrics[task.metric or task.primary]
            total, count = sums[task.name]
            found.append(SourceScore(source.name, task.name, scored.metrics, main, total / max(1.0, count)))
        return found

    def _in_full(self, task: Task, source: Source, said: dict[int, Prediction]) -> Mapping[int, Prediction]:
        """The answers, of texts that are read in pieces as `Predictor.analyze` gives them."""
        if task.reads_words:
            marks = [mark for batch in self._ready[source.name] for mark in batch.cut()]
            texts = [source.examples[place].texts[0] for place in marks]
            again = self.predictor.analyze(texts, [task.name]) if texts else []
            said.update((place, analysis[task.name]) for place, analysis in zip(marks, again, strict=True))
        return said

    def _batches(self, source: Source, tasks: Sequence[Task]) -> list[Ready]:
        if source.name not in self._ready:
            tokenizer = self.predictor.tokenizer
            ready = []
            for places in by_length(row_lengths(source.examples, tokenizer), **BATCH):
                batch = collate("", [source.examples[place] for place in places], tasks, tokenizer)
                ready.append(Ready(places, batch.inputs, batch.targets))
            self._ready[source.name] = ready
        return self._ready[source.name]

    def _encoding(self, batch: Ready, tasks: Sequence[Task]) -> Encoding:
        if batch.encoding is not None:
            return _cast(batch.encoding, torch.float32)
        model = self.predictor.model
        with autocast(model.device, self.config.precision):
            encoding = model.encode(batch.tokens.to(model.device), [task.name for task in tasks])
        if self.still:
            size = 2 * sum(layer.numel() for layer in encoding.layers)
            if size <= self._room:
                self._room -= size
                batch.encoding = _cast(encoding, torch.float16)
                return _cast(batch.encoding, torch.float32)  # the same numbers as at the next validation
        return encoding


def _cast(encoding: Encoding, dtype: torch.dtype) -> Encoding:
    return replace(
        encoding, layers=tuple(layer.to(dtype) for layer in encoding.layers), sentence=encoding.sentence.to(dtype)
    )


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
