"""Low-rank adapters in a model's encoder, through peft; merged into its weights at the end.

Knows where the linear layers are; which of them learn is the freezing policy's choice.
"""

from __future__ import annotations

import importlib.util

from torch import nn

from mtl.errors import ConfigError
from mtl.model.multitask import MultiTaskModel
from mtl.training.config import FreezePolicy, LoRA


def is_adapter(parameter: str) -> bool:
    """Whether a parameter of this name belongs to an adapter."""
    return "lora_" in parameter


def inject(model: MultiTaskModel, policy: FreezePolicy, lora: LoRA) -> None:
    """Puts adapters on every linear layer above the frozen ones, in place; they start as no change at all.

    Raises:
        ConfigError: where peft is missing, or no layer is left to adapt.
    """
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("freeze.lora needs peft: pip install peft")
    from peft import LoraConfig, inject_adapter_in_model

    backbone, blocks = model.encoder.backbone, model.encoder.blocks
    names = {module: name for name, module in backbone.named_modules()}
    targets = [
        names[module]
        for block in list(blocks)[policy.layers :]
        for module in block.modules()
        if isinstance(module, nn.Linear)
    ]
    if not targets:
        raise ConfigError(f"freeze.lora has no layer to adapt: freeze.layers is {policy.layers} of {len(blocks)}")
    settings = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets)
    inject_adapter_in_model(settings, backbone)


def merge(model: MultiTaskModel) -> None:
    """Adds every adapter to the weights that it adapts and takes it away: the encoder is a plain one again.

    A model without adapters stays as it is.
    """
    if importlib.util.find_spec("peft") is None:
        return
    from peft.tuners.lora import LoraLayer

    backbone = model.encoder.backbone
    adapted = [(name, module) for name, module in backbone.named_modules() if isinstance(module, LoraLayer)]
    for name, module in adapted:
        module.merge()
        parent, _, last = name.rpartition(".")
        setattr(backbone.get_submodule(parent), last, module.get_base_layer())
    if hasattr(backbone, "peft_config"):
        del backbone.peft_config
