"""Token states -> one vector a text. Special tokens count, as they do in sentence-transformers."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mtl.errors import ConfigError

PoolingMode = Literal["mean", "cls", "max"]


class Pooling(nn.Module):
    """Pools flat token states by `mean`, by the first token (`cls`) or by `max`.

    Raises:
        ConfigError: for any other mode.
    """

    def __init__(self, mode: PoolingMode = "mean") -> None:
        super().__init__()
        if mode not in get_args(PoolingMode):
            raise ConfigError(f"pooling is {mode!r}; it must be one of {', '.join(get_args(PoolingMode))}")
        self.mode = mode

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """(N, H) and (B,) -> (B, H)."""
        if self.mode == "cls":
            return states[lengths.cumsum(0) - lengths]
        if self.mode == "max":
            return torch.stack([text.amax(0) for text in torch.split(states, lengths.tolist())])
        text = torch.repeat_interleave(
            torch.arange(len(lengths), device=states.device), lengths, output_size=len(states)
        )
        total = states.new_zeros((len(lengths), states.shape[1])).index_add(0, text, states)
        return total / lengths[:, None]
