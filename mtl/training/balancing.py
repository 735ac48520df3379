"""How the losses of several tasks become one step: weights on losses, or gradients joined so that they conflict less.

Knows tasks by name and losses as scalars; the loop decides what a step draws.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl.errors import ConfigError
from mtl.training.config import Balancing

RETENTION = "retention (no task)"
"""The name of the objective that is no task."""

NOTHING = 1e-6
"""A loss below this counts as 0."""

TORCHJD = {
    "pcgrad": "PCGrad",
    "cagrad": "CAGrad",
    "aligned_mtl": "AlignedMTL",
    "upgrad": "UPGrad",
    "mgda": "MGDA",
    "imtl_g": "IMTLG",
}
"""Names of `torchjd.aggregation`, which cites the papers."""

INSTALL = "pip install 'torchjd[quadprog-projector,cagrad]'"


class Balance:
    """Factors by task as the recipe gives them; the other methods build on it.

    `weights` says what each loss counts now; `observe` is told every step's losses, `weigh` is called with
    a part of a step (some tasks of it, each a share of a batch) and gives what to call `backward` on.
    """

    def __init__(self, tasks: Sequence[str], settings: Balancing, device: torch.device) -> None:
        unknown = sorted(set(settings.weights) - set(tasks))
        if unknown:
            raise ConfigError(f"balancing.weights names {unknown[0]!r}; trained are {', '.join(tasks)}")
        self.tasks, self.settings, self.device = tuple(tasks), settings, device

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is learned beside the model."""
        return []

    def fixed(self, task: str) -> float:
        """The recipe's factor."""
        return self.settings.weights.get(task, 1.0)

    def weight(self, task: str, loss: Tensor) -> Tensor | float:
        """What the loss of a task counts in this step."""
        return self.fixed(task)

    def weigh(self, losses: Mapping[str, Tensor], shares: Mapping[str, Tensor | float]) -> Tensor:
        """Losses of a part of a step, and what part of the task's targets it holds -> scalar."""
        counted = [loss * shares[name] * self.weight(name, loss) for name, loss in losses.items() if self.fixed(name)]
        return torch.stack(counted).sum() if counted else torch.zeros((), device=self.device)

    def observe(self, losses: Mapping[str, Tensor]) -> None:
        """Takes note of the losses of a whole step."""

    def state(self) -> dict[str, Tensor]:
        """Tensors that a later run goes on from."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave."""


class Initial(Balance):
    """Each loss over what it was when the task was first seen: tasks begin alike, whatever their units.

    A loss of 0 (a batch that asked for nothing) is not a first one.
    """

    def __init__(self, tasks: Sequence[str], settings: Balancing, device: torch.device) -> None:
        super().__init__(tasks, settings, device)
        self.first: dict[str, Tensor] = {}

    def weight(self, task: str, loss: Tensor) -> Tensor | float:
        first = self.first.get(task, loss.detach())
        return self.fixed(task) / torch.where(first > NOTHING, first, torch.ones_like(first))

    def observe(self, losses: Mapping[str, Tensor]) -> None:
        for name, loss in losses.items():
            first = self.first.get(name, loss)
            self.first[name] = torch.where(first > NOTHING, first, loss)

    def state(self) -> dict[str, Tensor]:
        return dict(self.first)

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.first = {name: value.to(self.device) for name, value in state.items()}


