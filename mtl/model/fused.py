"""A BERT's own weights in fewer and cheaper operations, for training on a CPU: the same function to rounding.

On short texts a step of training is ruled by the number of operations and by memory, not by products: queries,
keys and values are one product, weights are rounded once a step, dropout draws its masks quickly, and the gradient
of the word embeddings touches the rows that were read. Weights stay where they are, under the names they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl.model.padding import Grid

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def fits(backbone: PreTrainedModel) -> bool:
    """Whether `FusedBert` computes what this backbone computes: a plain BERT encoder without adapters."""
    config = backbone.config
    return (
        type(backbone).__name__ == "BertModel"
        and config.hidden_act == "gelu"
        and not config.is_decoder
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and not any(name.endswith("base_layer") for name, _ in backbone.named_modules())
    )


class FusedBert:
    """Runs a backbone that `fits`; keeps memory for the largest gradient from step to step."""

    def __init__(self) -> None:
        self.spare = Spare()

    def __call__(self, backbone: PreTrainedModel, ids: Tensor, cells: Grid, *, every_layer: bool) -> tuple[Tensor, ...]:
        """Flat ids (N,) -> hidden states (N, H) in float32: the embeddings, then each layer; or only the last.

        Products are computed in the type that autocast says.
        """
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        run = _Pass(cells, dtype, backbone.config.num_attention_heads)
        with torch.autocast("cpu", enabled=False):
            padded = cells.padded(ids, backbone.config.pad_token_id or 0)
            states = run.embed(backbone.get_submodule("embeddings"), padded, self.spare)
            found = [states]
            for block in backbone.get_submodule("encoder.layer").children():
                found.append(run.block(block, found[-1]))
            return tuple(cells.flat(state) for state in (found if every_layer else found[-1:]))


class _Pass:
    """One forward pass; states are (B, T, H) in float32."""

    def __init__(self, cells: Grid, dtype: torch.dtype, n_heads: int) -> None:
        self.dtype, self.n_heads = dtype, n_heads
        self.mask: Tensor | None = None
        if len(cells.places) < cells.rows * cells.columns:
            wide = (cells.rows, n_heads, cells.columns, cells.columns)
            mask = torch.zeros(cells.rows, 1, 1, cells.columns, dtype=dtype)
            mask.masked_fill_(~cells.valid()[:, None, None], torch.finfo(dtype).min)
            self.mask = mask.expand(wide).reshape(-1, *wide[2:])
        self.random = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, ()))))

    def embed(self, embeddings: Any, ids: Tensor, spare: Spare) -> Tensor:
        words = _Rows.apply(embeddings.word_embeddings.weight, ids, spare)  # type: ignore[no-untyped-call]
        places = embeddings.position_embeddings.weight[: ids.shape[1]] + embeddings.token_type_embeddings.weight[0]
        return self._dropped(_normalised(words + places, embeddings.LayerNorm), embeddings.dropout)

    def block(self, block: Any, states: Tensor) -> Tensor:
        """One transformer layer."""
        read = self._attend(block.attention.self, states.to(self.dtype))
        states = self._added(block.attention.output, read, states)
        wide = functional.gelu(self._linear(block.intermediate.dense, states.to(self.dtype)))
        return self._added(block.output, wide, states)

    def _attend(self, attention: Any, inner: Tensor) -> Tensor:
        rows, columns, width = inner.shape
        parts = (attention.query, attention.key, attention.value)
        weight = _Joined.apply(self.dtype, *(part.weight for part in parts))  # type: ignore[no-untyped-call]
        bias = _Joined.apply(self.dtype, *(part.bias for part in parts))  # type: ignore[no-untyped-call]
        joined = functional.linear(inner, weight, bias).view(rows, columns, 3, self.n_heads, -1)
        query, key, value = joined.permute(2, 0, 3, 1, 4).contiguous().flatten(1, 2).unbind(0)
        scale = query.shape[-1] ** -0.5
        if self.mask is None:
            scores = torch.bmm(query, key.transpose(1, 2)) * scale
        else:
            scores = torch.baddbmm(self.mask, query, key.transpose(1, 2), alpha=scale)
        read = torch.bmm(self._dropped(scores.softmax(-1), attention.dropout), value)
        return read.view(rows, self.n_heads, columns, -1).transpose(1, 2).reshape(rows, columns, width)

    def _added(self, output: Any, inner: Tensor, states: Tensor) -> Tensor:
        """Projects, drops, adds what came, normalises."""
        moved = self._dropped(self._linear(output.dense, inner), output.dropout)
        return _normalised(states + moved, output.LayerNorm)

    def _linear(self, linear: nn.Linear, inner: Tensor) -> Tensor:
        return functional.linear(inner, linear.weight.to(self.dtype), linear.bias.to(self.dtype))

    def _dropped(self, states: Tensor, dropout: nn.Dropout) -> Tensor:
        """Times a mask of 0 and 1 / (1 - p), from 16 random bits an element: p is true to 1e-5."""
        if not dropout.p or not dropout.training:
            return states
        size = states.numel()
        drawn = self.random.integers(0, 1 << 64, (size + 3) // 4, dtype=np.uint64).view(np.int16)[:size]
        kept = torch.empty(states.shape, dtype=states.dtype)
        torch.ge(torch.from_numpy(drawn).view(states.shape), round(dropout.p * (1 << 16)) - (1 << 15), out=kept)
        return states * kept.mul_(1 / (1 - dropout.p))


def _normalised(states: Tensor, norm: nn.LayerNorm) -> Tensor:
    return functional.layer_norm(states, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


class _Joined(torch.autograd.Function):
    """Several tensors, one after the other, in another type."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *parts: Tensor) -> Tensor:
        ctx.sizes = [len(part) for part in parts]
        joined = torch.empty(sum(ctx.sizes), *parts[0].shape[1:], dtype=dtype)
        for place, part in zip(torch.split(joined, ctx.sizes), parts, strict=True):
            place.copy_(part)
        return joined

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(part.float() for part in torch.split(gradient, ctx.sizes))


class _Rows(torch.autograd.Function):
    """Rows of a table (V, H) by ids. Its gradient is zero but for a few rows, in memory that `Spare` keeps."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, spare: Spare) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.spare = table.shape, spare
        return functional.embedding(ids, table)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        return ctx.spare.with_rows(ctx.shape, ids.flatten(), gradient.flatten(0, -2)), None, None


class Spare:
    """The last gradient of a table, all zero again: memory that the system would have to give and clear each step."""

    def __init__(self) -> None:
        self._zeros: Tensor | None = None
        self._touched: list[Tensor] = []
        self._made: int | None = None

    def __deepcopy__(self, memo: object) -> Spare:
        return Spare()

    @property
    def in_use(self) -> bool:
        """Whether a gradient was made since the last one came back."""
        return self._made is not None

    def with_rows(self, shape: tuple[int, ...], ids: Tensor, rows: Tensor) -> Tensor:
        """(V, H) with `rows` (n, H) added at `ids` (n,)."""
        found, self._zeros = self._zeros, None
        if found is None or found.shape != shape:
            found = rows.new_zeros(shape)
        if self._made is None:
            self._made = found.data_ptr()
        self._touched.append(ids)
        return found.index_add_(0, ids, rows)

    def take_back(self, gradient: Tensor | None) -> None:
        """A gradient that nobody needs any more; its other rows must be zero, as they are while it is finite."""
        if gradient is not None and gradient.data_ptr() == self._made:
            self._zeros = gradient.index_fill_(0, torch.cat(self._touched), 0)
        self._touched, self._made = [], None
