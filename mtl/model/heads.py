"""The small networks on top. Each reads an `Encoding`, so training and fast inference share them.

Knows shapes and numbers of labels, not what a label means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl.model.padding import grid
from mtl.types import Encoding

LayerChoice = Literal["last", "mix", "all"]


class SentenceHead(nn.Module):
    """Classifies the pooled vector; a second one may be stacked in as the hidden layer."""

    def __init__(self, width: int, n_labels: int, *, hidden: int = 0, dropout: float = 0.1) -> None:
        super().__init__()
        self.network = _network(width, n_labels, hidden=hidden, dropout=dropout)

    def forward(self, encoding: Encoding) -> Tensor:
        """-> logits (B, L)."""
        logits: Tensor = self.network(encoding.sentence)
        return logits


class TokenHead(nn.Module):
    """Classifies every token from the encoder's layers and the casing of the caller's own text.

    layers   `last`, `mix` (one learned weight a layer, as in Peters et al. 2018, "Deep contextualized word
             representations") or `all` (concatenated). With a frozen encoder `all` is far better.
    context  dilations of convolutions of width 3 over neighbouring tokens, one after the other (Strubell et
             al. 2017, "Fast and Accurate Entity Recognition with Iterated Dilated Convolutions")
    """

    def __init__(
        self,
        width: int,
        n_labels: int,
        *,
        n_layers: int,
        layers: LayerChoice = "all",
        n_shapes: int = 0,
        hidden: int = 256,
        context: Sequence[int] = (),
        dropout: float = 0.1,
    ) -> None:
        """`n_layers` counts the encoder's layers; the embeddings' output comes on top of them."""
        super().__init__()
        self.layers = layers
        self.n_shapes = n_shapes
        if layers == "mix":
            self.mix = nn.Parameter(torch.zeros(n_layers + 1))
        size = width * (n_layers + 1) if layers == "all" else width
        self.network = _network(size + n_shapes, n_labels, hidden=hidden, dropout=dropout)
        self.context = nn.ModuleList(nn.Conv1d(hidden, hidden, 3, padding=d, dilation=d) for d in context)
        self.leave = nn.Sequential(nn.LayerNorm(hidden), nn.Dropout(dropout)) if context else None

    def forward(self, encoding: Encoding) -> Tensor:
        """-> logits (N, L)."""
        states = self.reduce(encoding.layers, encoding.word_shape)
        if self.leave is not None:
            cells = grid(encoding.lengths, len(states), encoding.longest)
            states = cells.flat(self.in_context(cells.padded(states), cells.valid()))
        return self.classify(states)

    def reduce(self, layers: Sequence[Tensor], word_shape: Tensor) -> Tensor:
        """Each token by itself: layers (..., H) and casing (..., F) -> what the last linear layer reads (..., D)."""
        reduced: Tensor = self.network[:-1](self.join(layers, word_shape))
        return reduced

    def join(self, layers: Sequence[Tensor], word_shape: Tensor) -> Tensor:
        """What the network reads of each token: (..., H) of each layer and (..., F) -> (..., size)."""
        shapes = [word_shape.to(layers[-1].dtype)] if self.n_shapes else []
        if self.layers == "all":
            return torch.cat([*layers, *shapes], dim=-1)
        states = layers[-1]
        if self.layers == "mix":
            weights = self.mix.softmax(0)
            states = torch.stack([weight * layer for weight, layer in zip(weights, layers, strict=True)]).sum(0)
        return torch.cat([states, *shapes], dim=-1) if shapes else states

    def in_context(self, states: Tensor, valid: Tensor) -> Tensor:
        """Each token among its neighbours: (B, T, D) and where a token is, (B, T) -> (B, T, D)."""
        if self.leave is None:
            return states
        mask = valid.unsqueeze(-1).to(states.dtype)
        for convolution in self.context:
            near = convolution((states * mask).transpose(1, 2)).transpose(1, 2)
            states = states + functional.gelu(near)
        left: Tensor = self.leave(states)
        return left

    def classify(self, states: Tensor) -> Tensor:
        """(..., D) -> logits (..., L)."""
        logits: Tensor = self.network[-1](states)
        return logits


class CosineHead(nn.Module):
    """Compares the two halves of a batch of pairs; has no parameters."""

    def forward(self, encoding: Encoding) -> Tensor:
        """-> cosine (B/2,) of each left text and its right one."""
        left, right = encoding.sentence.float().chunk(2)
        return functional.cosine_similarity(left, right)


def _network(size: int, n_labels: int, *, hidden: int, dropout: float) -> nn.Sequential:
    first: list[nn.Module] = [nn.Linear(size, hidden), nn.GELU(), nn.Dropout(dropout)] if hidden else []
    return nn.Sequential(nn.Dropout(dropout), *first, nn.Linear(hidden or size, n_labels))
