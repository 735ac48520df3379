"""A Hugging Face backbone that takes and returns flat tokens. Knows no task and no text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mtl.model.fused import FusedBert, fits
from mtl.model.padding import grid

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Encoder(nn.Module):
    """Wraps a BERT-like backbone: padding happens inside and is never seen outside."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = backbone
        self.fused = FusedBert()

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

    def take_back_gradient(self) -> None:
        """The step is done and its gradients were finite: memory of the largest of them is used again."""
        if self.fused.spare.in_use:
            self.fused.spare.take_back(self.embeddings.get_parameter("word_embeddings.weight").grad)

    def forward(
        self, ids: Tensor, lengths: Tensor, *, every_layer: bool = True, longest: int | None = None
    ) -> tuple[Tensor, ...]:
        """Flat ids (N,) and lengths (B,) -> hidden states (N, H): the embeddings, then each layer.

        Without `every_layer` only the last. `longest` is T, looked up where it is None.
        """
        cells = grid(lengths, len(ids), longest)
        learns = torch.is_grad_enabled() and ids.device.type == "cpu" and any(block.training for block in self.blocks)
        if learns and fits(self.backbone):
            return self.fused(self.backbone, ids, cells, every_layer=every_layer)
        padded = cells.padded(ids, self.backbone.config.pad_token_id or 0)
        mask = cells.valid().long()
        output = self.backbone(input_ids=padded, attention_mask=mask, output_hidden_states=every_layer)
        states = output.hidden_states if every_layer else (output.last_hidden_state,)
        return tuple(cells.flat(state) for state in states)
