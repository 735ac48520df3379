"""One encoder, one pooling, many heads, one pass. Knows heads by name and nothing of their meaning."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from mtl.model.encoder import Encoder
from mtl.model.pooling import Pooling
from mtl.types import Encoding, Tokens


class MultiTaskModel(nn.Module):
    """Runs the encoder once and lets any number of heads read the result."""

    def __init__(self, encoder: Encoder, pooling: Pooling, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.heads = nn.ModuleDict(heads)

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    def encode(self, tokens: Tokens) -> Encoding:
        """One encoder pass over `tokens`, which must lie on the model's device."""
        layers = self.encoder(tokens.ids, tokens.lengths)
        sentence = self.pooling(layers[-1], tokens.lengths)
        return Encoding(layers, sentence, tokens.word_shape, tokens.lengths)

    def read(self, encoding: Encoding, names: Collection[str]) -> dict[str, Tensor]:
        """What each named head says of an encoding.

        Raises:
            KeyError: for a name without a head.
        """
        return {name: self.heads[name](encoding) for name in names}