class Uncertainty(Balance):
    """exp(-s) L + s with a learned s for each task, the logarithm of its variance (Kendall et al. 2018).

    s is held between -clamp and clamp, or one task could be switched off for good.
    """

    def __init__(self, tasks: Sequence[str], settings: Balancing, device: torch.device) -> None:
        super().__init__(tasks, settings, device)
        self.log_variance = nn.Parameter(torch.zeros(len(tasks), device=device))

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [self.log_variance]

    def _s(self, task: str) -> Tensor:
        return self.log_variance[self.tasks.index(task)]

    def weight(self, task: str, loss: Tensor) -> Tensor | float:
        return self.fixed(task) * (-self._s(task)).exp()

    def weigh(self, losses: Mapping[str, Tensor], shares: Mapping[str, Tensor | float]) -> Tensor:
        with torch.no_grad():
            self.log_variance.clamp_(-self.settings.clamp, self.settings.clamp)
        price = torch.stack([shares[name] * self._s(name) for name in losses]).sum()
        return super().weigh(losses, shares) + price

    def state(self) -> dict[str, Tensor]:
        return {"log_variance": self.log_variance.detach()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self.log_variance.copy_(state["log_variance"])


class DynamicWeightAverage(Balance):
    """A task whose mean loss fell less than the others' from one window of steps to the next counts more.

    w = K softmax(r / temperature), r the later mean over the earlier one (Liu et al. 2019, "End-to-End
    Multi-Task Learning with Attention", section 3.3; windows stand for its epochs).
    """

    def __init__(self, tasks: Sequence[str], settings: Balancing, device: torch.device) -> None:
        super().__init__(tasks, settings, device)
        zeros = torch.zeros(len(tasks), device=device)
        self.sums, self.counts, self.means, self.ratios = zeros.clone(), zeros.clone(), zeros.clone(), zeros + 1
        self.steps = 0

    def weight(self, task: str, loss: Tensor) -> Tensor | float:
        weights = functional.softmax(self.ratios / self.settings.temperature, dim=0) * len(self.tasks)
        return self.fixed(task) * weights[self.tasks.index(task)]

    def observe(self, losses: Mapping[str, Tensor]) -> None:
        for name, loss in losses.items():
            self.sums[self.tasks.index(name)] += loss
            self.counts[self.tasks.index(name)] += 1
        self.steps += 1
        if self.steps % self.settings.window == 0:
            means = torch.where(self.counts > 0, self.sums / self.counts.clamp_min(1), self.means)
            known = self.means > 0
            self.ratios = torch.where(known, means / self.means.clamp_min(1e-8), torch.ones_like(means))
            self.means = means
            self.sums.zero_()
            self.counts.zero_()

    def state(self) -> dict[str, Tensor]:
        return {
            "sums": self.sums,
            "counts": self.counts,
            "means": self.means,
            "ratios": self.ratios,
            "steps": torch.tensor(self.steps),
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        for name in ("sums", "counts", "means", "ratios"):
            setattr(self, name, state[name].to(self.device))
        self.steps = int(state["steps"])


class Joined(Balance):
    """Gradients of the tasks on the encoder -> one gradient, by an aggregator of torchjd.

    Raises:
        ConfigError: where torchjd, or what the method needs of it, is missing.
    """

    def __init__(self, tasks: Sequence[str], settings: Balancing, device: torch.device) -> None:
        super().__init__(tasks, settings, device)
        if importlib.util.find_spec("torchjd") is None:
            raise ConfigError(f"balancing.method {settings.method} needs torchjd: {INSTALL}")
        from torchjd import aggregation

        options = {"c": 0.5} if settings.method == "cagrad" else {}
        try:
            self.aggregator = getattr(aggregation, TORCHJD[settings.method])(**options)
        except ImportError as error:
            raise ConfigError(f"balancing.method {settings.method} needs more than torchjd alone: {INSTALL}") from error

    def join(self, gradients: Mapping[str, Tensor], losses: Mapping[str, Tensor]) -> Tensor:
        """Flat gradients (P,) by objective, retention among them -> (P,)."""
        rows = [self.fixed(name) * row for name, row in gradients.items() if self.fixed(name)]
        if not rows:
            return torch.zeros_like(next(iter(gradients.values())))
        stacked = torch.stack(rows)
        if not stacked.isfinite().all():
            return stacked.sum(0)  # aggregators decompose what they are given; the step will not be taken
        joined: Tensor = self.aggregator(stacked)
        return joined


class Famo(Balance):
    """Weights under which the logarithms of all losses fall alike (Liu et al. 2023, "FAMO: Fast Adaptive Multitask
    Optimization"): after each step its logits follow the fall of each loss on the same batches."""

    def __init__(self, tasks: Sequence[str], settings: Balancing, device: torch.device) -> None:
        super().__init__(tasks, settings, device)
        self.logits = torch.zeros(len(tasks), device=device, requires_grad=True)
        self.adam = torch.optim.Adam([self.logits], lr=settings.rate, weight_decay=1e-3)

    def _factors(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the gradient of each task counts; they sum to 1. A loss of 0 has nothing to fall."""
        share = dict(zip(self.tasks, functional.softmax(self.logits.detach(), dim=0), strict=True))
        nothing = torch.zeros((), device=self.device)
        parts = {
            name: torch.where(loss.detach() > NOTHING, share[name] / loss.detach().clamp_min(NOTHING), nothing)
            for name, loss in losses.items()
        }
        total = torch.stack(list(parts.values())).sum().clamp_min(1e-8)
        return {name: part / total for name, part in parts.items()}

    def join(self, gradients: Mapping[str, Tensor], losses: Mapping[str, Tensor]) -> Tensor:
        """Flat gradients (P,) by objective and the losses of the step -> (P,); retention is added as it is."""
        factors = self._factors(losses)
        rows = [factors[name] * self.fixed(name) * row for name, row in gradients.items() if name in factors]
        kept = gradients.get(RETENTION)
        return torch.stack(rows if kept is None else [*rows, kept]).sum(0)

    def weight(self, task: str, loss: Tensor) -> Tensor | float:
        return self.fixed(task) * functional.softmax(self.logits.detach(), dim=0)[self.tasks.index(task)]

    def follow(self, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
        """Moves the logits by how far each loss fell on the same batches; one that was not there stood still."""
        still = torch.zeros((), device=self.device)
        fell = torch.stack(
            [
                before[name].clamp_min(1e-8).log() - after[name].clamp_min(1e-8).log() if name in after else still
                for name in self.tasks
            ]
        )
        with torch.enable_grad():
            (self.logits.grad,) = torch.autograd.grad(
                functional.softmax(self.logits, dim=0), self.logits, grad_outputs=fell.detach()
            )
        self.adam.step()

    def state(self) -> dict[str, Tensor]:
        return {"logits": self.logits.detach(), **self.adam.state.get(self.logits, {})}

    def load(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self.logits.copy_(state["logits"])
        self.adam.state[self.logits] = {
            name: value if name == "step" else value.to(self.device)
            for name, value in state.items()
            if name != "logits"
        }


_WEIGHTINGS: dict[str, type[Balance]] = {
    "fixed": Balance,
    "initial": Initial,
    "uncertainty": Uncertainty,
    "dwa": DynamicWeightAverage,
    "famo": Famo,
}


def balance_of(settings: Balancing, tasks: Sequence[str], device: torch.device) -> Balance:
    """The method that a recipe names.

    Raises:
        ConfigError: for weights of unknown tasks, or a package that is missing.
    """
    return _WEIGHTINGS.get(settings.method, Joined)(tasks, settings, device)
