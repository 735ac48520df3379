"""Attention without padding: which texts share a grid, and where each token lies in it. Knows no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

STEP = 16
"""Attention pads texts to a multiple of this many tokens: oneDNN multiplies such matrices at full speed."""

SHORT = 32
"""Up to so many tokens a softmax is quicker in float32, there and back."""


@dataclass(frozen=True)
class AttentionGrid:
    """Some texts of a batch, alike in length, as rows times columns cells.

    gather  (3 * rows * heads * columns,) which vector of (N * 3 * heads) each cell holds; an empty one holds any
    mask    (rows * heads, 1, columns), minus infinity (as good as) where a cell is empty; None where none is
    """

    rows: int
    columns: int
    gather: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class AttentionPlan:
    """How the texts of a batch are read by attention, the same in every layer.

    back    (N * heads,) where in the cells of all grids, end to end, the vector of each token and head comes to lie
    places  (N,) the place of each token in its text
    """

    grids: tuple[AttentionGrid, ...]
    back: Tensor
    places: Tensor


def attention_plan(
    lengths: Sequence[int], n_heads: int, dtype: torch.dtype, *, rows: int | None = None
) -> AttentionPlan:
    """Texts of these lengths in grids, each as wide as the next multiple of `STEP`.

    `rows`, where it is more than there are tokens: those beyond them read anything and are read by none.
    """
    sizes = np.asarray(lengths)
    starts = np.cumsum(sizes) - sizes
    columns_of = -(-sizes // STEP) * STEP
    heads = np.arange(n_heads)
    n_tokens = int(sizes.sum())
    back = np.zeros((rows or n_tokens, n_heads), dtype=np.int64)
    grids, offset = [], 0
    for columns in np.unique(columns_of).tolist():
        mine = np.flatnonzero(columns_of == columns)
        length, start, n_texts = sizes[mine], starts[mine], len(mine)
        if dtype == torch.float32:
            columns = int(length.max())
        column = np.arange(columns)
        there = column < length[:, None]
        cells = np.where(there, start[:, None] + column, start[:, None])
        vectors = cells[None, :, None, :] * (3 * n_heads) + heads[:, None]
        gather = vectors + (np.arange(3) * n_heads)[:, None, None, None]
        row, place = np.nonzero(there)
        back[cells[there]] = offset + (row[:, None] * n_heads + heads) * columns + place[:, None]
        offset += n_texts * n_heads * columns
        grids.append(AttentionGrid(n_texts, columns, torch.from_numpy(gather.ravel()), _mask(there, n_heads, dtype)))
    places = np.zeros(len(back), dtype=np.int64)
    places[:n_tokens] = np.arange(n_tokens) - np.repeat(starts, sizes)
    return AttentionPlan(tuple(grids), torch.from_numpy(back.ravel()), torch.from_numpy(places))


def _mask(there: NDArray[np.bool_], n_heads: int, dtype: torch.dtype) -> Tensor | None:
    if there.all():
        return None
    mask = torch.zeros(there.shape, dtype=dtype).masked_fill_(~torch.from_numpy(there), torch.finfo(dtype).min)
    return mask.repeat_interleave(n_heads, dim=0)[:, None]


def attend(joined: Tensor, plan: AttentionPlan) -> Tensor:
    """(N, 3H) of queries (scaled already), keys and values -> (N, H)."""
    n_heads = len(plan.back) // len(joined)
    vectors = joined.view(len(joined) * 3 * n_heads, -1)
    read = [_attend_grid(vectors, grid) for grid in plan.grids]
    whole = read[0] if len(read) == 1 else torch.cat(read)
    return whole.index_select(0, plan.back).view(len(joined), -1)


def attend_alone(joined: Tensor, n_heads: int) -> Tensor:
    """The same for the tokens of one short text, for which a plan costs more than it saves."""
    parts = joined.view(len(joined), 3, n_heads, -1).permute(1, 2, 0, 3).float()
    query, key, value = parts[:, None].unbind(0)
    read = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    return read[0].transpose(0, 1).reshape(len(joined), -1).to(joined.dtype)


def _attend_grid(vectors: Tensor, grid: AttentionGrid) -> Tensor:
    """Vectors (N * 3 * heads, D) of queries, keys and values -> (rows * heads * columns, D)."""
    width = vectors.shape[1]
    query, key, value = vectors.index_select(0, grid.gather).view(3, -1, grid.columns, width).unbind(0)
    if vectors.dtype == torch.float32:
        read = functional.scaled_dot_product_attention(
            query[None], key[None], value[None], attn_mask=grid.mask, scale=1.0
        )
        return read.view(-1, width)
    turned = key.transpose(1, 2)
    scores = torch.bmm(query, turned) if grid.mask is None else torch.baddbmm(grid.mask, query, turned)
    short = grid.columns <= SHORT
    weights = scores.float().softmax(-1).to(vectors.dtype) if short else scores.softmax(-1)
    return torch.bmm(weights, value).view(-1, width)
