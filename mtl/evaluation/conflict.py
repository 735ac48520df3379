"""The conflict meter: how far the gradients of two tasks point the same way, layer by layer.

The cosine of task gradients on the encoder's parameters (Yu et al. 2020, "Gradient Surgery for Multi-Task
Learning", section 2.1): below 0 the tasks pull apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from mtl.data.batches import Batch
from mtl.model.multitask import MultiTaskModel
from mtl.model.precision import Precision, autocast
from mtl.tasks import Task


@dataclass(frozen=True)
class TaskPair:
    """Two tasks and the cosine of their gradients on each part of the encoder; NaN where one has none."""

    left: str
    right: str
    cosines: tuple[float, ...]


@dataclass(frozen=True)
class Conflict:
    """parts: `embeddings`, `layer 1` ..., those that learn."""

    parts: tuple[str, ...]
    pairs: tuple[TaskPair, ...]


def measure(
    model: MultiTaskModel, probes: Mapping[str, Batch], tasks: Sequence[Task], precision: Precision
) -> Conflict | None:
    """The conflict on fixed batches, one a task, without dropout; None where fewer than two tasks move the encoder.

    Leaves weights, gradients and random state as they are, and the model in eval mode.
    """
    encoder = model.encoder
    stack = [
        ("embeddings", encoder.embeddings),
        *((f"layer {i}", block) for i, block in enumerate(encoder.blocks, start=1)),
    ]
    learning = {name: [p for p in module.parameters() if p.requires_grad] for name, module in stack}
    learning = {name: parameters for name, parameters in learning.items() if parameters}
    if not learning or len(probes) < 2:
        return None
    model.eval()
    chosen = [task for task in tasks if task.name in probes]
    gradients = {task.name: _gradients(model, probes[task.name], task, learning, precision) for task in chosen}
    pairs = tuple(
        TaskPair(left, right, tuple(_cosine(gradients[left][part], gradients[right][part]) for part in learning))
        for left, right in combinations(gradients, 2)
    )
    return Conflict(tuple(learning), pairs)


def _gradients(
    model: MultiTaskModel,
    batch: Batch,
    task: Task,
    learning: Mapping[str, Sequence[Tensor]],
    precision: Precision,
) -> dict[str, Tensor]:
    """The gradient of one task's loss by part, flat."""
    with torch.enable_grad(), autocast(model.device, precision):
        encoding = model.encode(batch.inputs.to(model.device), [task.name])
        output = model.read(encoding, [task.name])[task.name]
    with torch.enable_grad():
        loss = task.loss(output, batch.targets[task.name].to(model.device))
        flat = [p for parameters in learning.values() for p in parameters]
        found = iter(torch.autograd.grad(loss, flat, allow_unused=True))
    return {
        part: torch.cat([_or_zero(next(found), p).flatten() for p in parameters])
        for part, parameters in learning.items()
    }


def _or_zero(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if gradient is None else gradient


def _cosine(left: Tensor, right: Tensor) -> float:
    return float((left @ right) / (left.norm() * right.norm()))
