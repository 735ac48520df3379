"""One encoder, one pooling, many heads, one pass. Knows heads by name and nothing of their meaning."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

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

    def encode(self, tokens: Tokens, names: Collection[str] | None = None) -> Encoding:
        """One encoder pass over `tokens`, which must lie on the model's device.

        The encoding holds what the heads in `names` read (None: all of them): every layer, or the last alone.
        """
        layers = self.encoder(
            tokens.ids, tokens.lengths, every_layer=self.reads_every_layer(names), longest=tokens.longest
        )
        sentence = self.pooling(layers[-1], tokens.lengths)
        return Encoding(layers, sentence, tokens.word_shape, tokens.lengths, tokens.longest)

    def reads_every_layer(self, names: Collection[str] | None = None) -> bool:
        """Whether one of the named heads (None: of all) reads more than the last layer."""
        chosen = self.heads if names is None else names
        return any(getattr(self.heads[name], "layers", "last") != "last" for name in chosen)

    def read(
        self, encoding: Encoding, names: Collection[str], gradient: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """What each named head says of an encoding; its gradient reaches the encoder times `gradient[name]`, or 1.

        Raises:
            KeyError: for a name without a head.
        """
        factors = gradient or {}
        return {name: self.heads[name](_weaker(encoding, factors.get(name, 1.0))) for name in names}


def _weaker(encoding: Encoding, factor: float) -> Encoding:
    """The same values, through which the gradient flows times `factor`."""
    if factor == 1:
        return encoding

    def scaled(states: Tensor) -> Tensor:
        return states.detach() if factor == 0 else states.detach() + factor * (states - states.detach())

    return replace(
        encoding, layers=tuple(scaled(layer) for layer in encoding.layers), sentence=scaled(encoding.sentence)
    )
