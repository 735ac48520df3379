"""Flat tokens -> a padded grid and back, without asking the device anything: no step of training waits for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Where the N tokens of B texts lie in a grid of B times T cells.

    places  (N,) cell of each token, row by row
    rows, columns  B and T
    """

    places: Tensor
    rows: int
    columns: int

    def padded(self, flat: Tensor, value: float = 0) -> Tensor:
        """(N, ...) -> (B, T, ...), `value` where there is no token."""
        cells = flat.new_full((self.rows * self.columns, *flat.shape[1:]), value)
        return cells.index_copy(0, self.places, flat).view(self.rows, self.columns, *flat.shape[1:])

    def flat(self, padded: Tensor) -> Tensor:
        """(B, T, ...) -> (N, ...)."""
        return padded.flatten(0, 1).index_select(0, self.places)

    def valid(self) -> Tensor:
        """(B, T), True where there is a token."""
        return self.padded(torch.ones_like(self.places, dtype=torch.bool))


def grid(lengths: Tensor, n_tokens: int, longest: int | None) -> Grid:
    """The grid of texts of these lengths (B,); `longest` is their maximum, which is looked up where it is None."""
    columns = int(lengths.max()) if longest is None else longest
    row = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths, output_size=n_tokens)
    start = (lengths.cumsum(0) - lengths)[row]
    places = row * columns + torch.arange(n_tokens, device=lengths.device) - start
    return Grid(places, len(lengths), columns)
