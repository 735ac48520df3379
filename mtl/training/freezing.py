"""Applies a `FreezePolicy` to a model and counts what is left to learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from mtl.errors import ConfigError
from mtl.model.multitask import MultiTaskModel
from mtl.training.config import FreezePolicy


@dataclass(frozen=True)
class Part:
    """A module that a policy can freeze, under the name that a person reads."""

    name: str
    module: nn.Module
    frozen: bool


def parts(model: MultiTaskModel, policy: FreezePolicy) -> Iterator[Part]:
    """Every part of the model, bottom to top.

    Raises:
        ConfigError: where the policy names more layers than there are, or an unknown head.
    """
    encoder = model.encoder
    if policy.layers > encoder.n_layers:
        raise ConfigError(f"freeze.layers is {policy.layers}; the encoder has {encoder.n_layers} layers")
    unknown = sorted(set(policy.heads) - set(model.heads))
    if unknown:
        raise ConfigError(f"freeze.heads names {unknown[0]!r}; the model has {', '.join(model.heads)}")
    yield Part("embeddings", encoder.embeddings, policy.encoder or policy.embeddings or policy.layers > 0)
    for index, block in enumerate(encoder.blocks):
        yield Part(f"layer {index + 1}", block, policy.encoder or index < policy.layers)
    for name, head in model.heads.items():
        yield Part(f"head {name}", head, name in policy.heads)


def apply(model: MultiTaskModel, policy: FreezePolicy) -> None:
    """Sets `requires_grad` everywhere; whatever belongs to no part (a backbone's pooler) is frozen.

    Raises:
        ConfigError: as `parts` does.
    """
    found = list(parts(model, policy))
    model.requires_grad_(False)
    for part in found:
        part.module.requires_grad_(not part.frozen)


def set_train_mode(model: MultiTaskModel, policy: FreezePolicy) -> None:
    """Train mode for what learns, eval mode for what is frozen, or its dropout would stay on."""
    model.eval()
    for part in parts(model, policy):
        part.module.train(not part.frozen)


def trainable_counts(model: MultiTaskModel, policy: FreezePolicy, trained: set[str]) -> Mapping[str, int]:
    """Parameters that will learn, by part; a head that no data feeds (not in `trained`) learns nothing."""
    silent = {f"head {name}" for name in model.heads if name not in trained}
    return {p.name: 0 if p.frozen or p.name in silent else _size(p.module) for p in parts(model, policy)}


def total_counts(model: MultiTaskModel) -> Mapping[str, int]:
    """Parameters by part."""
    return {p.name: _size(p.module) for p in parts(model, FreezePolicy())}


def warnings(model: MultiTaskModel, policy: FreezePolicy, trained: set[str]) -> tuple[str, ...]:
    """Sentences about heads that will drift: the encoder moves and they do not follow."""
    if policy.encoder:
        return ()
    still = [name for name in model.heads if _size(model.heads[name]) and (name in policy.heads or name not in trained)]
    return tuple(
        f"Head {name} does not learn while the encoder below it moves; its answers will drift." for name in still
    )


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
