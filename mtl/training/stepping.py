"""One optimiser step: forward passes, losses, gradients, weights. Knows no file and no validation."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mtl.data.batches import Batch, divided
from mtl.errors import ConfigError
from mtl.inference.predictor import Predictor
from mtl.model.precision import autocast, compute_type
from mtl.tasks.base import there
from mtl.training import freezing
from mtl.training.averaging import Average
from mtl.training.balancing import RETENTION, Balance, Famo, Joined
from mtl.training.config import TrainConfig
from mtl.training.imitation import Ensemble
from mtl.training.loading import Load
from mtl.training.optimisation import Optimiser
from mtl.training.processes import Processes
from mtl.training.retention import Teacher, retention_loss
from mtl.types import Encoding


@dataclass
class Outcome:
    """What a step found, still on the device: reading a number there would make the next step wait."""

    step: int
    source: str
    first_text: str
    tokens: int
    encoder_lr: float
    losses: dict[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor | float] = field(default_factory=dict)
    retention: Tensor | None = None
    imitation: Tensor | None = None
    grad_norm: Tensor | None = None
    objectives: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """A part of a step that goes through the model at once, and what part of each loss it is."""

    load: Load
    shares: Mapping[str, Tensor | float]
    of_rows: float


@dataclass(frozen=True)
class Losses:
    """What a forward pass of one unit gives: raw losses, what is learned of each task, and of retention."""

    raw: dict[str, Tensor]
    objectives: dict[str, Tensor]
    kept: Tensor | None
    taught: Tensor | None


@dataclass(frozen=True)
class Gathered:
    """What a step computed before any weight moved; `rows` are flat gradients by objective, where they are joined."""

    outcome: Outcome
    units: Sequence[Unit]
    rows: dict[str, Tensor]


class Stepper:
    """Takes steps on a model. `parts` is in how many each batch goes through, doubled where memory runs out."""

    def __init__(
        self,
        predictor: Predictor,
        config: TrainConfig,
        balance: Balance,
        *,
        total: int,
        teacher: Teacher | None,
        ensemble: Ensemble | None,
        processes: Processes,
    ) -> None:
        self.predictor, self.model, self.config = predictor, predictor.model, config
        self.device = self.model.device
        self.tasks = {task.name: task for task in predictor.tasks}
        self.balance, self.teacher, self.ensemble, self.processes = balance, teacher, ensemble, processes
        fp16 = compute_type(self.device, config.precision) == torch.float16
        self.optimiser = Optimiser(self.model, config, balance.parameters, total=total, fp16=fp16)
        self.learning = [p for p in self.model.parameters() if p.requires_grad]
        self.shared = [p for p in self.model.encoder.parameters() if p.requires_grad]
        self.average = None if config.ema is None else Average(self.learning, config.ema)
        self.total, self.parts = total, 1
        self.stage: int | None = None

    def forget_mode(self) -> None:
        """Somebody set the model to eval mode; the next step sets it right."""
        self.stage = None

    def take(self, step: int, loads: Sequence[Load]) -> Outcome:
        """One step on these loads, in as many parts as memory asks for.

        Raises:
            ConfigError: where memory does not suffice for one row.
        """
        self._set_mode(step)
        while True:
            gathered = self._gathered(step, loads)
            if not self.processes.any(gathered is None):
                return self._moved(gathered)
            largest = max((len(load.examples) for load in loads if isinstance(load, Batch)), default=1)
            if self.parts >= largest:
                raise ConfigError(
                    f"step {step}: memory does not suffice for one row; lower max_tokens, or take a smaller encoder"
                )
            self.parts *= 2
            self.optimiser.adam.zero_grad(set_to_none=True)
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _set_mode(self, step: int) -> None:
        if self.stage is not None and self.config.freeze.gradual is None:
            return
        progress = (step - 1) / self.total
        stage = freezing.stage(self.model, self.config.freeze, progress)
        if stage != self.stage:
            freezing.apply(self.model, self.config.freeze, progress)
            freezing.set_train_mode(self.model, self.config.freeze, progress)
            self.stage = stage

    def _gathered(self, step: int, loads: Sequence[Load]) -> Gathered | None:
        """Losses and gradients of this process's parts of a step; None where memory ran out. Moves no weight."""
        try:
            return self._gather(step, loads)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if not is_out_of_memory(error):
                raise
        return None

    def _gather(self, step: int, loads: Sequence[Load]) -> Gathered:
        self.optimiser.set_rates(step)
        outcome = Outcome(
            step=step,
            source=" + ".join(dict.fromkeys(load.source for load in loads)),
            first_text=loads[0].texts[0],
            tokens=sum(len(load.inputs.ids) if isinstance(load, Batch) else load.tokens for load in loads),
            encoder_lr=self.config.encoder_lr * self.optimiser.risen,
        )
        if self.processes.count > 1:
            self._begin_at_zero(outcome, loads)
        units = self._units(loads)
        rows: dict[str, Tensor] = {}
        for unit in units:
            found = self._forward(unit.load)
            _add(outcome, found, unit)
            if isinstance(self.balance, (Famo, Joined)):
                self._apart(found, unit, rows)
                continue
            total = self.balance.weigh(found.objectives, unit.shares) if found.objectives else None
            if found.kept is not None:
                total = unit.of_rows * found.kept + (0 if total is None else total)
            if total is not None and total.requires_grad:
                self.optimiser.scaled(total).backward()  # type: ignore[no-untyped-call]
        return Gathered(outcome, units, rows)

    def _begin_at_zero(self, outcome: Outcome, loads: Sequence[Load]) -> None:
        """All processes add up the same sums, also one that has no row of a batch, or none with a target."""
        zero = torch.zeros((), device=self.device)
        soft = sorted(self.ensemble.taught) if self.ensemble is not None else []
        outcome.losses = {name: zero.clone() for load in loads for name in load.targets}
        outcome.objectives = {name: zero.clone() for name in [*outcome.losses, *soft]}
        outcome.retention = None if self.teacher is None else zero.clone()
        outcome.imitation = zero.clone() if soft else None

    def _moved(self, gathered: Gathered | None) -> Outcome:
        """Joins what all processes gathered and takes the step."""
        if gathered is None:
            raise RuntimeError("a step without losses cannot be taken")
        outcome, units = gathered.outcome, gathered.units
        if isinstance(self.balance, (Famo, Joined)):
            self._join(self.balance, gathered.rows, outcome)
        self._share(outcome)
        with torch.no_grad():
            outcome.weights = {name: self.balance.weight(name, loss) for name, loss in outcome.losses.items()}
        if any(p.grad is not None for p in self.optimiser.learning):
            outcome.grad_norm = self.optimiser.step()
            if self.average is not None:
                self.average.update(outcome.step)
        self.balance.observe(outcome.losses)
        if isinstance(self.balance, Famo):
            self.balance.follow(outcome.objectives, self._objectives_now(units, outcome))
        return outcome

    def _units(self, loads: Sequence[Load]) -> list[Unit]:
        """The parts of a step that are this process's own; shares of all parts of a task sum to 1."""
        spoken = [name for load in loads for name in load.targets]
        n = self.processes.count * self.parts
        units = []
        for load in loads:
            several = {name: 1 / spoken.count(name) for name in load.targets}
            if n == 1 or not isinstance(load, Batch):
                units.append(Unit(load, {**dict.fromkeys(self.tasks, 1.0), **several}, 1.0))
                continue
            tasks = [self.tasks[name] for name in load.targets]
            whole = {name: max(1, _count(target)) for name, target in load.targets.items()}
            mine = divided(load, n, tasks, self.predictor.tokenizer)[self.processes.rank :: self.processes.count]
            for part in mine:
                if part is not None:
                    of_rows = len(part.examples) / len(load.examples)
                    shares: dict[str, Tensor | float] = dict.fromkeys(self.tasks, of_rows)
                    for name, target in part.targets.items():
                        shares[name] = several[name] * _count(target) / whole[name]
                    units.append(Unit(part, shares, of_rows))
        return units

    def _forward(self, load: Load) -> Losses:
        soft = {} if self.ensemble is None else self.ensemble.targets(load.texts)
        names = {**load.targets, **soft}
        with autocast(self.device, self.config.precision):
            encoding = self._encoding(load, names)
            outputs = self.model.read(encoding, names, self.config.freeze.gradient)
        raw = {
            name: self.tasks[name].loss(outputs[name], target.to(self.device, non_blocking=True))
            for name, target in load.targets.items()
        }
        taught = {n: self.tasks[n].imitate(outputs[n], target.to(self.device)) for n, target in soft.items()}
        weight = self.config.imitation
        objectives = {n: loss * (1 - weight) if n in soft else loss for n, loss in raw.items()}
        for name, loss in taught.items():
            objectives[name] = weight * loss + objectives.get(name, 0)
        kept = None
        if self.teacher is not None and self.config.retention is not None:
            old = self.teacher.vectors(load.texts).to(self.device)
            kept = retention_loss(encoding.sentence, old, self.config.retention)
        return Losses(raw, objectives, kept, torch.stack(list(taught.values())).sum() if taught else None)

    def _encoding(self, load: Load, names: Mapping[str, Tensor]) -> Encoding:
        if isinstance(load, Batch):
            return self.model.encode(load.inputs.to(self.device), list(names))
        return load.encoding

    def _apart(self, found: Losses, unit: Unit, rows: dict[str, Tensor]) -> None:
        """Adds the gradient of each objective on the encoder to its own row; heads get those of their own losses."""
        heads = [p for p in self.model.heads.parameters() if p.requires_grad]
        shared = self._shared_now()
        parts = {name: unit.shares[name] * loss for name, loss in found.objectives.items()}
        if found.kept is not None:
            parts[RETENTION] = unit.of_rows * found.kept
        parts = {name: loss for name, loss in parts.items() if loss.requires_grad}
        for place, (name, loss) in enumerate(parts.items(), start=1):
            grads = torch.autograd.grad(
                self.optimiser.scaled(loss), [*shared, *heads], allow_unused=True, retain_graph=place < len(parts)
            )
            _accumulate(heads, grads[len(shared) :])
            if any(gradient is not None for gradient in grads[: len(shared)]):
                row = torch.cat([_flat(g, p) for g, p in zip(grads, shared, strict=False)])
                rows[name] = rows[name] + row if name in rows else row

    def _join(self, balance: Famo | Joined, rows: dict[str, Tensor], outcome: Outcome) -> None:
        """One gradient on the encoder, from the rows of all objectives and processes."""
        self.processes.add(list(outcome.objectives.values()))
        shared = self._shared_now()
        if not shared:
            return
        if self.processes.count > 1:
            size = sum(p.numel() for p in shared)
            pulls = self.config.freeze.gradient
            names = [name for name in outcome.objectives if pulls.get(name, 1.0) > 0]
            names += [RETENTION] if self.teacher is not None else []
            rows = {name: rows.get(name, torch.zeros(size, device=self.device)) for name in names}
            self.processes.add(list(rows.values()))
        if rows:
            joined = balance.join(rows, outcome.objectives)
            for parameter, part in zip(shared, torch.split(joined, [p.numel() for p in shared]), strict=True):
                parameter.grad = part.view_as(parameter) / self.processes.count  # `_share` adds them up again

    def _shared_now(self) -> list[nn.Parameter]:
        """The encoder's parameters that learn in this step: parts of it may join later."""
        return [p for p in self.shared if p.requires_grad]

    @torch.no_grad()
    def _objectives_now(self, units: Sequence[Unit], outcome: Outcome) -> dict[str, Tensor]:
        """What is learned of each task, of the same batches, with the weights as they are after the step."""
        now = {name: torch.zeros_like(loss) for name, loss in outcome.objectives.items()}
        for unit in units:
            for name, loss in self._forward(unit.load).objectives.items():
                now[name] += unit.shares[name] * loss
        self.processes.add(list(now.values()))
        return now

    def _share(self, outcome: Outcome) -> None:
        """Adds up losses and gradients of all processes; a weight that none has a gradient for stays without."""
        if self.processes.count == 1:
            return
        self.model.encoder.fused.spare.take_back(None)  # what comes back has rows that others read: it is not zero
        scalars = (*outcome.losses.values(), outcome.retention, outcome.imitation)
        self.processes.add([scalar for scalar in scalars if scalar is not None])
        learning = self.optimiser.learning
        has_grad = torch.tensor([float(p.grad is not None) for p in learning], device=self.device)
        self.processes.add([has_grad])
        chosen = [p for p, n in zip(learning, has_grad.tolist(), strict=True) if n]
        for parameter in chosen:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.processes.add([p.grad for p in chosen if p.grad is not None])


def _count(targets: Tensor) -> int:
    """Targets that are there, 0 where none is."""
    return int(there(targets).sum())


def _add(outcome: Outcome, found: Losses, unit: Unit) -> None:
    """Takes a unit's losses into those of the step."""
    for sums, losses in ((outcome.losses, found.raw), (outcome.objectives, found.objectives)):
        for name, loss in losses.items():
            mine = unit.shares[name] * loss.detach()
            sums[name] = sums[name] + mine if name in sums else mine
    for name, value in (("retention", found.kept), ("imitation", found.taught)):
        if value is not None:
            so_far = getattr(outcome, name)
            mine = unit.of_rows * value.detach()
            setattr(outcome, name, mine if so_far is None else so_far + mine)


def _flat(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()


def _accumulate(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
