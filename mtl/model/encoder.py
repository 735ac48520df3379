"""A Hugging Face backbone that takes and returns flat tokens. Knows no task and no text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Encoder(nn.Module):
    """Wraps a BERT-like backbone: padding happens inside and is never seen outside."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def width(self) -> int:
        return int(self.backbone.config.hidden_size)

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def embeddings(self) -> nn.Module:
        """The module that turns ids into the first (N, H)."""
        embeddings: nn.Module = self.backbone.get_submodule("embeddings")
        return embeddings

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer layers, first to last."""
        for path in ("encoder.layer", "transformer.layer", "encoder.layers", "layers"):
            try:
                found = self.backbone.get_submodule(path)
            except AttributeError:
                continue
            if isinstance(found, nn.ModuleList):
                return found
        raise TypeError(f"{type(self.backbone).__name__} keeps its layers where mtl does not look")

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Flat ids (N,) and lengths (B,) -> hidden states (N, H): the embeddings, then each layer."""
        valid = torch.arange(int(lengths.max()), device=ids.device) < lengths[:, None]  # (B, T)
        pad = self.backbone.config.pad_token_id or 0
        padded = torch.full(valid.shape, pad, dtype=ids.dtype, device=ids.device)
        padded[valid] = ids
        output = self.backbone(input_ids=padded, attention_mask=valid.long(), output_hidden_states=True)
        return tuple(state[valid] for state in output.hidden_states)
