"""A BERT encoder and its heads, laid out for this CPU: no padding, weights ordered once, the type that it is good at.

The tokens of all texts lie end to end, (N, H); only attention puts them into grids of texts alike in length. Linear
layers go through oneDNN with weights in its own order, GELU inside of the product; sums and norms are in float32.
The orders are operators of torch that are not public (`torch.ops.mkldnn`), so what is built here is compared with
the plain model before it is used, and where it differs or cannot be built the plain model serves.

Knows no text and no task.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mtl.model.fused import fits
from mtl.model.heads import TokenHead
from mtl.model.multitask import MultiTaskModel
from mtl.types import Encoding, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STEP = 16
"""Attention pads texts to a multiple of this many tokens: oneDNN multiplies such matrices at full speed."""

SHORT = 32
"""Up to so many tokens a softmax is quicker in float32, there and back."""

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""The largest difference from the plain model in a sentence vector of unit length, and in a logit of a head over the
largest logit, with which a packed model is taken."""

_log = logging.getLogger(__name__)


def pack(model: MultiTaskModel, dtype: torch.dtype) -> PackedModel | None:
    """The model for this CPU, or None where it cannot be packed: then the plain one serves."""
    if model.device.type != "cpu" or not can_pack(dtype) or not fits(model.encoder.backbone):
        return None
    try:
        packed = PackedModel(model, dtype)
        worst = difference(model, packed)
    except (RuntimeError, NotImplementedError) as error:
        _log.warning("no packed model here, the plain one serves (%s)", str(error).splitlines()[0])
        return None
    if not worst <= TOLERANCE[dtype]:
        _log.warning("the packed model differs from the plain one by %.3g; the plain one serves", worst)
        return None
    return packed


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch has the operators, and they are for `dtype`."""
    there = all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))
    return dtype in TOLERANCE and bool(torch.backends.mkldnn.is_available()) and there  # type: ignore[no-untyped-call]


class PackedModel:
    """Encodes and reads as a `MultiTaskModel` does, on weights that were copied when it was made.

    Raises:
        RuntimeError: where oneDNN does not take these weights.
    """

    def __init__(self, model: MultiTaskModel, dtype: torch.dtype) -> None:
        self.source = model
        self.dtype = dtype
        with torch.no_grad():
            self.encoder = PackedBert(model.encoder.backbone, dtype)
            self.heads: dict[str, nn.Module] = {
                name: PackedTokenHead(head, dtype) if isinstance(head, TokenHead) else head
                for name, head in model.heads.items()
            }

    @torch.inference_mode()
    def encode(self, tokens: Tokens, names: Collection[str] | None = None) -> Encoding:
        """One pass over `tokens`; see `MultiTaskModel.encode`. Layers are in the packed type."""
        every_layer = self.source.reads_every_layer(names)
        layers, last = self.encoder(tokens.ids, tokens.lengths, every_layer=every_layer)
        return Encoding(layers, self.source.pooling(last, tokens.lengths), tokens.word_shape, tokens.lengths)

    @torch.inference_mode()
    def read(self, encoding: Encoding, names: Collection[str]) -> dict[str, Tensor]:
        """What each named head says."""
        return {name: self.heads[name](encoding) for name in names}


class Watch:
    """Tells whether a model's weights, on the CPU, are those of the last time.

    By the place and the version of each tensor, which an operation in place counts up, and by some of its numbers,
    for what is written through `.data`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._seen: object = None
        self._places: list[int] = []
        self._samples: list[NDArray[np.float32]] = []

    def changed(self) -> bool:
        """Whether anything changed since the last call; at the first call it has."""
        parameters = _parameters(self.model)
        places = [parameter.data_ptr() for parameter in parameters]
        if places != self._places:
            flat = [parameter.detach().reshape(-1).numpy() for parameter in parameters]
            self._samples = [values[:: max(1, len(values) // 8)] for values in flat]
            self._places = places
        now = ([p._version for p in parameters], places, [values.tobytes() for values in self._samples])
        seen, self._seen = self._seen, now
        return now != seen


def _parameters(model: nn.Module) -> list[nn.Parameter]:
    """What `model.parameters()` gives, in a fifth of its time."""
    found: list[nn.Parameter] = []
    modules = [model]
    for module in modules:
        found += [parameter for parameter in module._parameters.values() if parameter is not None]
        modules += [child for child in module._modules.values() if child is not None]
    return found


@torch.inference_mode()
def difference(model: MultiTaskModel, packed: PackedModel, *, lengths: Sequence[int] = (5, 3, 17, 1, 16)) -> float:
    """How far the packed model is from the plain one in float32, on texts of random words; see `TOLERANCE`."""
    random = torch.Generator().manual_seed(0)
    vocabulary = model.encoder.embeddings.get_submodule("word_embeddings").num_embeddings
    n_tokens = sum(lengths)
    tokens = Tokens(
        ids=torch.randint(int(str(vocabulary)), (n_tokens,), generator=random),
        lengths=torch.tensor(lengths),
        offsets=torch.zeros(n_tokens, 2, dtype=torch.long),
        words=torch.zeros(n_tokens, dtype=torch.long),
        word_shape=torch.zeros(n_tokens, 8),
        truncated_at=(None,) * len(lengths),
        longest=max(lengths),
    )
    names = [name for name in model.heads if any(True for _ in model.heads[name].parameters())]
    ours, theirs = packed.encode(tokens), model.encode(tokens)
    gaps = [(functional.normalize(ours.sentence) - functional.normalize(theirs.sentence)).abs().max()]
    said, wanted = packed.read(ours, names), model.read(theirs, names)
    gaps += [(said[n].float() - wanted[n]).abs().max() / wanted[n].abs().max().clamp_min(1.0) for n in names]
    return float(torch.stack(gaps).max())


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
        plan = attention_plan(lengths.tolist(), self.n_heads, self.dtype)
        states = functional.embedding(ids, self.words) + functional.embedding(plan.places, self.places)
        states = self.norm(states)
        inner = states.to(self.dtype)
        found = [inner]
        for block in self.blocks:
            states = block.first_norm(states + block.attended(self._attend(block.joined(inner), plan)))
            inner = states.to(self.dtype)
            states = block.second_norm(states + block.narrowed(block.widened(inner)))
            inner = states.to(self.dtype)
            found.append(inner)
        return tuple(found if every_layer else found[-1:]), states

    def _attend(self, joined: Tensor, plan: AttentionPlan) -> Tensor:
        """(N, 3H) of queries, keys and values -> (N, H)."""
        vectors = joined.view(len(joined) * 3 * self.n_heads, -1)
        read = [self._attend_grid(vectors, grid) for grid in plan.grids]
        whole = read[0] if len(read) == 1 else torch.cat(read)
        return whole.index_select(0, plan.back).view(len(joined), -1)

    def _attend_grid(self, vectors: Tensor, grid: AttentionGrid) -> Tensor:
        """Vectors (N * 3 * heads, D) of queries, keys and values -> (rows * heads * columns, D)."""
        width = vectors.shape[1]
        split = vectors.index_select(0, grid.gather).view(3, grid.rows * self.n_heads, grid.columns, width)
        query, key, value = split.unbind(0)
        if self.dtype == torch.float32:
            read = functional.scaled_dot_product_attention(
                query[None], key[None], value[None], attn_mask=grid.mask, scale=1.0
            )
            return read.view(-1, width)
        turned = key.transpose(1, 2)
        scores = torch.bmm(query, turned) if grid.mask is None else torch.baddbmm(grid.mask, query, turned)
        short = grid.columns <= SHORT
        weights = scores.float().softmax(-1).to(self.dtype) if short else scores.softmax(-1)
        return torch.bmm(weights, value).view(-1, width)


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


def attention_plan(lengths: Sequence[int], n_heads: int, dtype: torch.dtype) -> AttentionPlan:
    """Texts of these lengths in grids, each as wide as the next multiple of `STEP`."""
    sizes = np.asarray(lengths)
    starts = np.cumsum(sizes) - sizes
    columns_of = -(-sizes // STEP) * STEP
    heads = np.arange(n_heads)
    back = np.empty((int(sizes.sum()), n_heads), dtype=np.int64)
    grids, offset = [], 0
    for columns in np.unique(columns_of).tolist():
        mine = np.flatnonzero(columns_of == columns)
        length, start, rows = sizes[mine], starts[mine], len(mine)
        if dtype == torch.float32:
            columns = int(length.max())
        column = np.arange(columns)
        there = column < length[:, None]
        cells = np.where(there, start[:, None] + column, start[:, None])
        vectors = cells[None, :, None, :] * (3 * n_heads) + heads[:, None]
        gather = vectors + (np.arange(3) * n_heads)[:, None, None, None]
        row, place = np.nonzero(there)
        back[cells[there]] = offset + (row[:, None] * n_heads + heads) * columns + place[:, None]
        offset += rows * n_heads * columns
        grids.append(AttentionGrid(rows, columns, torch.from_numpy(gather.ravel()), _mask(there, n_heads, dtype)))
    places = np.arange(len(back)) - np.repeat(starts, sizes)
    return AttentionPlan(tuple(grids), torch.from_numpy(back.ravel()), torch.from_numpy(places))


def _mask(there: NDArray[np.bool_], n_heads: int, dtype: torch.dtype) -> Tensor | None:
    if there.all():
        return None
    mask = torch.zeros(there.shape, dtype=dtype).masked_fill_(~torch.from_numpy(there), torch.finfo(dtype).min)
    return mask.repeat_interleave(n_heads, dim=0)[:, None]


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
        states = self.head.join(encoding.layers, encoding.word_shape)
        if self.hidden is not None:
            states = self.hidden(states.to(self.dtype))
        states = states.float()
        if self.head.leave is not None:
            near = Neighbourhood(encoding.lengths, len(states))
            for dilation, product in zip(self.dilations, self.context, strict=True):
                states = states + product(near(states.to(self.dtype), dilation))
            states = self.head.leave(states)
        logits: Tensor = self.last(states)
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
