"""The parts of a packed model: layers whose weights lie in oneDNN's own order. Knows no model as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl.inference.attention import STEP, attend, attend_alone, attention_plan
from mtl.model.heads import TokenHead
from mtl.types import Encoding

if TYPE_CHECKING:
    from transformers import PreTrainedModel


FEW = 64
"""Up to so many tokens a batch is not rounded up."""


def rounded(n: int) -> int:
    """Rows with which n are multiplied: oneDNN makes and keeps code for each size that it meets; few are better.

    A handful of rows is left as it is: there each of them costs time.
    """
    return n if n <= FEW else -(-n // STEP) * STEP


@dataclass(frozen=True)
class PackedLinear:
    """A linear layer whose weights lie in oneDNN's own order; `gelu` is applied inside of the product."""

    weight: Tensor
    bias: Tensor
    gelu: bool = False

    def __call__(self, inner: Tensor) -> Tensor:
        """(n, in) in the weights' type -> (n, out)."""
        after = "gelu" if self.gelu else "none"
        found: Tensor = torch.ops.mkldnn._linear_pointwise(inner, self.weight, self.bias, after, [], "none")
        return found


def linear(weight: Tensor, bias: Tensor, dtype: torch.dtype, *, gelu: bool = False) -> PackedLinear:
    """Orders the weights (out, in) of a layer."""
    ordered = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous(), 1024)
    return PackedLinear(ordered, bias.detach().float().clone(), gelu)


@dataclass(frozen=True)
class Norm:
    """A layer norm in float32."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, states: Tensor) -> Tensor:
        return functional.layer_norm(states, self.weight.shape, self.weight, self.bias, self.eps)


def _norm(module: Any) -> Norm:
    return Norm(module.weight.detach().clone(), module.bias.detach().clone(), module.eps)


@dataclass(frozen=True)
class PackedBlock:
    """One transformer layer. Queries, keys and values are one product; queries come out scaled."""

    joined: PackedLinear
    attended: PackedLinear
    first_norm: Norm
    widened: PackedLinear
    narrowed: PackedLinear
    second_norm: Norm


class PackedBert:
    """A backbone that `fits`, without padding."""

    def __init__(self, backbone: PreTrainedModel, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.n_heads = int(backbone.config.num_attention_heads)
        embeddings: Any = backbone.get_submodule("embeddings")
        self.words = embeddings.word_embeddings.weight.detach()
        self.places = embeddings.position_embeddings.weight.detach() + embeddings.token_type_embeddings.weight[0]
        self.places = self.places.detach()
        self.norm = _norm(embeddings.LayerNorm)
        self.blocks = [self._block(block) for block in backbone.get_submodule("encoder.layer").children()]

    def _block(self, block: Any) -> PackedBlock:
        inner, dtype = block.attention.self, self.dtype
        scale = (inner.query.weight.shape[0] // self.n_heads) ** -0.5
        weight = torch.cat([inner.query.weight * scale, inner.key.weight, inner.value.weight])
        bias = torch.cat([inner.query.bias * scale, inner.key.bias, inner.value.bias])
        out, wide, narrow = block.attention.output, block.intermediate.dense, block.output
        return PackedBlock(
            joined=linear(weight, bias, dtype),
            attended=linear(out.dense.weight, out.dense.bias, dtype),
            first_norm=_norm(out.LayerNorm),
            widened=linear(wide.weight, wide.bias, dtype, gelu=True),
            narrowed=linear(narrow.dense.weight, narrow.dense.bias, dtype),
            second_norm=_norm(narrow.LayerNorm),
        )

    def __call__(self, ids: Tensor, lengths: Tensor, *, every_layer: bool) -> tuple[tuple[Tensor, ...], Tensor]:
        """Flat ids (N,) -> states (N, H) of the embeddings and each layer in the packed type (without
        `every_layer` of the last alone), and the last in float32."""
        if len(lengths) == 1 and len(ids) <= FEW:
            states = functional.embedding(ids, self.words) + self.places[: len(ids)]
            attention = partial(attend_alone, n_heads=self.n_heads)
        else:
            plan = attention_plan(lengths.tolist(), self.n_heads, self.dtype, rows=rounded(len(ids)))
            read = functional.pad(ids, (0, len(plan.places) - len(ids)))
            states = functional.embedding(read, self.words) + functional.embedding(plan.places, self.places)
            attention = partial(attend, plan=plan)
        states = self.norm(states)
        inner = states.to(self.dtype)
        found = [inner]
        for block in self.blocks:
            states = block.first_norm(states + block.attended(attention(block.joined(inner))))
            inner = states.to(self.dtype)
            states = block.second_norm(states + block.narrowed(block.widened(inner)))
            inner = states.to(self.dtype)
            found.append(inner)
        return tuple(layer[: len(ids)] for layer in (found if every_layer else found[-1:])), states[: len(ids)]


class PackedTokenHead(nn.Module):
    """A `TokenHead` on flat tokens; a convolution over neighbours is one product over three shifted copies."""

    def __init__(self, head: TokenHead, dtype: torch.dtype) -> None:
        super().__init__()
        self.head, self.dtype = head, dtype
        linears = [module for module in head.network if isinstance(module, nn.Linear)]
        self.hidden = linear(linears[0].weight, linears[0].bias, dtype, gelu=True) if len(linears) == 2 else None
        self.last = linears[-1]
        convolutions = [module for module in head.context if isinstance(module, nn.Conv1d)]
        self.context = [
            linear(c.weight.permute(0, 2, 1).flatten(1), _bias(c.bias), dtype, gelu=True) for c in convolutions
        ]
        self.dilations = [int(c.dilation[0]) for c in convolutions]

    def forward(self, encoding: Encoding) -> Tensor:
        """-> logits (N, L) in float32."""
        n_tokens = len(encoding.word_shape)
        states = self.head.join(encoding.layers, encoding.word_shape)
        beyond = rounded(n_tokens) - n_tokens
        states = functional.pad(states, (0, 0, 0, beyond))
        if self.hidden is not None:
            states = self.hidden(states.to(self.dtype))
        states = states.float()
        if self.head.leave is not None:
            near = Neighbourhood(functional.pad(encoding.lengths, (0, 1), value=beyond), len(states))
            for dilation, product in zip(self.dilations, self.context, strict=True):
                states = states + product(near(states.to(self.dtype), dilation))
            states = self.head.leave(states)
        logits: Tensor = self.last(states[:n_tokens])
        return logits


def _bias(bias: Tensor | None) -> Tensor:
    if bias is None:
        raise RuntimeError("a convolution without a bias")
    return bias


class Neighbourhood:
    """Which tokens of a batch lie in the same text."""

    def __init__(self, lengths: Tensor, n_tokens: int) -> None:
        ends = lengths.cumsum(0)
        self.place = torch.arange(n_tokens)
        self.start = torch.repeat_interleave(ends - lengths, lengths, output_size=n_tokens)
        self.end = torch.repeat_interleave(ends, lengths, output_size=n_tokens)

    def __call__(self, states: Tensor, distance: int) -> Tensor:
        """(N, D) -> (N, 3D): the token `distance` before, the token itself, the one after; zeros beyond the text."""
        before, after = self.place - distance, self.place + distance
        left = states.index_select(0, before.clamp_min(0)).masked_fill_((before < self.start)[:, None], 0)
        right = states.index_select(0, after.clamp_max(len(states) - 1)).masked_fill_((after >= self.end)[:, None], 0)
        return torch.cat([left, states, right], dim=1)
