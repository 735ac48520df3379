"""The training loop, a generator of events. Knows no file and no page.

One source a batch, one batch a step; the plan of sources is drawn before the first step. The model of
the predictor that is handed in is trained in place and ends with the weights of the best validation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mtl.data.batches import Batch, Source, count_batches, endless
from mtl.data.mentions import Mentions
from mtl.data.sampling import plan, shares
from mtl.data.tokenization import TextTokenizer
from mtl.errors import ConfigError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.model.precision import autocast
from mtl.training import averaging, freezing
from mtl.training.averaging import Average
from mtl.training.config import TrainConfig
from mtl.training.events import EndReason, Evaluated, RunEnded, RunEvent, RunStarted, SourceScore, StepEnded
from mtl.training.imitation import Ensemble
from mtl.training.retention import Teacher, retention_loss
from mtl.types import Example


@dataclass(frozen=True)
class Plan:
    """Which source each step draws from."""

    order: tuple[str, ...]
    shares: dict[str, float]
    steps_per_epoch: int


def train(
    predictor: Predictor,
    sources: Sequence[Source],
    validation: Sequence[Source],
    config: TrainConfig,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    teacher: Teacher | None = None,
    ensemble: Ensemble | None = None,
    order: Sequence[str] | None = None,
) -> Iterator[RunEvent]:
    """Trains and yields `RunStarted`, `StepEnded` for each step, `Evaluated` now and then, `RunEnded`.

    `should_stop` is asked before each step; the run then validates once more and ends as usual. `teacher`
    is what retention keeps to (the model as it comes, unless said): runs from the same encoder may share
    one. `ensemble` are models whose answers are learned beside the labels. `order` names the source of each
    step, in place of an order that is drawn.

    Raises:
        ConfigError: before the first step, where nothing can be trained or `select_by` names nothing.
    """
    run = _Run(predictor, sources, validation, config, teacher, ensemble, order)
    yield run.started()
    yield from run.validate(0)
    reason: EndReason = "finished"
    for step in range(1, len(run.plan.order) + 1):
        if should_stop():
            reason = "stopped"
            break
        yield run.step(step)
        if step % run.validate_every == 0 or step == len(run.plan.order):
            yield from run.validate(step)
            if run.out_of_patience():
                reason = "early"
                break
    if reason == "stopped":
        yield from run.validate(run.steps_done)
    yield run.ended(reason)


class _Run:
    """The state of one run; `train` says in which order its parts happen."""

    def __init__(
        self,
        predictor: Predictor,
        sources: Sequence[Source],
        validation: Sequence[Source],
        config: TrainConfig,
        teacher: Teacher | None,
        ensemble: Ensemble | None,
        order: Sequence[str] | None,
    ) -> None:
        self.predictor, self.config = predictor, config
        self.validation = [_sample(source, config.validation_rows, config.seed) for source in validation]
        sources = [_labelled(source) for source in sources]
        self.model = predictor.model
        self.device = self.model.device
        torch.manual_seed(config.seed)
        self.rng = np.random.default_rng(config.seed)
        self.tasks = {task.name: task for task in predictor.tasks}
        self.trained = {name for source in sources for row in source.examples for name in row.targets}
        if ensemble is not None:
            self.trained |= ensemble.taught
        freezing.apply(self.model, config.freeze)
        self.learning = [p for p in self.model.parameters() if p.requires_grad]
        self._check()
        self.ensemble = ensemble
        self.teacher = None
        if config.retention is not None and any(p.requires_grad for p in self.model.encoder.parameters()):
            self.teacher = teacher or Teacher(predictor.copy())
        self.plan = step_plan(sources, predictor.tokenizer, config, self.rng)
        if order is not None:
            self.plan = replace(self.plan, order=tuple(order))
        self.mentions = Mentions(
            row for source in sources if any(s.replace_mentions for s in sources) for row in source.examples
        )
        self.batches = {source.name: self._batches(source) for source in sources}
        self.optimizer = self._optimizer()
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.average = None if config.ema is None else Average(self.learning, config.ema)
        self.validate_every = config.validate_every or self.plan.steps_per_epoch
        self.risen = 0.0  # the share of its peak that every learning rate stands at
        self.steps_done = 0
        self.before: Evaluated | None = None
        self.best: Evaluated | None = None
        self.best_state: dict[str, Tensor] | None = None
        self.ingredients: list[tuple[Evaluated, dict[str, Tensor]]] = []
        self.validated_at: int | None = None
        self.since_best = 0

    def _check(self) -> None:
        moving = {name for name in self.trained if any(p.requires_grad for p in self.model.heads[name].parameters())}
        encoder_moves = any(p.requires_grad for p in self.model.encoder.parameters())
        if not self.trained:
            raise ConfigError("no row has a target for any task; nothing can be trained")
        if not moving and not encoder_moves:
            raise ConfigError(f"nothing would learn: {self.config.freeze.describe()} Release the encoder or a head")

    def _batches(self, source: Source) -> Iterator[Batch]:
        tasks = [task for task in self.predictor.tasks if any(task.name in row.targets for row in source.examples)]
        return endless(
            source,
            tasks,
            self.predictor.tokenizer,
            self.rng,
            max_tokens=self.config.batch_tokens,
            max_rows=self.config.batch_rows,
            vary=self._vary(source.replace_mentions),
        )

    def _vary(self, replace_mentions: float) -> Callable[[Example], Example]:
        if not replace_mentions:
            return lambda row: row
        return lambda row: self.mentions.replaced(row, replace_mentions, self.rng)

    def _optimizer(self) -> torch.optim.Optimizer:
        """Encoder and heads at their own rates, deeper layers faster; biases and norms (vectors) without decay."""
        encoder, config = self.model.encoder, self.config
        stack = [encoder.embeddings, *encoder.blocks]
        rates = [config.encoder_lr * config.layer_decay ** (encoder.n_layers - depth) for depth in range(len(stack))]
        groups = []
        for module, rate in zip([*stack, self.model.heads], [*rates, config.head_lr], strict=True):
            for is_matrix, decay in ((True, config.weight_decay), (False, 0.0)):
                chosen = [p for p in module.parameters() if p.requires_grad and (p.ndim > 1) == is_matrix]
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
        return torch.optim.AdamW(groups, fused=True)

    def _set_rates(self, step: int) -> None:
        """Linear warm-up, then linear decay to almost 0 at the last step; steps count from 1."""
        total = len(self.plan.order)
        rising = max(1, round(self.config.warmup * total))
        share = step / rising if step <= rising else (total - step + 1) / (total - rising + 1)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        self.risen = share

    def started(self) -> RunStarted:
        policy = self.config.freeze
        return RunStarted(
            steps=len(self.plan.order),
            policy=policy.describe(),
            trainable=freezing.trainable_counts(self.model, policy, self.trained),
            total=freezing.total_counts(self.model),
            shares=self.plan.shares,
            warnings=freezing.warnings(self.model, policy, self.trained),
            device=str(self.device),
        )

    def step(self, step: int) -> StepEnded:
        start = time.monotonic()
        batch = next(self.batches[self.plan.order[step - 1]])
        soft = {} if self.ensemble is None else self.ensemble.targets(batch.texts)
        freezing.set_train_mode(self.model, self.config.freeze)
        with autocast(self.device, self.config.precision):
            encoding = self.model.encode(batch.inputs.to(self.device))
            outputs = self.model.read(encoding, {**batch.targets, **soft})
        losses = {n: self.tasks[n].loss(outputs[n], target.to(self.device)) for n, target in batch.targets.items()}
        taught = [self.tasks[n].imitate(outputs[n], target.to(self.device)) for n, target in soft.items()]
        weight = self.config.imitation
        parts = [loss * (1 - weight) if n in soft else loss for n, loss in losses.items()]
        parts += [weight * loss for loss in taught]
        kept = None
        if self.teacher is not None and self.config.retention is not None:
            old = self.teacher.vectors(batch.texts).to(self.device)
            kept = retention_loss(encoding.sentence, old, self.config.retention)
            parts.append(kept)
        self._learn(torch.stack(parts).sum(), step)
        return StepEnded(
            step=step,
            source=batch.source,
            losses={name: float(loss.detach()) for name, loss in losses.items()},
            retention=None if kept is None else float(kept.detach()),
            imitation=float(torch.stack(taught).detach().sum()) if taught else None,
            encoder_lr=self.config.encoder_lr * self.risen,
            tokens=len(batch.inputs.ids),
            seconds=time.monotonic() - start,
        )

    def _learn(self, total: Tensor, step: int) -> None:
        self._set_rates(step)
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.learning, self.config.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            if self.average is not None:
                self.average.update(step)
        self.steps_done = step

    def validate(self, step: int) -> Iterator[Evaluated]:
        """Scores the model as it is (or its average), once a step, and keeps it where it is the best so far."""
        if not self.validation or self.validated_at == step:
            return
        with self._averaged():
            scores = self._scores()
            if not scores:
                return
            result = Evaluated(step, tuple(scores), composite(scores, self.config.select_by))
            self.validated_at = step
            self.before = self.before or result
            self.since_best += 1
            if self.best is None or result.composite > self.best.composite:
                self.since_best = 0
            is_best = self.best is None or _rank(result) > _rank(self.best)
            is_ingredient = self.config.soup and step > 0
            state = self._state() if is_best or is_ingredient else {}
            if is_best:
                self.best, self.best_state = result, state
            if is_ingredient:
                self.ingredients.append((result, state))
        yield result

    def _scores(self) -> list[SourceScore]:
        self.model.eval()
        scores = []
        for source in self.validation:
            for name in dict.fromkeys(name for row in source.examples for name in row.targets):
                found = evaluate(self.predictor, name, source.examples, labels=source.among or None)
                primary = found.metrics[self.tasks[name].primary]
                scores.append(SourceScore(source.name, name, found.metrics, primary))
        return scores

    def out_of_patience(self) -> bool:
        return self.config.patience is not None and self.since_best >= self.config.patience

    def ended(self, reason: EndReason) -> RunEnded:
        if self.best_state is None:
            with self._averaged():
                self.best_state = self._state()
        averaged: tuple[int, ...] = ()
        if self.best is not None:
            self.best, self.best_state, averaged = averaging.soup(
                self.best, self.best_state, self.ingredients, self._of_weights
            )
        self.model.load_state_dict(self.best_state)
        self.model.eval()
        self.model.requires_grad_(False)
        best_step = self.best.step if self.best else self.steps_done
        return RunEnded(reason, self.steps_done, self.before, self.best, best_step, self.best_state, averaged)

    def _of_weights(self, state: Mapping[str, Tensor]) -> Evaluated:
        self.model.load_state_dict(state)
        scores = self._scores()
        return Evaluated(self.steps_done, tuple(scores), composite(scores, self.config.select_by))

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.average is None else self.average.applied()

    def _state(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}


def step_plan(
    sources: Sequence[Source], tokenizer: TextTokenizer, config: TrainConfig, rng: np.random.Generator
) -> Plan:
    """The whole run in advance: how often each source is drawn follows from sizes and weights, the order from `rng`."""
    size = {"max_tokens": config.batch_tokens, "max_rows": config.batch_rows}
    counts = {s.name: count_batches(s, tokenizer, **size) for s in sources}
    weights = {s.name: s.weight for s in sources}
    share = shares(counts, weights, temperature=config.temperature)
    epoch = max(1, round(sum(counts[name] * weights[name] for name in counts)))
    steps = config.steps or max(1, round(config.epochs * epoch))
    return Plan(tuple(plan(share, steps, rng)), share, epoch)


def _rank(found: Evaluated) -> tuple[float, bool]:
    """The higher composite is better; of equals a model that learned is better than the one that came."""
    return found.composite, found.step > 0


def _labelled(source: Source) -> Source:
    """The rows of a source that can teach something."""
    return replace(source, examples=[row for row in source.examples if row.targets])


def _sample(source: Source, limit: int, seed: int) -> Source:
    """At most `limit` rows, drawn once: a file may be sorted by label."""
    if len(source.examples) <= limit:
        return source
    chosen = np.random.default_rng(seed).permutation(len(source.examples))[:limit]
    return replace(source, examples=[source.examples[i] for i in sorted(chosen)])


def composite(scores: Sequence[SourceScore], select_by: str) -> float:
    """`mean`: over tasks, of the mean over their sources, of primary metrics; `TASK.METRIC`: over its sources.

    Raises:
        ConfigError: where `select_by` names no score.
    """
    by_task: dict[str, list[float]] = {}
    for score in scores:
        by_task.setdefault(score.task, []).append(score.primary)
        for metric, value in score.metrics.items():
            by_task.setdefault(f"{score.task}.{metric}", []).append(value)
    if select_by == "mean":
        return float(np.mean([np.mean(values) for name, values in by_task.items() if "." not in name]))
    if select_by not in by_task:
        raise ConfigError(
            f"training.select_by is {select_by!r}; the scores are {', '.join(n for n in by_task if '.' in n)}"
        )
    return float(np.mean(by_task[select_by]))
