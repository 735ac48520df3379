"""The training loop, a generator of events. Knows no page; of files only the snapshots that it is handed.

The plan of sources is drawn before the first step. The model of the predictor that is handed in is trained in
place and ends with the weights of the best validation, of encoder and heads together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from mtl.data.batches import Source
from mtl.errors import ConfigError
from mtl.evaluation import conflict
from mtl.inference.predictor import Predictor
from mtl.training import features, freezing, lora, resuming, validation
from mtl.training.balancing import balance_of
from mtl.training.config import TrainConfig
from mtl.training.events import (
    ConflictMeasured,
    EndReason,
    Evaluated,
    Noted,
    RunEnded,
    RunEvent,
    RunStarted,
)
from mtl.training.imitation import Ensemble
from mtl.training.loading import AHEAD, Loader
from mtl.training.plan import step_plan
from mtl.training.processes import Processes
from mtl.training.reports import Reports
from mtl.training.retention import Teacher
from mtl.training.snapshots import Snapshots
from mtl.training.stepping import Stepper, is_out_of_memory
from mtl.training.validation import Best, Validation


def train(
    predictor: Predictor,
    sources: Sequence[Source],
    validation: Sequence[Source],
    config: TrainConfig,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    teacher: Teacher | None = None,
    ensemble: Ensemble | None = None,
    order: Sequence[tuple[str, ...]] | None = None,
    snapshots: Snapshots | None = None,
    processes: Processes | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[RunEvent]:
    """Trains and yields `RunStarted`, `StepEnded` for each step, `Evaluated` now and then, `RunEnded`.

    `should_stop` is asked before each step; the run then validates once more and ends as usual. `teacher`
    is what retention keeps to (the model as it comes, unless said): runs from the same encoder may share
    one. `ensemble` are models whose answers are learned beside the labels. `order` names the sources of each
    step, in place of an order that is drawn. With `snapshots` the run goes on from the last one, where there is
    one, and leaves others; with one process the rest of it is the same to the bit. `processes` are those that
    train together; each is called with the same arguments.

    A loss that is not finite ends the run with `RunEnded.reason` `diverged` and the best weights so far.

    Raises:
        ConfigError: before the first step, where nothing can be trained or a setting names nothing; later
            where memory does not suffice for one row.
    """
    run: _Run | None = None
    try:
        run = _Run(predictor, sources, validation, config, teacher, ensemble, order, processes or Processes(), clock)
        yield run.started()
        yield from run.prepare(snapshots)
        yield from run.steps(should_stop)
        yield run.ended()
    finally:
        if run is not None:
            run.loader.close()
        if config.freeze.lora is not None:
            lora.merge(predictor.model)  # a run that was refused or dropped leaves a plain model too


class _Run:
    """The state of one run; `train` says in which order its parts happen."""

    def __init__(
        self,
        predictor: Predictor,
        sources: Sequence[Source],
        held: Sequence[Source],
        config: TrainConfig,
        teacher: Teacher | None,
        ensemble: Ensemble | None,
        order: Sequence[tuple[str, ...]] | None,
        processes: Processes,
        clock: Callable[[], float],
    ) -> None:
        self.predictor, self.config, self.processes, self.clock = predictor, config, processes, clock
        self.model = predictor.model
        self.device = self.model.device
        self.ensemble = ensemble
        sources = [replace(s, examples=[row for row in s.examples if row.targets]) for s in sources]
        self.trained = {name for source in sources for row in source.examples for name in row.targets}
        self.taught = self.trained | (ensemble.taught if ensemble is not None else set())
        torch.manual_seed(config.seed + processes.rank)
        self.teacher = teacher
        if teacher is None and config.retention is not None and not config.freeze.encoder:
            self.teacher = Teacher(predictor.copy())
        if config.freeze.lora is not None:
            lora.inject(self.model, config.freeze, config.freeze.lora)
        freezing.apply(self.model, config.freeze)
        self.encoder_moves = any(p.requires_grad for p in self.model.encoder.parameters())
        self._check()
        if config.retention is None or not self.encoder_moves:
            self.teacher = None
        plan = step_plan(sources, predictor.tokenizer, config, order=order)
        self.plan = replace(plan, order=()) if config.freeze.everything else plan
        self.loader = Loader(predictor, sources, self.plan, config, ahead=AHEAD if self.device.type == "cuda" else 0)
        self.stepper = Stepper(
            predictor,
            config,
            balance_of(config.balancing, sorted(self.taught), self.device),
            total=len(self.plan.order),
            teacher=self.teacher,
            ensemble=ensemble,
            processes=processes,
        )
        self.validation = Validation(predictor, held, config, processes, still=not self.encoder_moves)
        self.probes = (
            validation.probes(predictor, sources, config.seed, max_tokens=config.batch_tokens)
            if config.conflict and self.encoder_moves
            else {}
        )
        for name in config.freeze.gradient:
            if config.freeze.gradient[name] == 0:
                self.probes.pop(name, None)
        self.best = Best(soup=config.soup)
        self.validate_every = config.validate_every or self.plan.steps_per_epoch
        self.step = 0
        self.validated_at: int | None = None
        self.as_it_came: Mapping[str, Tensor] | None = None
        self.snapshots: Snapshots | None = None
        self.saved_at = clock()
        self.reason: EndReason = "finished"
        check_gradients = not self.stepper.optimiser.scaler.is_enabled()
        self.reports = Reports(self.device, check_gradients=check_gradients, clock=clock)

    def _check(self) -> None:
        config = self.config
        if not self.taught:
            raise ConfigError("no row has a target for any task; nothing can be trained")
        if config.freeze.everything:
            return
        moving = {name for name in self.taught if any(p.requires_grad for p in self.model.heads[name].parameters())}
        pulled = self.encoder_moves and any(config.freeze.gradient.get(name, 1.0) > 0 for name in self.taught)
        if not moving and not pulled:
            raise ConfigError(f"nothing would learn: {config.freeze.describe()} Release the encoder or a head")
        if config.balancing.needs_every_loss and not self.encoder_moves:
            raise ConfigError(
                f"balancing.method {config.balancing.method} joins gradients on the encoder, which is frozen; "
                "say fixed, or release the encoder"
            )

    def started(self) -> RunStarted:
        policy = self.config.freeze
        return RunStarted(
            steps=len(self.plan.order),
            policy=self.config.describe(),
            trainable=freezing.trainable_counts(self.model, policy, self.taught),
            total=freezing.total_counts(self.model),
            shares=self.plan.shares,
            warnings=freezing.warnings(self.model, self.taught),
            device=str(self.device),
            epochs=self.plan.epochs,
        )

    def prepare(self, snapshots: Snapshots | None) -> Iterator[RunEvent]:
        """Makes room for what is computed once, goes on from a snapshot or validates the model as it came."""
        if self._caches():
            self.loader.features = features.keep(
                {name: feed.source for name, feed in self.loader.feeds.items()},
                self.loader.tasks,
                self.predictor.tokenizer,
                self.model,
                self.config.precision,
                taught=self.ensemble.taught if self.ensemble is not None else (),
            )
            size = sum(part.bytes for part in self.loader.features.values()) / 1e6
            yield Noted(0, f"The frozen encoder's outputs are computed once and kept: {size:.0f} MB.")
        self.snapshots = snapshots
        kept = snapshots.load() if snapshots is not None else None
        if kept is not None:
            resuming.restore(self, kept)
            yield Noted(self.step, f"Goes on after step {self.step}.")
        elif self.loader.features and self.stepper.average is None:
            self.as_it_came = {name: value.clone() for name, value in self.model.heads.state_dict().items()}
        else:
            yield from self.validate()
        self.saved_at = self.clock()
        self.reports.start_clock()

    def _caches(self) -> bool:
        """Whether steps can run on outputs of the encoder that are computed once: it never moves, rows stay as
        they are, and are drawn more than once."""
        feeds = self.loader.feeds.values()
        return (
            self.config.cache == "auto"
            and not self.encoder_moves
            and self.processes.count == 1
            and not any(feed.source.replace_mentions for feed in feeds)
            and sum(self.plan.epochs[feed.source.name] * len(feed.lengths) for feed in feeds)
            > sum(len(feed.lengths) for feed in feeds)
        )

    def steps(self, should_stop: Callable[[], bool]) -> Iterator[RunEvent]:
        """From the step after `self.step` to the end."""
        total = len(self.plan.order)
        self.loader.start_after(self.step)
        while self.step < total and not self._out_of_patience():
            if self.processes.any(should_stop()):
                self.reason = "stopped"
                break
            parts = self.stepper.parts
            self.reports.add(self.stepper.take(self.step + 1, self.loader.next()))
            self.step += 1
            if self.stepper.parts > parts:
                yield Noted(
                    self.step,
                    f"Memory ran out: each batch now goes through in {self.stepper.parts} parts; gradients add up.",
                )
            due = self.step % self.validate_every == 0 or self.step == total
            late = self.snapshots is not None and self.clock() - self.saved_at >= self.config.snapshot_s
            save = self.processes.any(late)
            if due or save or self.reports.due:
                yield from self.reports.read()
                if self.reports.problem is not None:
                    break
            if self.as_it_came is not None:
                yield from self._validate_as_it_came(self.as_it_came)
            if due:
                yield from self.validate()
            elif self.step == 1 and self.probes:  # for the beginning: a page shows the first loss before that
                yield from self.reports.read()
                yield from self._measure_conflict()
                self.reports.start_clock()
            if save:
                self._save()
        yield from self.reports.read()
        if self.reports.problem is not None:
            self.reason = "diverged"
        elif self.reason == "stopped":
            if self.step:
                self._save()  # before a validation that an unbroken run would not make
            yield from self.validate()
        elif self.step < total:
            self.reason = "early"

    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self.best.since >= self.config.patience

    def validate(self) -> Iterator[RunEvent]:
        """Scores the model as it is (or its average), once a step, and keeps it where it is the best so far."""
        if self.validated_at == self.step:
            return
        self.stepper.forget_mode()
        with self._averaged():
            result = self.validation.run(self.step)
            if result is not None:
                self.validated_at = self.step
                self.best.consider(result, self.weights())
        if result is not None:
            yield result
        if self.step:
            yield from self._measure_conflict()
        self.reports.start_clock()

    def _validate_as_it_came(self, heads: Mapping[str, Tensor]) -> Iterator[RunEvent]:
        """The first validation after the first step, which did not have to wait for it: where the encoder is frozen,
        the heads alone are put back for it."""
        yield from self.reports.read()
        now, step = {name: value.clone() for name, value in self.model.heads.state_dict().items()}, self.step
        self.model.heads.load_state_dict(heads)
        self.step, self.as_it_came = 0, None
        yield from self.validate()
        self.step = step
        self.model.heads.load_state_dict(now)

    def _measure_conflict(self) -> Iterator[RunEvent]:
        """The conflict meter, on the fixed batches; once memory does not suffice for them, never again."""
        tasks = self.predictor.tasks
        self.stepper.forget_mode()
        try:
            found = conflict.measure(self.model, self.probes, tasks, self.config.precision) if self.probes else None
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self.probes = {}
            yield Noted(
                self.step, "Memory does not suffice to measure how the tasks' gradients conflict; training goes on."
            )
            return
        if found is not None:
            yield ConflictMeasured(self.step, found)

    def _save(self) -> None:
        if self.snapshots is not None and self.processes.is_main:
            self.snapshots.write(resuming.snapshot(self), lambda folder: resuming.write_best(self, folder))
        self.processes.wait()
        self.saved_at = self.clock()
        self.reports.start_clock()

    def ended(self) -> RunEnded:
        """Gives the model its best weights, plain ones."""
        as_it_is = self.best.state is None and self.stepper.average is None
        if self.best.state is None:
            with self._averaged():
                self.best.state = self.weights()
        averaged = self.best.mixed(self._of_weights)
        if not as_it_is:
            self.model.load_state_dict(self.best.state)
        state: Mapping[str, Tensor] = self.best.state
        if self.config.freeze.lora is not None:
            lora.merge(self.model)
            state = self.weights()
        self.model.eval()
        self.model.requires_grad_(False)
        best = self.best.best
        return RunEnded(
            reason=self.reason,
            steps=self.step,
            before=self.best.before,
            best=best,
            best_step=best.step if best else self.step,
            state=state,
            averaged=averaged,
            problem=self.reports.problem,
        )

    def _of_weights(self, state: Mapping[str, Tensor]) -> Evaluated:
        self.model.load_state_dict(state)
        result = self.validation.run(self.step)
        if result is None:
            raise RuntimeError("weights were validated before and now there is nothing to score")
        return result

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.stepper.average is None else self.stepper.average.applied()

    def weights(self) -> dict[str, Tensor]:
        """All weights as they are, copied to the CPU; adapters beside what they adapt."""
        return {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
