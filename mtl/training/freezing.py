"""Applies a `FreezePolicy` to a model and counts what is left to learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from mtl.errors import ConfigError
from mtl.model.multitask import MultiTaskModel
from mtl.training import lora
from mtl.training.config import FreezePolicy


@dataclass(frozen=True)
class Part:
    """A module that a policy can freeze, under the name that a person reads.

    frozen  for the whole run; joins: the share of the run after which it begins to learn
    """

    name: str
    module: nn.Module
    frozen: bool
    joins: float = 0.0

    def learns(self, progress: float) -> bool:
        return not self.frozen and progress >= self.joins - 1e-9  # 3 * 0.1 is more than 0.3


def parts(model: MultiTaskModel, policy: FreezePolicy) -> Iterator[Part]:
    """Every part of the model, bottom to top.

    Raises:
        ConfigError: where the policy names more layers than there are, or an unknown head, or releases the
            last layer after the end.
    """
    encoder = model.encoder
    if policy.layers > encoder.n_layers:
        raise ConfigError(f"freeze.layers is {policy.layers}; the encoder has {encoder.n_layers} layers")
    for field, names in (("heads", policy.heads), ("gradient", tuple(policy.gradient))):
        unknown = sorted(set(names) - set(model.heads))
        if unknown:
            raise ConfigError(f"freeze.{field} names {unknown[0]!r}; the model has {', '.join(model.heads)}")
    frozen = policy.everything or policy.encoder
    still = policy.embeddings or policy.layers > 0 or policy.lora is not None
    stack = [("embeddings", encoder.embeddings, frozen or still)]
    stack += [
        (f"layer {place + 1}", block, frozen or place < policy.layers) for place, block in enumerate(encoder.blocks)
    ]
    order = [name for name, _, is_frozen in reversed(stack) if not is_frozen]
    joins = dict.fromkeys(order, 0.0)
    if policy.gradual is not None:
        joins = {name: policy.gradual * place for place, name in enumerate(order, start=1)}
        if max(joins.values(), default=0.0) >= 1:
            raise ConfigError(
                f"freeze.gradual is {policy.gradual}; {len(order)} parts would join until {max(joins.values()):.0%} "
                f"of the run; say less than {1 / len(order):.2g}"
            )
    for name, module, is_frozen in stack:
        yield Part(name, module, is_frozen, joins.get(name, 0.0))
    for name, head in model.heads.items():
        yield Part(f"head {name}", head, policy.everything or name in policy.heads)


def apply(model: MultiTaskModel, policy: FreezePolicy, progress: float = 1.0) -> None:
    """Sets `requires_grad` everywhere; whatever belongs to no part (a backbone's pooler) is frozen.

    `progress` is the share of the run that is over; 1 releases all that will ever learn. With adapters, it
    is they that learn in the encoder.

    Raises:
        ConfigError: as `parts` does.
    """
    found = list(parts(model, policy))
    model.requires_grad_(False)
    for part in found:
        for name, parameter in part.module.named_parameters():
            mine = policy.lora is None or part.name.startswith("head ") or lora.is_adapter(name)
            parameter.requires_grad_(mine and part.learns(progress))


def stage(model: MultiTaskModel, policy: FreezePolicy, progress: float) -> int:
    """How many parts learn after this share of the run: where it rises, `apply` again."""
    return sum(part.learns(progress) for part in parts(model, policy))


def set_train_mode(model: MultiTaskModel, policy: FreezePolicy, progress: float = 1.0) -> None:
    """Train mode for what learns, eval mode for what is frozen, or its dropout would stay on."""
    model.eval()
    for part in parts(model, policy):
        part.module.train(part.learns(progress))


def trainable_counts(model: MultiTaskModel, policy: FreezePolicy, trained: set[str]) -> Mapping[str, int]:
    """Parameters that require a gradient, by part; a head that no data feeds (not in `trained`) learns nothing."""
    silent = {f"head {name}" for name in model.heads if name not in trained}
    return {
        part.name: 0 if part.name in silent else sum(p.numel() for p in part.module.parameters() if p.requires_grad)
        for part in parts(model, policy)
    }


def total_counts(model: MultiTaskModel) -> Mapping[str, int]:
    """Parameters by part, adapters not counted."""
    return {
        part.name: sum(p.numel() for name, p in part.module.named_parameters() if not lora.is_adapter(name))
        for part in parts(model, FreezePolicy())
    }


def warnings(model: MultiTaskModel, trained: set[str]) -> tuple[str, ...]:
    """Sentences about heads that will drift: the encoder moves, and no row tells it what they need (`trained` has those
    that rows tell of: also one that is frozen is then suited by the encoder)."""
    if not any(p.requires_grad for p in model.encoder.parameters()):
        return ()
    return drifts([name for name in model.heads if _size(model.heads[name]) and name not in trained])


def drifts(heads: Sequence[str]) -> tuple[str, ...]:
    """What is said of heads that no row keeps in place; nothing of none."""
    if not heads:
        return ()
    many = f"Heads {', '.join(heads)} are" if len(heads) > 1 else f"Head {heads[0]} is"
    return (f"{many} neither trained nor rehearsed while the encoder below moves: those answers will drift.",)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
