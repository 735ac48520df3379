"""The model that a run begins with: an encoder with fresh heads, or a checkpoint whose heads come along."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mtl.inference.predictor import Predictor, from_encoder, load
from mtl.tasks import Task
from mtl.training.recipe import Recipe

FORMAT = ("format", "max_tokens", "pooling", "tasks")


def beginning(recipe: Recipe, tasks: Sequence[Task], *, device: str = "auto") -> Predictor:
    """What a recipe says to begin with, on a device.

    Raises:
        CheckpointError: where the encoder, or the checkpoint, cannot be found or read.
    """
    config = recipe.training
    if recipe.keep_heads:
        return extended(load(recipe.encoder, device=device, precision=config.precision), tasks, seed=config.seed)
    return from_encoder(
        recipe.encoder,
        tasks,
        pooling=recipe.pooling,
        max_tokens=recipe.max_tokens,
        device=device,
        precision=config.precision,
        seed=config.seed,
    )


def extended(predictor: Predictor, tasks: Sequence[Task], *, seed: int) -> Predictor:
    """The same predictor with fresh heads, drawn by `seed`, for the tasks that it does not have as they are.

    What its checkpoint says of its making, test figures among it, is dropped: it is about to be another model.
    """
    predictor.meta = {name: value for name, value in predictor.meta.items() if name in FORMAT}
    torch.manual_seed(seed)
    for task in tasks:
        if task not in predictor.tasks:
            predictor.add_task(task)
    return predictor
